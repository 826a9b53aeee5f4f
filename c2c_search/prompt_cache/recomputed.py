"""Prompts whose caches are not on the disk: computed when they are read, the same to the bit."""

from __future__ import annotations

from collections import OrderedDict
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from c2c_search.prompt_cache.caches import rounded


if TYPE_CHECKING:
    from c2c_search.prompt_cache.prefill import Prefill


Shape = tuple[int, int, int]
"""Prompts of the batch that is stored, its longest prompt's tokens, and prompts of a pass."""

_RECENT = 2**29  # bytes of prompts not on the disk that stay in memory


class Recomputed:
    """A list's prompts, each computed when it is asked for and kept in memory for a while.

    A prompt's last bits depend on how wide it is padded, so a pass pads it as its own batch does,
    and takes prompts of equally shaped batches only. Whether they depend on how many prompts are
    in the pass is up to a device's kernels: the first pass of each shape is compared with a whole
    batch, and where it differs by a bit, prompts of this shape come out of whole batches.

    Args:
        prefill: Computes them.
        dtype: What they are rounded to.
        exact: Which shapes are known to give a whole batch's bits; gains those that are tried.
    """

    def __init__(self, prefill: Prefill, dtype: torch.dtype, exact: dict[Shape, bool]) -> None:
        self._prefill = prefill
        self._dtype = dtype
        self._exact = exact
        self._recent: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._bytes = 0
        self._expected: tuple[int, ...] = ()
        self._batch_of = {
            row: number for number, rows in enumerate(prefill.batches) for row in rows
        }

    def __getitem__(self, row: int) -> torch.Tensor:
        """Of a prompt that was computed, ``(tokens, kinds, layers, size)``, on the CPU."""
        return self._recent[row]

    def expect(self, rows: Sequence[int]) -> None:
        """Say which prompts will be asked for soon, the next first: they fill up passes."""
        self._expected = tuple(rows)

    def compute(self, rows: Iterable[int]) -> None:
        """Have these prompts at hand until others are asked for.

        Raises:
            ConfigError: A number is too large for the dtype.
        """
        asked = dict.fromkeys(rows)
        for (most, width), missing in self._by_shape(asked).items():
            for first in range(0, len(missing), most):
                self._pass(missing[first : first + most], most, width)
        for row in asked:
            self._recent.move_to_end(row)
        while self._bytes > _RECENT and len(self._recent) > len(asked):
            self._bytes -= self._recent.popitem(last=False)[1].nbytes

    def _by_shape(self, asked: Iterable[int]) -> dict[tuple[int, int], list[int]]:
        """What is to be computed, by its batch's prompts and width; passes are filled up."""
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in asked:
            if row not in self._recent:
                groups[self._shape(row)].append(row)
        room = _RECENT - self._bytes - sum(map(self._size, asked))
        for row in self._expected:
            group = groups.get(self._shape(row))
            if group is None or row in group or row in self._recent:
                continue
            room -= self._size(row)
            if room < 0:
                break
            if len(group) % self._shape(row)[0]:
                group.append(row)
        return groups

    def _shape(self, row: int) -> tuple[int, int]:
        rows = self._prefill.batches[self._batch_of[row]]
        return len(rows), len(self._prefill.prompts[rows[0]])

    def _size(self, row: int) -> int:
        """Bytes of a prompt, about: as many a token as of one that is there."""
        known = next(iter(self._recent.values()), None)
        each = 0 if known is None else known.nbytes // len(known)
        return len(self._prefill.prompts[row]) * each

    def _pass(self, rows: Sequence[int], most: int, width: int) -> None:
        shape = most, width, len(rows)
        batch = self._prefill.batches[self._batch_of[rows[0]]]
        if most > 1 and [*rows] != batch:
            if shape not in self._exact:
                self._exact[shape] = self._try(batch, len(rows), width)
            if self._exact[shape]:
                self._keep(rows, self._prefill.read_rows(rows, width))
                return
        wanted = set(rows)
        for number in dict.fromkeys(self._batch_of[row] for row in rows):
            whole = self._prefill.batches[number]
            # The others of a batch come with it, and stand before those that are asked for.
            ordered = sorted(range(len(whole)), key=lambda place: whole[place] in wanted)
            read = self._prefill.read_rows(whole, width)
            self._keep([whole[place] for place in ordered], [read[place] for place in ordered])

    def _try(self, batch: Sequence[int], count: int, width: int) -> bool:
        """Whether so many prompts of a batch, elsewhere in a pass, get the batch's bits."""
        few = batch[-count:][::-1]
        whole, alone = (self._prefill.read_rows(rows, width) for rows in (batch, few))
        lengths = [len(self._prefill.prompts[row]) for row in few]
        return all(
            torch.equal(one[:length], other[:length])
            for one, other, length in zip(alone, whole[-count:].flip(0), lengths, strict=True)
        )

    def _keep(self, rows: Sequence[int], read: Sequence[torch.Tensor] | torch.Tensor) -> None:
        for row, padded in zip(rows, read, strict=True):
            piece = rounded(padded[: len(self._prefill.prompts[row])], self._dtype)
            earlier = self._recent.pop(row, None)
            self._bytes += piece.nbytes - (0 if earlier is None else earlier.nbytes)
            # A part of a pass would keep all of it.
            self._recent[row] = piece.to("cpu", copy=True)
