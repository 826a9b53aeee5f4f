"""A model's prompt caches, in memory or mapped from disk, and packs taken from them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import accumulate
from itertools import groupby
from typing import TYPE_CHECKING
from typing import Protocol
from typing import runtime_checkable

import torch

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache.hidden import planned
from c2c_search.prompt_cache.prefill import Prefill


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.fuser.shapes import Source


_SHARE_OF_A_DEVICE = 8  # one of six sets of caches may take an eighth of the memory still free


class Shards(Protocol):
    """Tensors by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> torch.Tensor: ...


@runtime_checkable
class Computed(Protocol):
    """Shards of which some are computed when they are asked for."""

    def prepare(self, numbers: Iterable[int], /) -> None:
        """Have these at hand, computed together, until others are."""

    def expect(self, numbers: Iterable[int], /) -> None:
        """These will be asked for soon, the next first."""


@dataclass(frozen=True)
class PromptCaches:
    """A model's caches of some prompts.

    Args:
        shards: Each ``(tokens, kinds, layers, size)``, kinds being keys and values, or 1, as
            rounded, on one device; a prompt's tokens stand together, in one shard.
        locations: For each prompt its shard and its first token there.
        ready: Whether all shards are there, so that a pack is read and nothing is computed.
    """

    shards: Shards
    locations: tuple[tuple[int, int], ...]
    ready: bool = True

    @classmethod
    def compute(
        cls,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        dtype: torch.dtype = torch.bfloat16,
        *,
        keep_on_device: bool = False,
        entries: torch.Tensor | None = None,
        source: Source = "kv",
    ) -> PromptCaches:
        """Compute in memory, by default rounded as the store rounds: a question asked is stored.

        Args:
            model: A frozen causal language model.
            prompts: Token ids of each prompt.
            dtype: What the caches are rounded to.
            keep_on_device: Whether they stay where the model is, or go to the CPU.
            entries: What every prompt begins with; see `Prefill`. Of keys and values alone.
            source: What is kept; see `planned`.

        Raises:
            ConfigError: A prompt is longer than the model's `rope_window`, or a cache holds
                numbers that are too large for ``dtype``.
        """
        if entries is None:
            prefill = planned(model, prompts, source)
        else:
            prefill = Prefill(model, prompts, entries=entries)
        device = model.device if keep_on_device else torch.device("cpu")
        numbers = range(len(prefill.batches))
        shards = [rounded(prefill.run(number), dtype).to(device) for number in numbers]
        return cls(shards, locations(prefill))

    @classmethod
    def in_passing(
        cls,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        dtype: torch.dtype = torch.bfloat16,
    ) -> PromptCaches:
        """The same, computed when they are taken and not kept: for who goes over them once.

        Raises:
            ConfigError: A prompt is longer than the model's `rope_window`.
        """
        prefill = Prefill(model, prompts)
        return cls(_Passing(prefill, dtype), locations(prefill), ready=False)

    def packed(self, rows: Sequence[int], positions: Sequence[torch.Tensor]) -> torch.Tensor:
        """Chosen tokens of some prompts, one prompt after the other, in float32.

        Args:
            rows: The prompts.
            positions: For each, those of the tokens to take; they may repeat.

        Returns:
            ``(kinds, layers, taken tokens, size)``, where the shards are.
        """
        wanted = [
            (self.locations[row][0], self.locations[row][1] + chosen)
            for row, chosen in zip(rows, positions, strict=True)
        ]
        if isinstance(self.shards, Computed):
            self.shards.prepare([number for number, _ in wanted])
        ends = accumulate(len(index) for _, index in wanted)
        taken: torch.Tensor | None = None
        begin = 0
        # A run of prompts of one shard is one gather.
        for number, run in groupby(zip(wanted, ends, strict=True), lambda each: each[0][0]):
            pieces = list(run)
            shard, end = self.shards[number], pieces[-1][1]
            if taken is None:
                total = sum(len(index) for _, index in wanted)
                taken = shard.new_empty((total, *shard.shape[1:]))
            index = torch.cat([index for (_, index), _ in pieces]).to(shard.device)
            if shard.device == taken.device:
                torch.index_select(shard, 0, index, out=taken[begin:end])
            else:
                taken[begin:end].copy_(shard.index_select(0, index))
            begin = end
        assert taken is not None, "a pack holds at least one prompt"
        return taken.permute(1, 2, 0, 3).to(torch.float32, memory_format=torch.contiguous_format)

    def expect(self, rows: Iterable[int]) -> None:
        """Say of which prompts packs are taken soon, so that what is missing is computed along."""
        if isinstance(self.shards, Computed):
            self.shards.expect([self.locations[row][0] for row in rows])

    def followed_by(self, others: PromptCaches) -> PromptCaches:
        """The same model's caches of these prompts, and behind them of others."""
        behind = len(self.shards)
        moved = tuple((behind + shard, token) for shard, token in others.locations)
        return PromptCaches(
            _Joined(self.shards, others.shards),
            (*self.locations, *moved),
            self.ready and others.ready,
        )

    def repeated(self, times: int) -> PromptCaches:
        """The same prompts so many times over, each kept once."""
        return replace(self, locations=self.locations * times)

    def read_on(self, stream: torch.cuda.Stream) -> None:
        """Say that packs are taken on another stream than the one that computed the caches."""
        for number in range(len(self.shards)):
            if self.shards[number].is_cuda:
                self.shards[number].record_stream(stream)

    def near(self, device: torch.device) -> PromptCaches:
        """The same caches in a GPU's memory if they are a small part of what is free there.

        Packs are then gathered on the device and nothing crosses the bus.
        """
        if device.type != "cuda" or not self.ready:
            return self
        shards = [self.shards[number] for number in range(len(self.shards))]
        if not shards or not _fits(sum(shard.nbytes for shard in shards), device):
            return self
        starts = [0, *accumulate(map(len, shards))]
        tokens = shards[0].new_empty((starts[-1], *shards[0].shape[1:]), device=device)
        for shard, start in zip(shards, starts, strict=False):
            tokens[start : start + len(shard)].copy_(shard)
        return PromptCaches(
            (tokens,), tuple((0, starts[n] + first) for n, first in self.locations)
        )


