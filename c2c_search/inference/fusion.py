"""From a batch of prompt caches to what a receiver answers from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.pooling import window_middles
from c2c_search.fuser.rotations import Rotations
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.prompt_cache.rope import Rotary


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.batches import PairBatch


Fuse = Callable[[torch.Tensor, torch.Tensor, Rotations | None, Sequence[int]], torch.Tensor]
"""A `Fuser`, or an engine around one."""


@dataclass(frozen=True)
class Rotaries:
    """RoPE of both models; None for one without, and for a sharer that is not heard by keys."""

    receiver: Rotary | None
    sharer: Rotary | None

    @classmethod
    def between(
        cls, receiver: LoadedModel, sharer: LoadedModel, config: FuserConfig
    ) -> Rotaries | None:
        """Those of a pair, where a fuser projects keys unrotated."""
        if config.keys == "rotated":
            return None
        theirs = Rotary.of(sharer.model) if config.source == "kv" else None
        return cls(Rotary.of(receiver.model), theirs)

    def of(self, batch: PairBatch, *, adds_entries: bool, slots: int | None = None) -> Rotations:
        """Where the tokens of a batch stand; see `added_positions`."""
        if adds_entries:
            entries = torch.cat(added_positions(batch, slots))
        else:
            entries = torch.cat([torch.arange(length) for length in batch.lengths])
        return self.at(entries, torch.cat(batch.sharer_positions))

    def at(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Rotations:
        """Of tokens at these positions, each ``(tokens,)``."""
        return Rotations(
            receiver=None if self.receiver is None else self.receiver.at(receiver),
            sharer=None if self.sharer is None else self.sharer.at(sharer),
        )


def rotations_of(
    batch: PairBatch,
    rotaries: Rotaries | None,
    *,
    adds_entries: bool = False,
    slots: int | None = None,
) -> Rotations | None:
    """Where the tokens of a batch stand, on its device; None without rotaries."""
    if rotaries is None:
        return None
    found = rotaries.of(batch, adds_entries=adds_entries, slots=slots)
    return found.to(batch.receiver.device)


def fuse(
    call: Fuse, config: FuserConfig, batch: PairBatch, rotaries: Rotaries | None
) -> FusedCache:
    """Fuse a batch; gradients flow.

    Args:
        call: The fuser.
        config: Its architecture.
        batch: Prompts, on the fuser's device.
        rotaries: Of the pair, where the keys are projected unrotated.
    """
    rotations = rotations_of(batch, rotaries, adds_entries=config.adds_entries, slots=config.slots)
    lengths = [len(positions) for positions in batch.sharer_positions]
    fused = call(batch.receiver, batch.sharer, rotations, lengths)
    if config.adds_entries:
        return _with_entries(batch, fused, added_positions(batch, config.slots))
    return FusedCache(fused, batch.lengths)


def added_positions(batch: PairBatch, slots: int | None = None) -> list[torch.Tensor]:
    """Positions of added entries: the sharer's end where the receiver's prompt ends.

    A sharer that read more than the receiver begins at negative positions: RoPE knows only
    distances, and what was said last stays nearest to the answer.

    Args:
        batch: The prompts.
        slots: Entries of each message, spread over it; as many as tokens when None.
    """
    told = [
        positions + (length - len(positions))
        for positions, length in zip(batch.sharer_positions, batch.lengths, strict=True)
    ]
    return told if slots is None else [window_middles(positions, slots) for positions in told]


def _with_entries(
    batch: PairBatch, entries: torch.Tensor, added: Sequence[torch.Tensor]
) -> FusedCache:
    """Each prompt's added entries, which stand at these positions, then the receiver's."""
    counts = [len(positions) for positions in added]
    parts: list[torch.Tensor] = []
    for mine, receiver in zip(
        entries.split(counts, dim=2), batch.receiver.split(list(batch.lengths), dim=2), strict=True
    ):
        parts += [mine, receiver]
    positions = [
        torch.cat([before, torch.arange(length)])
        for before, length in zip(added, batch.lengths, strict=True)
    ]
    return FusedCache(
        packed=torch.cat(parts, dim=2),
        lengths=tuple(len(position) for position in positions),
        positions=tuple(positions),
        next_positions=batch.lengths,
    )
