"""From a batch of prompt caches to what a receiver answers from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.rotations import Rotations
from c2c_search.inference.packed.fused_cache import FusedCache


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.prompt_cache.batches import PairBatch
    from c2c_search.prompt_cache.batches import PairPrompts
    from c2c_search.prompt_cache.rope import Rotary


Fuse = Callable[[torch.Tensor, torch.Tensor, Rotations | None], torch.Tensor]
"""A `Fuser`, or an engine around one."""


@dataclass(frozen=True)
class Rotaries:
    """RoPE of both models; None for one without."""

    receiver: Rotary | None
    sharer: Rotary | None

    def of(self, batch: PairBatch, *, adds_entries: bool) -> Rotations:
        """Where the tokens of a batch stand."""
        if adds_entries:
            entries = torch.cat(added_positions(batch))
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
    batch: PairBatch, rotaries: Rotaries | None, *, adds_entries: bool = False
) -> Rotations | None:
    """Where the tokens of a batch stand, on its device; None without rotaries."""
    if rotaries is None:
        return None
    return rotaries.of(batch, adds_entries=adds_entries).to(batch.receiver.device)


def heard(prompts: PairPrompts, config: FuserConfig | None) -> PairPrompts:
    """The prompts as a fuser hears them: from the receiver, where that is its own sharer.

    Where it drafts for itself, they are read so already.
    """
    own = config is not None and config.sharer == "self" and not config.drafts
    return prompts.of_receiver if own else prompts


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
    rotations = rotations_of(batch, rotaries, adds_entries=config.adds_entries)
    fused = call(batch.receiver, batch.sharer, rotations)
    if config.adds_entries:
        return _with_entries(batch, fused)
    return FusedCache(fused, batch.lengths)


def added_positions(batch: PairBatch) -> list[torch.Tensor]:
    """Positions of added entries: the sharer's end where the receiver's prompt ends.

    A sharer that read more than the receiver begins at negative positions: RoPE knows only
    distances, and what was said last stays nearest to the answer. So does a draft, of which
    alone the entries may be.
    """
    return [
        positions + (length - 1 - positions[-1])
        for positions, length in zip(batch.sharer_positions, batch.lengths, strict=True)
    ]


def _with_entries(batch: PairBatch, entries: torch.Tensor) -> FusedCache:
    """Each prompt's added entries, then the receiver's."""
    counts = [len(positions) for positions in batch.sharer_positions]
    parts: list[torch.Tensor] = []
    for added, receiver in zip(
        entries.split(counts, dim=2), batch.receiver.split(list(batch.lengths), dim=2), strict=True
    ):
        parts += [added, receiver]
    positions = [
        torch.cat([added, torch.arange(length)])
        for added, length in zip(added_positions(batch), batch.lengths, strict=True)
    ]
    return FusedCache(
        packed=torch.cat(parts, dim=2),
        lengths=tuple(len(position) for position in positions),
        positions=tuple(positions),
        next_positions=batch.lengths,
    )
