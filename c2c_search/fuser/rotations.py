"""Where a batch's tokens stand, so that keys can be freed of their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from typing import Self

import torch


class TokenRotation(Protocol):
    """Rotary embedding of packed tokens, in all layers of a model (see `prompt_cache.rope`)."""

    def apply(self, keys: torch.Tensor) -> torch.Tensor:
        """Rotate keys, ``(layers, tokens, size)``."""

    def undo(self, keys: torch.Tensor) -> torch.Tensor:
        """Take the rotation back, ``(layers, tokens, size)``."""

    def select(self, layers: torch.Tensor) -> Self:
        """The rotation of some layers."""

    def take(self, tokens: torch.Tensor) -> Self:
        """The rotation of some tokens, by their indices."""

    def to(self, device: torch.device) -> Self:
        """The rotation on a device."""


@dataclass(frozen=True)
class Rotations:
    """Rotations of both models' tokens in a batch; None for a model without RoPE.

    Args:
        receiver: Of the receiver's tokens; of the further entries where they are appended; None
            where a side memory reads them, which has no places.
        sharer: Of the sharer's tokens, each at its own position.
    """

    receiver: TokenRotation | None
    sharer: TokenRotation | None

    def to(self, device: torch.device) -> Rotations:
        return Rotations(
            *(None if one is None else one.to(device) for one in (self.receiver, self.sharer))
        )

    def take(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Rotations:
        """Of some tokens of each, by their indices."""
        return Rotations(
            receiver=None if self.receiver is None else self.receiver.take(receiver),
            sharer=None if self.sharer is None else self.sharer.take(sharer),
        )

    def of_layer(self, layer: int, sources: torch.Tensor) -> Rotations:
        """The same for a fuser of this receiver layer alone, which hears these sharer layers."""
        receiver, sharer = self.receiver, self.sharer
        return Rotations(
            receiver=None if receiver is None else receiver.select(torch.tensor([layer])),
            sharer=None if sharer is None else sharer.select(sources),
        )

    def undo_sharer(self, cache: torch.Tensor, layers: torch.Tensor | None = None) -> torch.Tensor:
        """A sharer cache ``(2, layers, tokens, size)`` with its keys unrotated.

        Args:
            cache: Of some layers.
            layers: Which they are; all of them when left out.
        """
        if self.sharer is None:
            return cache
        rotation = self.sharer if layers is None else self.sharer.select(layers)
        return torch.stack([rotation.undo(cache[0]), cache[1]])

    def undo_receiver(self, cache: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
        """Some layers of a receiver cache, ``(2, layers, tokens, size)``, keys unrotated."""
        if self.receiver is None:
            return cache
        rotation = self.receiver.select(torch.tensor(layers))
        return torch.stack([rotation.undo(cache[0]), cache[1]])

    def apply_receiver(self, cache: torch.Tensor, layers: Sequence[int]) -> torch.Tensor:
        """The inverse of `undo_receiver`."""
        if self.receiver is None:
            return cache
        rotation = self.receiver.select(torch.tensor(layers))
        return torch.stack([rotation.apply(cache[0]), cache[1]])
