"""What a receiver answers from: the fused caches of packed prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Protocol

import torch


if TYPE_CHECKING:
    from c2c_search.inference.lora import Adaptation
    from c2c_search.inference.packed.kv_cache import RoomyCache
    from c2c_search.inference.packed.tokens import Tokens


class Reader(Protocol):
    """Reads what the receiver reads, so that it is fused as it enters the cache."""

    def cache(self) -> RoomyCache:
        """An empty cache for the receiver, to be fed by one context."""

    def read(self, ids: torch.Tensor, tokens: Tokens, starts: Sequence[int]) -> None:
        """Read what the receiver is about to read.

        Args:
            ids: Receiver tokens, ``(tokens,)``.
            tokens: Where each belongs.
            starts: Position of each prompt's last token, in the receiver.
        """


@dataclass(frozen=True)
class FusedCache:
    """What a receiver answers from.

    Args:
        packed: ``(2, layers, entries, size)``, one prompt's entries after the other.
        lengths: Entries of each prompt.
        positions: Position of each entry, for each prompt; 0, 1, 2 … when left out.
        next_positions: Position of each prompt's last token; its length when left out.
        reader: Fuses what is read from here on too.
        adaptation: Of the model, while it reads on.
    """

    packed: torch.Tensor
    lengths: tuple[int, ...]
    positions: tuple[torch.Tensor, ...] | None = None
    next_positions: tuple[int, ...] | None = None
    reader: Reader | None = None
    adaptation: Adaptation | None = None

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
        )

    @staticmethod
    def side_by_side(caches: Sequence[FusedCache]) -> FusedCache:
        """The prompts of several as those of one, without what reads on in ways of its own."""
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
        )
