"""What a receiver answers from: the fused caches of packed prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING
from typing import Protocol

import torch


if TYPE_CHECKING:
    from c2c_search.inference.lora import Adaptation
    from c2c_search.inference.packed.kv_cache import RoomyCache
    from c2c_search.inference.packed.side_memory import SideMemory
    from c2c_search.inference.packed.tokens import Tokens


@dataclass(frozen=True)
class Further:
    """What a sharer says after a part of the answer, beside the receiver's own tokens.

    Args:
        packed: ``(2, layers, entries, size)``, as a fuser projects them; gradients flow.
        tokens: Where each belongs, and from where on it is seen.
    """

    packed: torch.Tensor
    tokens: Tokens


class Reader(Protocol):
    """Reads what the receiver reads: to fuse it as it enters the cache, or to say more of it."""

    def cache(self) -> RoomyCache:
        """An empty cache for the receiver, to be fed by one context."""

    def read(self, ids: torch.Tensor, tokens: Tokens, starts: Sequence[int]) -> Further | None:
        """Read what the receiver is about to read.

        Args:
            ids: Receiver tokens, ``(tokens,)``.
            tokens: Where each belongs.
            starts: Position of each prompt's last token, in the receiver.

        Returns:
            What the receiver finds beside its own tokens from here on, if it is more.
        """


@dataclass(frozen=True)
class FusedCache:
    """What a receiver answers from.

    Args:
        packed: ``(2, layers, entries, size)``, one prompt's entries after the other.
        lengths: Entries of each prompt.
        positions: Position of each entry, for each prompt; 0, 1, 2 … when left out.
        next_positions: Position of each prompt's last token; its length when left out.
        reader: Has the sharer read what is read from here on too.
        adaptation: Of the model, while it reads on.
        memories: What is read beside the caches.
        unread: Token ids of each prompt that are not in the cache but the last, which is read in
            any case; none of any prompt when left out. They stand before its last token.
    """

    packed: torch.Tensor
    lengths: tuple[int, ...]
    positions: tuple[torch.Tensor, ...] | None = None
    next_positions: tuple[int, ...] | None = None
    reader: Reader | None = None
    adaptation: Adaptation | None = None
    memories: tuple[SideMemory, ...] = ()
    unread: tuple[tuple[int, ...], ...] = ()

    @property
    def said(self) -> tuple[torch.Tensor, ...]:
        """All that fusers may have made: where gradients flow back to."""
        return (self.packed, *(memory.packed for memory in self.memories))

    def saying(self, said: Sequence[torch.Tensor]) -> FusedCache:
        """The same of other numbers; see `said`."""
        packed, *others = said
        memories = zip(self.memories, others, strict=True)
        return replace(
            self,
            packed=packed,
            memories=tuple(replace(memory, packed=other) for memory, other in memories),
        )

    def tokens_of(self, row: int) -> int:
        """Entries of a prompt, and its tokens that are to be read before its last one."""
        return self.lengths[row] + (len(self.unread[row]) if self.unread else 0)

    def of_rows(self, rows: range) -> FusedCache:
        """Of some prompts that stand side by side."""
        first, count = sum(self.lengths[: rows.start]), sum(self.lengths[rows.start : rows.stop])
        chosen = slice(rows.start, rows.stop)
        return replace(
            self,
            packed=self.packed[:, :, first : first + count],
            lengths=self.lengths[chosen],
            positions=None if self.positions is None else self.positions[chosen],
            next_positions=None if self.next_positions is None else self.next_positions[chosen],
            memories=tuple(memory.of_rows(rows) for memory in self.memories),
            unread=self.unread[chosen],
        )

    @staticmethod
    def side_by_side(caches: Sequence[FusedCache]) -> FusedCache:
        """The prompts of several as those of one, without what reads on in ways of its own."""
        counts = [len(cache.lengths) for cache in caches]
        befores = [0, *accumulate(counts)]
        return FusedCache(
            packed=torch.cat([cache.packed for cache in caches], dim=2),
            lengths=tuple(length for cache in caches for length in cache.lengths),
            positions=tuple(
                position
                for cache in caches
                for position in cache.positions or map(torch.arange, cache.lengths)
            ),
            next_positions=tuple(
                position for cache in caches for position in cache.next_positions or cache.lengths
            ),
            memories=tuple(
                memory.among(before, sum(counts) - before - count)
                for cache, before, count in zip(caches, befores, counts, strict=False)
                for memory in cache.memories
            ),
            unread=tuple(
                ids for cache in caches for ids in cache.unread or [()] * len(cache.lengths)
            ),
        )
