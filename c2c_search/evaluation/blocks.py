"""Items dealt into blocks of whole clusters, which are independent of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from statistics import fmean

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


MOST_BLOCKS = 20


def deal(items: Sequence[ItemResult]) -> list[list[int]]:
    """Indices of the items of each block, the same for all who answer the same items.

    The largest clusters are dealt first, each to the block with the fewest items.

    Returns:
        At most 20 blocks; none where there are fewer than 2 clusters.
    """
    sizes = Counter(item.cluster for item in items)
    if len(sizes) < 2:
        return []
    counts = [0] * min(MOST_BLOCKS, len(sizes))
    block_of: dict[str, int] = {}
    for cluster, size in sorted(sizes.items(), key=lambda one: (-one[1], one[0])):
        smallest = counts.index(min(counts))
        block_of[cluster] = smallest
        counts[smallest] += size
    blocks: list[list[int]] = [[] for _ in counts]
    for index, item in enumerate(items):
        blocks[block_of[item.cluster]].append(index)
    return blocks


def by_block(
    right: SystemResult,
    wrong: SystemResult | None,
    value: Callable[[float, float | None], float],
) -> tuple[float, ...]:
    """An objective on each block.

    Args:
        right: Answers with the right message.
        wrong: To the same items, with another item's.
        value: The objective from the accuracy with either; see `space.objective.Objective`.
    """
    blocks = deal(right.items)
    matched = credits(right.items, blocks)
    if wrong is None:
        return tuple(value(accuracy, None) for accuracy in matched)
    deranged = credits(wrong.items, blocks)
    return tuple(value(*pair) for pair in zip(matched, deranged, strict=True))


def credits(items: Sequence[ItemResult], blocks: Sequence[Sequence[int]]) -> list[float]:
    """Mean credit of each block."""
    return [fmean(items[index].credit for index in block) for block in blocks]
