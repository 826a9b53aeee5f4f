"""From a batch of prompt caches to what a receiver answers from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.fuser.pooling import window_middles
from c2c_search.fuser.rotations import Rotations
from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.side_memory import SideMemory
from c2c_search.prompt_cache.rope import Rotary


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.fuser import Fuser
    from c2c_search.fuser.injections import Projects
    from c2c_search.inference.queries import Queries
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
        cls,
        config: FuserConfig,
        receiver: PreTrainedModel,
        sharer: PreTrainedModel,
        of: Callable[[PreTrainedModel], Rotary | None] = Rotary.of,
    ) -> Rotaries | None:
        """Those that a fuser takes off, and puts back on; None if it leaves all keys as they are.

        Args:
            config: Of the fuser.
            receiver: A model of the pair.
            sharer: The other one.
            of: Finds a model's.
        """
        unrotated = config.keys == "unrotated"
        # A memory has no places, so what it stands for, the receiver's keys, has none either.
        if not unrotated and not config.adds_memory:
            return None
        theirs = unrotated and config.source == "kv"  # hidden states are not rotated
        return cls(of(receiver), of(sharer) if theirs else None)

    def of_batch(
        self, batch: PairBatch, projects: Projects, slots: int | None = None
    ) -> Rotations:
        """Where what is projected from a batch, or to it, stands; see `added_positions`."""
        if projects == "entries":
            entries = torch.cat(added_positions(batch, slots))
        else:
            entries = torch.cat([torch.arange(length) for length in batch.lengths])
        rotations = self.at(entries, torch.cat(batch.sharer_positions))
        return replace(rotations, receiver=None) if projects == "memory" else rotations

    def at(self, receiver: torch.Tensor, sharer: torch.Tensor) -> Rotations:
        """Of tokens at these positions, each ``(tokens,)``."""
        return Rotations(
            receiver=None if self.receiver is None else self.receiver.at(receiver),
            sharer=None if self.sharer is None else self.sharer.at(sharer),
        )


def rotations_of(
    batch: PairBatch,
    rotaries: Rotaries | None,
    projects: Projects = "cache",
    slots: int | None = None,
) -> Rotations | None:
    """Where the tokens of a batch stand, on its device; None without rotaries.

    Args:
        batch: Prompts.
        rotaries: Of the pair.
        projects: What the fuser's injection does; the cache, where tokens are aligned.
    """
    if rotaries is None:
        return None
    return rotaries.of_batch(batch, projects, slots).to(batch.receiver.device)


def fuse(
    call: Fuse,
    fuser: Fuser,
    batch: PairBatch,
    rotaries: Rotaries | None,
    queries: Queries | None,
) -> FusedCache:
    """Fuse a batch; gradients flow.

    Args:
        call: The fuser, or an engine around it.
        fuser: The fuser.
        batch: Prompts, on the fuser's device.
        rotaries: Of the pair, where the keys are projected unrotated.
        queries: Of the receiver, where it reads a memory.
    """
    config = fuser.config
    rotations = rotations_of(batch, rotaries, config.injected.projects, config.slots)
    lengths = [len(positions) for positions in batch.sharer_positions]
    # A sharer that says nothing has no message, not an empty one that slots would pool.
    told = [length for length in lengths if length]
    fused = call(batch.receiver, batch.sharer, rotations, told)
    if config.adds_entries:
        return _with_entries(batch, fused, added_positions(batch, config.slots))
    if queries is None:
        return FusedCache(fused, batch.lengths)
    everywhere = config.reads_from == "all"
    kept = lengths
    if config.slots is not None:
        kept = [config.slots if length else 0 for length in lengths]
    memory = SideMemory.of(queries, fuser.layers, fused, kept, everywhere=everywhere)
    if not everywhere:
        return FusedCache(batch.receiver, batch.lengths, memories=(memory,))
    return FusedCache(
        packed=batch.receiver[:, :, :0],
        lengths=(0,) * len(batch.lengths),
        next_positions=batch.lengths,
        memories=(memory,),
        unread=tuple(ids[:-1] for ids in batch.receiver_ids),
    )


def added_positions(batch: PairBatch, slots: int | None = None) -> list[torch.Tensor]:
    """Positions of added entries: the sharer's end where the receiver's prompt ends.

    A sharer that read more than the receiver begins at negative positions: RoPE knows only
    distances, and what was said last stays nearest to the answer. So does a draft, of which
    alone the entries may be.

    Args:
        batch: The prompts.
        slots: Entries of each message, spread over it; as many as tokens when None. None of
            them where nothing is said.
    """
    told = [
        positions + (length - 1 - positions[-1]) if len(positions) else positions
        for positions, length in zip(batch.sharer_positions, batch.lengths, strict=True)
    ]
    if slots is None:
        return told
    return [window_middles(each, slots) if len(each) else each for each in told]


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
