"""Contexts taken apart and put together between two decoding steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from c2c_search.inference.packed.fused_cache import FusedCache
from c2c_search.inference.packed.tokens import onto


if TYPE_CHECKING:
    from c2c_search.inference.packed.context import PackedContext
    from c2c_search.inference.packed.side_memory import SideMemory


def remaining(context: PackedContext, fed: dict[int, int]) -> list[FusedCache]:
    """What a context has read of prompts that are still answered, each as a cache to go on from.

    Args:
        context: It.
        fed: Tokens fed of each of these prompts.
    """
    read, packed = context.read, context.newest(len(context.read))
    memories = () if context.memories is None else context.memories.memories
    found = []
    for row, count in fed.items():
        (index,) = (read.prompt == row).nonzero(as_tuple=True)
        found.append(
            FusedCache(
                packed=packed.index_select(2, onto(index, packed.device)),
                lengths=(len(index),),
                positions=(read.position[index],),
                next_positions=(context.next_positions[row] + count,),
                memories=tuple(memory.of_rows(range(row, row + 1)) for memory in memories),
            )
        )
    return found


def side_by_side(caches: Sequence[FusedCache]) -> FusedCache:
    """The prompts of several as those of one, with one memory where each has one."""
    joined = FusedCache.side_by_side(caches)
    memories = [memory for cache in caches for memory in cache.memories]
    return replace(joined, memories=(_one(memories),)) if memories else joined


def _one(memories: Sequence[SideMemory]) -> SideMemory:
    return replace(
        memories[0],
        packed=torch.cat([memory.packed for memory in memories], dim=2),
        lengths=tuple(length for memory in memories for length in memory.lengths),
    )
