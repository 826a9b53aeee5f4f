"""Fuser room: what a fuser costs, from its configuration alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.fuser import Fuser


if TYPE_CHECKING:
    from c2c_search.fuser.config import CacheShape
    from c2c_search.fuser.config import FuserConfig


def parameters(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact number of trainable parameters.

    The fuser is built on the meta device: no memory, no arithmetic, and no second formula that
    could disagree with the network.
    """
    return sum(p.numel() for p in _skeleton(config, receiver, sharer).parameters())


def stored_bytes(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Exact bytes of the fuser's tensors (parameters and buffers, as trained in float32)."""
    tensors = _skeleton(config, receiver, sharer).state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def flops_per_token(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> int:
    """Floating-point operations of the matrix products for one prompt token, forward."""
    fuser = _skeleton(config, receiver, sharer)
    return sum(2 * p.numel() for p in fuser.projector.parameters() if p.shape[-2] > 1)


def _skeleton(config: FuserConfig, receiver: CacheShape, sharer: CacheShape) -> Fuser:
    with torch.device("meta"):
        return Fuser(config, receiver, sharer)
