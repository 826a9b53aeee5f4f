"""Packed prompts side by side in blocks, where that spares attention work.

Attention in one sequence costs all tokens fed times all tokens read. In blocks, one prompt a row,
it costs each prompt's own; prompts of similar size share a block, so little of it is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import torch

from c2c_search.inference.packed.tokens import onto


if TYPE_CHECKING:
    from c2c_search.inference.packed.tokens import Tokens


class _Price(NamedTuple):
    """What blocks cost beyond their pairs of a token fed and a token read, in such pairs."""

    group: int
    """To begin with a block; and below this, one sequence is not worth a thought."""
    prompt: int
    """A prompt in a block."""
    copy: int
    """A token read, copied into a block."""


_CPU = _Price(group=4096, prompt=0, copy=16)
# The CPU's kernel for small numbers prepares every prompt's matrices, most of all backwards.
_CPU_HALF = _Price(group=4096, prompt=2000, copy=20)
# A GPU computes a million pairs in the time that it takes to begin.
_GPU = _Price(group=1 << 20, prompt=0, copy=16)


class _Arranged(torch.autograd.Function):
    """Some tokens, several times; only the time that `back` names has a gradient."""

    @staticmethod
    def forward(ctx: Any, packed: torch.Tensor, index: Any, back: Any) -> torch.Tensor:
        ctx.save_for_backward(back)
        return packed.index_select(1, index)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(1, back), None, None


@dataclass(frozen=True)
class Arrangement:
    """Which of some packed tokens stand where in the blocks.

    Args:
        index: The token at each slot, all groups in turn, ``(slots,)``.
        back: The slot of each token that is not padding, ``(tokens,)``; -1 where it has none.
        shapes: Prompts and longest prompt of each group.
        complete: Whether every token has a slot.
    """

    index: torch.Tensor
    back: torch.Tensor
    shapes: tuple[tuple[int, int], ...]
    complete: bool

    def blocks(self, packed: torch.Tensor) -> list[torch.Tensor]:
        """From ``(1, heads, tokens, dim)`` to each group's ``(prompts, heads, tokens, dim)``.

        Padding must get no gradient: it is masked where it is read, and dropped where it reads.
        """
        if self.complete:
            # Each token's gradient is read where it stands, instead of summed over slots.
            slots = _Arranged.apply(packed[0], self.index, self.back)
        else:
            slots = packed[0].index_select(1, self.index)
        parts = slots.split([prompts * longest for prompts, longest in self.shapes], dim=1)
        return [
            part.unflatten(1, shape).transpose(0, 1)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def pack(self, blocks: Sequence[torch.Tensor]) -> torch.Tensor:
        """From each group's ``(prompts, tokens, ...)`` back to ``(1, tokens, ...)``."""
        slots = torch.cat([block.flatten(0, 1) for block in blocks])
        return slots.index_select(0, self.back)[None]

    def to(self, device: torch.device) -> Arrangement:
        return Arrangement(
            onto(self.index, device), onto(self.back, device), self.shapes, self.complete
        )


@dataclass(frozen=True)
class Group:
    """Prompts in one block.

    Args:
        fed: Which of the tokens fed, ``(prompts, most fed)``; padding repeats the first.
        read: Which of the tokens read, ``(prompts, most read)``; padding repeats the first.
        lengths: How many of each prompt are read, ``(prompts,)``.
    """

    fed: torch.Tensor
    read: torch.Tensor
    lengths: torch.Tensor


@dataclass(frozen=True)
class Blocks:
    """How tokens fed to packed prompts attend in blocks.

    Args:
        groups: The blocks, on the CPU.
        fed: Slots of the tokens fed, where they attend.
        read: Slots of the tokens read, likewise.
    """

    groups: tuple[Group, ...]
    fed: Arrangement
    read: Arrangement

    @classmethod
    def of(
        cls, tokens: Tokens, read: Tokens, device: torch.device, dtype: torch.dtype
    ) -> Blocks | None:
        """Blocks for tokens fed; None where one sequence costs less.

        Args:
            tokens: What is fed.
            read: All that was read, what is fed included.
            device: Where they attend.
            dtype: Of queries, keys and values.
        """
        price = _price(device, dtype)
        together = len(tokens) * len(read)
        if together <= price.group:
            return None
        prompts = int(read.prompt.max()) + 1
        fed_counts = torch.bincount(tokens.prompt, minlength=prompts)
        read_counts = torch.bincount(read.prompt, minlength=prompts)
        rows, cost = _grouped(fed_counts.tolist(), read_counts.tolist(), price)
        if cost >= together:
            return None
        members = [torch.tensor(row) for row in rows]
        fed_blocks, fed_arrangement = _arranged(tokens.prompt, fed_counts, members)
        read_blocks, read_arrangement = _arranged(read.prompt, read_counts, members)
        groups = [
            Group(queries, entries, read_counts[row])
            for queries, entries, row in zip(fed_blocks, read_blocks, members, strict=True)
        ]
        return cls(tuple(groups), fed_arrangement.to(device), read_arrangement.to(device))

    def masks(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Each group's ``(prompts, 1, fed, read)``, from all groups' one after the other."""
        shapes = [(*group.fed.shape, group.read.shape[1]) for group in self.groups]
        parts = values.flatten().split([a * b * c for a, b, c in shapes])
        return [part.view(shape)[:, None] for part, shape in zip(parts, shapes, strict=True)]


def _price(device: torch.device, dtype: torch.dtype) -> _Price:
    if device.type != "cpu":
        return _GPU
    return _CPU_HALF if dtype.itemsize < 4 else _CPU


def _grouped(fed: list[int], read: list[int], price: _Price) -> tuple[list[list[int]], int]:
    """Prompts with tokens fed, in groups of similar size, and what attention in them costs.

    From the longest to the shortest, a prompt joins the group before it unless the padding that
    this brings costs more than a group of its own.
    """
    groups: list[list[int]] = []
    most_fed = most_read = spent = cost = 0
    for prompt in sorted(range(len(fed)), key=lambda prompt: (-read[prompt], -fed[prompt])):
        if not fed[prompt]:
            continue
        alone = _cost(1, fed[prompt], read[prompt], price)
        if groups:
            most = max(most_fed, fed[prompt])
            joint = _cost(len(groups[-1]) + 1, most, most_read, price)
            if joint <= cost + alone:
                groups[-1].append(prompt)
                most_fed, cost = most, joint
                continue
        spent += cost
        groups.append([prompt])
        most_fed, most_read, cost = fed[prompt], read[prompt], alone
    return groups, spent + cost


def _cost(prompts: int, fed: int, read: int, price: _Price) -> int:
    return price.group + prompts * (price.prompt + read * (fed + price.copy))


def _arranged(
    prompt: torch.Tensor, counts: torch.Tensor, members: list[torch.Tensor]
) -> tuple[list[torch.Tensor], Arrangement]:
    """Each group's block of tokens, and the slots of all."""
    by_prompt = prompt.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    back = torch.full((len(prompt),), -1)
    blocks = []
    first = 0
    for rows in members:
        lengths = counts[rows][:, None]
        offsets = torch.arange(int(lengths.max()))
        used = offsets < lengths
        block = by_prompt[starts[rows][:, None] + offsets * used]
        back[block[used]] = first + used.flatten().nonzero()[:, 0]
        blocks.append(block)
        first += block.numel()
    shapes = tuple((len(block), block.shape[1]) for block in blocks)
    index = torch.cat([block.flatten() for block in blocks])
    return blocks, Arrangement(index, back, shapes, bool((back >= 0).all()))
