"""What a fuser costs, from its configuration alone.

The fuser is built, and run, on the meta device: no memory, no arithmetic, and no second formula
that could disagree with the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from c2c_search.fuser.fuser import Fuser


if TYPE_CHECKING:
    from c2c_search.fuser.config import CacheShape
    from c2c_search.fuser.config import FuserConfig


_BYTES_TRAINED = 16  # weight, gradient and AdamW's two moments, in float32


def parameters(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact number of parameters, trained or (``ridge``) fitted."""
    return sum(p.numel() for p in _skeleton(config, receiver, sharer).parameters())


def stored_bytes(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact bytes of the fuser's tensors (parameters and buffers, as trained in float32)."""
    return tensor_bytes(_skeleton(config, receiver, sharer))


def flops_per_token(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Floating-point operations of the matrix products for one prompt token, forward."""
    fuser = _skeleton(config, receiver, sharer).eval()
    with FlopCounterMode(display=False) as counter:
        fuser(*_caches(receiver, sharer, 1))
    return int(counter.get_total_flops())


def flops_per_response_token(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """What the fuser adds for one token read or written on the fused cache, forward.

    The matrix products of a LoRA, and of fusing the token where the response is fused (without
    the sharer's own).
    """
    fuser = _skeleton(config, receiver, sharer).eval()
    with FlopCounterMode(display=False) as counter:
        _adapt(fuser, 1)
        if config.fuse_response:
            fuser(*_caches(receiver, sharer, 1))
    return int(counter.get_total_flops())


def state_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser while it is trained: its tensors, gradients and AdamW's two moments."""
    trained = sum(p.numel() for p in fuser.parameters() if p.requires_grad)
    return tensor_bytes(fuser) + (_BYTES_TRAINED - 4) * trained


def tensor_bytes(fuser: Fuser) -> int:
    """Bytes of a fuser's parameters and buffers, as they are."""
    return sum(tensor.nbytes for tensor in fuser.state_dict().values())


def _skeleton(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> Fuser:
    # An explicit map is given with the weights: any one costs the same.
    sources = None
    if config.layer_alignment == "explicit":
        count = min(config.sources_per_layer, sharer.layers)
        sources = [list(range(count))] * receiver.last_layers(config.layer_share)
    with torch.device("meta"):
        return Fuser(config, receiver, sharer, sources=sources)


def _adapt(fuser: Fuser, tokens: int) -> None:
    """Run the LoRA for some tokens, on what the receiver's layers would give it in float32."""
    if fuser.lora is None:
        return
    updates, sizes = fuser.lora.updates(), {p.role: p.inputs for p in fuser.lora.projections}
    for layer in range(fuser.receiver_shape.layers):
        # Queries and values are made from the same tensor.
        hidden = {role: "attended" if role == "output" else "read" for role in updates}
        features = {
            name: torch.empty(tokens, sizes[role], device="meta") for role, name in hidden.items()
        }
        for role, name in hidden.items():
            updates[role][layer](features[name])


def _caches(
    receiver: CacheShape, sharer: CacheShape, tokens: int
) -> tuple[torch.Tensor, torch.Tensor]:
    return (
        torch.empty(2, receiver.layers, tokens, receiver.size, device="meta"),
        torch.empty(2, sharer.layers, tokens, sharer.size, device="meta"),
    )
