"""What a fuser costs, from its configuration alone.

The fuser is built on the meta device: no memory, no arithmetic, and no second formula that could
disagree with the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.fuser import Fuser


if TYPE_CHECKING:
    from c2c_search.fuser.config import CacheShape
    from c2c_search.fuser.config import FuserConfig


_BYTES_TRAINED = 16  # weight, gradient and AdamW's two moments, in float32


def parameters(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact number of parameters, trained or (``ridge``) fitted."""
    # A stored map is given with the weights: any one costs the same.
    sources = None
    if config.aligned.stored:
        count = min(config.sources_per_layer, sharer.layers)
        sources = [list(range(count))] * receiver.last_layers(config.layer_share)
    with torch.device("meta"):
        fuser = Fuser(config, receiver, sharer, sources=sources)
    return sum(p.numel() for p in fuser.parameters())


def state_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser while it is trained: its tensors, gradients and AdamW's two moments."""
    trained = sum(p.numel() for p in fuser.parameters() if p.requires_grad)
    return tensor_bytes(fuser) + (_BYTES_TRAINED - 4) * trained


def tensor_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser's parameters and buffers, as they are."""
    return sum(tensor.nbytes for tensor in fuser.state_dict().values())
