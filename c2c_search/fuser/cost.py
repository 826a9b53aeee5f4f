"""What a fuser costs, from its configuration alone.

The fuser is built on the meta device: no memory, no arithmetic, and no second formula that could
disagree with the network.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser import layers
from c2c_search.fuser.fuser import Fuser


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.shapes import CacheShape


_WIDEST = 2**16  # that `FuserConfig` takes
_TOKEN_ID = 4  # bytes
_BYTES_TRAINED = 16  # weight, gradient and AdamW's two moments, in float32


def parameters(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact number of parameters, trained or (``ridge``) fitted."""
    return sum(p.numel() for p in unfilled(config, receiver, sharer).parameters())


def unfilled(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> Fuser:
    """A fuser on the meta device: all shapes, and no numbers but which layers feed which."""
    depths, fused = (receiver.layers, sharer.layers), layers.chosen(config, receiver.layers)
    if config.aligned.stored:
        # A stored map is given with the weights: any one costs the same.
        sources = [list(range(min(config.sources_per_layer, sharer.layers)))] * len(fused)
    else:
        sources = layers.first_sources(config, fused, depths)
    with torch.device("meta"):
        fuser = Fuser(config, receiver, sharer, layers=fused, sources=sources)
    fuser.sources = torch.tensor(sources)
    return fuser


def as_large(
    config: FuserConfig,
    receiver: CacheShape,
    sharer: CacheShape,
    itself: CacheShape | None = None,
) -> FuserConfig:
    """A fuser whose receiver is its own sharer, as large as the same one with a sharer.

    Both models' shapes differ, and so do the maps between them. What the family takes, the width
    or else the rank, is chosen so that the parameters are as near as can be; a map of full rank
    has neither and stays as it is.

    Args:
        config: Of both.
        receiver: Its shape.
        sharer: Shape of the sharer whose place it takes.
        itself: The receiver's as its own sharer; without its projections when left out.
    """
    wanted = parameters(config, receiver, sharer)
    itself = itself or receiver.without_projections()

    def with_size(name: str, size: int) -> FuserConfig:
        return config.model_copy(update={name: size})

    def off(name: str, size: int) -> int:
        return parameters(with_size(name, size), receiver, itself) - wanted

    for name, most in (("width", _WIDEST), ("rank", receiver.size)):
        now = getattr(config, name)
        if now is None or off(name, now) == off(name, now + 1):
            continue
        above = bisect_left(range(1, most), 0, key=lambda size: off(name, size)) + 1
        return with_size(
            name, min(max(above - 1, 1), above, key=lambda size: abs(off(name, size)))
        )
    return config


def message_bytes(fuser: Fuser, tokens: int, dtype: torch.dtype, anchors: int = 0) -> int:
    """Bytes of a message: what the sharer's side would send for the fuser to project.

    Features of each sharer layer that is a source, at each token, once; of ``slots``, what each
    fused layer's have pooled, however many tokens there are.

    Args:
        fuser: What projects it.
        tokens: Of the sharer, that it is made of.
        dtype: Of its numbers.
        anchors: Token ids that the receiver reads beside it.
    """
    words = _TOKEN_ID * anchors
    size = fuser.sharer_shape.heard_size(fuser.config.source) * dtype.itemsize
    if fuser.pool is not None:
        pooled = len(fuser.layers) * fuser.concatenated * fuser.pool.slots
        return words + fuser.pool.kinds * pooled * size
    kinds = 2 if fuser.config.source == "kv" else 1
    return words + kinds * len(fuser.sources.unique()) * tokens * size


def state_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser while it is trained: its tensors, gradients and AdamW's two moments."""
    trained = sum(p.numel() for p in fuser.parameters() if p.requires_grad)
    return tensor_bytes(fuser) + (_BYTES_TRAINED - 4) * trained


def tensor_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser's parameters and buffers, as they are."""
    return sum(tensor.nbytes for tensor in fuser.state_dict().values())
