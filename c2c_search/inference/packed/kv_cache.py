"""A KV-cache with room for what is read next, so that a step copies its own."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


# Room beyond what is kept: so many tokens, or so large a share of it, whichever is more.
_TOKENS = 64
_SHARE = 8


class RoomyLayer(DynamicLayer):
    """A layer's keys and values, at the front of tensors that are longer.

    A `DynamicLayer` copies all that it keeps in every step. Where gradients may flow this one
    does too: what a backward pass needs must not be written over.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._shown: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep ``(batch, heads, tokens, head_dim)``; all that is kept, as views."""
        if torch.is_grad_enabled():
            self._room = self._shown = None
            kept: tuple[torch.Tensor, torch.Tensor] = super().update(
                key_states, value_states, *args, **kwargs
            )
            return kept
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        room = self._room
        # Whoever has put other keys here (a crop, a reordering) has left the room behind.
        if room is None or self.keys is not self._shown or after > room[0].shape[-2]:
            length = after + max(_TOKENS, after // _SHARE)
            kept_keys = self.keys if before else key_states[..., :0, :]
            kept_values = self.values if before else value_states[..., :0, :]
            room = self._room = (_roomier(kept_keys, length), _roomier(kept_values, length))
        added = after - before
        room[0].narrow(-2, before, added).copy_(key_states)
        room[1].narrow(-2, before, added).copy_(value_states)
        self.keys = self._shown = room[0].narrow(-2, 0, after)
        self.values = room[1].narrow(-2, 0, after)
        return self.keys, self.values


class RoomyCache(DynamicCache):
    """A cache of `RoomyLayer`; every layer keeps all its tokens, also with a sliding window."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_class_to_replicate = RoomyLayer


def _roomier(kept: torch.Tensor, length: int) -> torch.Tensor:
    *front, tokens, width = kept.shape
    room = kept.new_empty(*front, length, width)
    room.narrow(-2, 0, tokens).copy_(kept)
    return room
