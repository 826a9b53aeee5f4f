"""A memory that a second attention reads, beside the receiver's own.

At each fused layer the receiver's queries, before RoPE, meet the memory's keys; the softmax is
over the memory alone, with the receiver's own scaling (neither its window nor its cap or sinks).
What is found is added to what the receiver's attention gives to its output map, which is linear:
it is added to the attention's output through that map. The model is changed for one forward pass
at a time, and for the thread that runs it.

Source: side memory, Draft-KV (arXiv 2609.34754).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens
from c2c_search.inference.packed.tokens import onto


if TYPE_CHECKING:
    from torch import nn

    from c2c_search.inference.packed.fused_cache import Further
    from c2c_search.inference.queries import Queries


Found = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]]
"""From queries ``(batch, tokens, heads, head_dim)`` to what a memory of one layer answers,
``(batch, some tokens, heads * head_dim)``, and which tokens these are; None: all."""


@dataclass(frozen=True)
class SideMemory:
    """Keys and values beside the caches of packed prompts, in some of the receiver's layers.

    Args:
        queries: Of the receiver.
        layers: Those that read it.
        packed: ``(2, layers, tokens, size)``, one prompt's after the other; keys are normalised.
        lengths: Tokens of each prompt's memory; 0 where it has none.
        everywhere: Whether all tokens of a prompt read it, or its last one and what follows.
        entries: Who finds each entry, and from where on; all of its prompt when left out.
    """

    queries: Queries
    layers: tuple[int, ...]
    packed: torch.Tensor
    lengths: tuple[int, ...]
    everywhere: bool = False
    entries: Tokens | None = None

    @classmethod
    def of(
        cls,
        queries: Queries,
        layers: Sequence[int],
        projected: torch.Tensor,
        lengths: Sequence[int],
        *,
        everywhere: bool,
    ) -> SideMemory:
        """The memory that a fuser has projected; gradients flow.

        Args:
            queries: Of the receiver.
            layers: Those that read it.
            projected: ``(2, layers, tokens, size)``, before the receiver's key norm.
            lengths: Tokens of each prompt's.
            everywhere: As for the class.
        """
        projected = projected.to(queries.maps[0].weight.dtype)
        keys = torch.stack(
            [
                queries.normed_keys(layer, each)
                for layer, each in zip(layers, projected[0].unbind(0), strict=True)
            ]
        )
        packed = torch.stack([keys, projected[1]])
        return cls(queries, tuple(layers), packed, tuple(lengths), everywhere)

    def of_rows(self, rows: range) -> SideMemory:
        """Of some prompts that stand side by side."""
        first, count = sum(self.lengths[: rows.start]), sum(self.lengths[rows.start : rows.stop])
        return replace(
            self,
            packed=self.packed[:, :, first : first + count],
            lengths=self.lengths[rows.start : rows.stop],
        )

    def among(self, before: int, after: int) -> SideMemory:
        """The same where its prompts stand between so many others, which have none."""
        return replace(self, lengths=(0,) * before + self.lengths + (0,) * after)

    def grown(self, further: Further) -> SideMemory:
        """The same with further entries, as a fuser projects them."""
        said = SideMemory.of(self.queries, self.layers, further.packed, (), everywhere=False)
        prompts = torch.arange(len(self.lengths))
        prompt = torch.repeat_interleave(prompts, torch.tensor(self.lengths))
        first = Tokens(prompt, torch.full_like(prompt, TRUNK), torch.zeros_like(prompt))
        entries = (self.entries or first).then(further.tokens)
        order = entries.prompt.argsort(stable=True)
        packed = torch.cat([self.packed, said.packed], dim=2)
        counts = torch.bincount(entries.prompt, minlength=len(prompts))
        return replace(
            self,
            packed=packed.index_select(2, onto(order, packed.device)),
            lengths=tuple(counts.tolist()),
            entries=entries.at(order),
        )

    def silenced(self) -> SideMemory:
        """The same where nothing is found, whatever is asked."""
        return replace(self, packed=torch.stack([self.packed[0], 0 * self.packed[1]]))


class Memories:
    """What memories of packed prompts answer, laid out so that a prompt is a row.

    Args:
        memories: Of one receiver.
    """

    def __init__(self, memories: Sequence[SideMemory]) -> None:
        self.memories = memories
        self._rows = [_Rows(memory) for memory in memories]

    def grow(self, further: Further) -> None:
        """Add entries to a memory that is the only one."""
        (memory,) = self.memories
        self.memories = [memory.grown(further)]
        self._rows = [_Rows(grown) for grown in self.memories]

    @contextmanager
    def read_by(self, tokens: Tokens, *, of_prompt: bool) -> Iterator[None]:
        """Have the receiver read them within the block, while it is fed packed tokens.

        Args:
            tokens: Where those fed belong.
            of_prompt: Whether they stand before the prompts' last tokens.
        """
        branches: dict[int, list[Found]] = {}
        for memory, rows in zip(self.memories, self._rows, strict=True):
            if of_prompt and not memory.everywhere:
                continue
            seats = rows.seats(tokens)
            for number, layer in enumerate(memory.layers if seats is not None else ()):
                found = rows.answering(number, seats)
                branches.setdefault(layer, []).append(found)
        with _reading(self.memories[0].queries, branches):
            yield

    @contextmanager
    def active(self) -> Iterator[None]:
        """Have the receiver read them within the block, while it is fed a batch of rows.

        So that `generate` of the receiver itself goes on from the cache that a `C2CModel` gives:
        each row of its batch reads the memory of the prompt of that number.

        Raises:
            ConfigError: It is fed a batch of another number of rows.
        """
        branches: dict[int, list[Found]] = {}
        for memory, rows in zip(self.memories, self._rows, strict=True):
            for number, layer in enumerate(memory.layers):
                branches.setdefault(layer, []).append(rows.answering(number, None))
        with _reading(self.memories[0].queries, branches):
            yield


@dataclass(frozen=True)
class _Seats:
    """Where tokens that read a memory stand when each prompt is a row.

    Args:
        rows: Rows of the memory that are read, ``(rows,)``; None: all of them, in their order.
        index: The token at each seat, ``(rows * most,)``; padding repeats a row's first.
        back: The seat of each token that reads, ``(reading,)``.
        reading: Which of the tokens fed read, ``(reading,)``; None: all.
        most: Seats in a row.
        mask: What each seat finds, ``(rows, 1, seats, entries)``; None: all that is there.
    """

    rows: torch.Tensor | None
    index: torch.Tensor
    back: torch.Tensor
    reading: torch.Tensor | None
    most: int
    mask: torch.Tensor | None


class _Rows:
    """A memory with a row for each prompt that has one, filled up with zeros that are masked."""

    def __init__(self, memory: SideMemory) -> None:
        lengths = torch.tensor(memory.lengths)
        self.prompts = lengths.nonzero()[:, 0]
        self.heads, self.scaling = memory.queries.kv_heads, memory.queries.scaling
        self.layers, self.count = memory.layers, len(memory.lengths)
        lengths = lengths[self.prompts]
        most = int(lengths.max()) if len(lengths) else 0
        used = torch.arange(most) < lengths[:, None]
        device = memory.packed.device
        self.entries: Tokens | None = None
        self.used = used
        if memory.entries is not None:
            at = torch.zeros(used.shape, dtype=torch.long)
            at[used] = torch.arange(len(memory.entries))
            self.entries = memory.entries.at(at)
        self.mask: torch.Tensor | None = None
        filled = memory.packed
        if not bool(used.all()):
            self.mask = onto(used[:, None, None], device)
            slots = used.flatten().nonzero()[:, 0]
            empty = filled.new_zeros(*filled.shape[:2], used.numel(), filled.shape[-1])
            filled = empty.index_copy(2, onto(slots, device), filled)
        head_dim = memory.queries.head_dim
        by_row = filled.unflatten(2, (len(self.prompts), most)).unflatten(
            -1, (self.heads, head_dim)
        )
        # (2, layers, rows, heads, tokens, head_dim)
        self.keys, self.values = by_row.transpose(3, 4).unbind(0)

    def seats(self, tokens: Tokens) -> _Seats | None:
        """Where packed tokens stand; None where none of them reads."""
        row_of = torch.full((self.count,), -1)
        row_of[self.prompts] = torch.arange(len(self.prompts))
        row = row_of[tokens.prompt]
        reading = (row >= 0).nonzero()[:, 0]
        if not len(reading):
            return None
        rows, number, counts = row[reading].unique(return_inverse=True, return_counts=True)
        order = number.argsort(stable=True)
        starts, most = counts.cumsum(0) - counts, int(counts.max())
        places = torch.arange(most)
        used = places < counts[:, None]
        index = reading[order][(starts[:, None] + places * used).flatten()]
        back = torch.empty_like(order)
        back[order] = used.flatten().nonzero()[:, 0]
        device = self.keys.device
        whole = len(rows) == len(self.prompts)
        mask = None
        if self.entries is not None:
            fed = tokens.at(index.view(len(rows), -1, 1))
            found = fed.see(self.entries.at(rows[:, None])) & self.used[rows][:, None]
            mask = onto(found[:, None], device)
        elif self.mask is not None:
            mask = self.mask if whole else self.mask.index_select(0, onto(rows, device))
        return _Seats(
            None if whole else onto(rows, device),
            onto(index, device),
            onto(back, device),
            None if len(reading) == len(tokens) else onto(reading, device),
            most,
            mask,
        )

    def answering(self, number: int, seats: _Seats | None) -> Found:
        """What one layer answers; without seats, a row of the batch reads a row of the memory.

        Args:
            number: Among the memory's layers.
            seats: Of packed tokens.
        """

        def packed(query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
            assert seats is not None
            by_row = query[0].index_select(0, seats.index).unflatten(0, (-1, seats.most))
            found = self._attend(number, by_row, seats.rows, seats.mask).flatten(0, 1)
            return found.index_select(0, seats.back)[None], seats.reading

        def batched(query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
            if len(query) != self.count:
                raise ConfigError(
                    "Each row of the receiver's batch must read the memory of its own prompt.",
                    value=f"{len(query)} rows, {self.count} prompts",
                    hint="Give the receiver the batch that the C2CModel was given, without beams.",
                )
            if len(self.prompts) == self.count:
                return self._attend(number, query, None, self.mask), None
            rows = onto(self.prompts, query.device)
            found = self._attend(number, query.index_select(0, rows), None, self.mask)
            nothing = found.new_zeros(len(query), *found.shape[1:])
            return nothing.index_copy(0, rows, found), None

        return batched if seats is None else packed

    def _attend(
        self,
        number: int,
        query: torch.Tensor,
        rows: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """From ``(rows, tokens, query heads, head_dim)`` to ``(rows, tokens, heads * dim)``."""
        keys, values = self.keys[number], self.values[number]
        if rows is not None:
            keys, values = keys.index_select(0, rows), values.index_select(0, rows)
        count, tokens = query.shape[:2]
        if mask is not None and mask.shape[2] > 1:  # each of a KV head's queries sees alike
            mask = mask.repeat(1, 1, query.shape[2] // self.heads, 1)
        # A KV head's queries stand side by side, as if they were tokens: it is never repeated.
        grouped = query.transpose(1, 2).reshape(count, self.heads, -1, query.shape[-1])
        scale = self.scaling[self.layers[number]]
        found = torch.nn.functional.scaled_dot_product_attention(
            grouped.to(keys.dtype), keys, values, attn_mask=mask, scale=scale
        )
        return found.reshape(count, -1, tokens, query.shape[-1]).transpose(1, 2).flatten(2)


# Whoever runs the model beside a block, in another thread or deeper in this one, is not it.
_now: ContextVar[object] = ContextVar("c2c_search_side_memory", default=None)


@contextmanager
def _reading(queries: Queries, branches: Mapping[int, Sequence[Found]]) -> Iterator[None]:
    """Add what is found in some layers, for what this thread has the model do in the block."""
    this = object()
    mapped: dict[int, torch.Tensor] = {}
    handles = []

    def asking(layer: int) -> Callable[..., None]:
        def note(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            if _now.get() is this:
                mapped[layer] = output

        return note

    def answering(layer: int, found: Sequence[Found]) -> Callable[..., Any]:
        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Any:
            if _now.get() is not this:
                return None
            given, *others = inputs
            query = queries(layer, mapped.pop(layer))
            for each in found:
                added, where = each(query)
                added = added.to(given.dtype)
                given = given + added if where is None else given.index_add(1, where, added)
            return given, *others

        return add

    before = _now.set(this)
    try:
        for layer, found in branches.items():
            handles.append(queries.maps[layer].register_forward_hook(asking(layer)))
            handles.append(
                queries.outputs[layer].register_forward_pre_hook(answering(layer, found))
            )
        yield
    finally:
        for handle in handles:
            handle.remove()
        _now.reset(before)