class _Joined:
    """Two lists of shards as one."""

    def __init__(self, first: Shards, then: Shards) -> None:
        self._first, self._then = first, then

    def __len__(self) -> int:
        return len(self._first) + len(self._then)

    def __getitem__(self, number: int, /) -> torch.Tensor:
        behind = number - len(self._first)
        return self._first[number] if behind < 0 else self._then[behind]

    def prepare(self, numbers: Iterable[int]) -> None:
        for shards, own in self._shared_out(numbers):
            if isinstance(shards, Computed):
                shards.prepare(own)

    def expect(self, numbers: Iterable[int]) -> None:
        for shards, own in self._shared_out(numbers):
            if isinstance(shards, Computed):
                shards.expect(own)

    def _shared_out(self, numbers: Iterable[int]) -> list[tuple[Shards, list[int]]]:
        behind, chosen = len(self._first), list(numbers)
        return [
            (self._first, [number for number in chosen if number < behind]),
            (self._then, [number - behind for number in chosen if number >= behind]),
        ]


class _Passing:
    """Shards that are computed when they are asked for; the last one is kept.

    Args:
        prefill: Computes them.
        dtype: What they are rounded to.
    """

    def __init__(self, prefill: Prefill, dtype: torch.dtype) -> None:
        self._prefill = prefill
        self._dtype = dtype
        self._last: tuple[int, torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self._prefill.batches)

    def __getitem__(self, number: int, /) -> torch.Tensor:
        if self._last is None or self._last[0] != number:
            self._last = number, rounded(self._prefill.run(number), self._dtype)
        return self._last[1]


def locations(prefill: Prefill) -> tuple[tuple[int, int], ...]:
    """Where each prompt stands when every batch is a shard: the shard, and the first token."""
    found = {
        row: (number, first)
        for number, rows in enumerate(prefill.batches)
        for row, first in zip(
            rows, accumulate(prefill.lengths(number)[:-1], initial=0), strict=True
        )
    }
    return tuple(found[row] for row in range(len(found)))


def rounded(caches: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A batch's caches as they are kept.

    Raises:
        ConfigError: ``dtype`` is float16 and a number lies beyond its 65,504.
    """
    shard = caches.to(dtype)
    if dtype == torch.float16 and not bool((shard.isfinite() | ~caches.isfinite()).all()):
        raise ConfigError(
            "Prompt caches in float16 must not hold numbers beyond 65,504.",
            value=float(caches.abs().max()),
            hint="Set caches.dtype to bfloat16, which has no such end, or to float32.",
        )
    return shard


def _fits(size: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return size * _SHARE_OF_A_DEVICE <= free
