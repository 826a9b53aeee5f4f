"""Work cut into portions that keep to a budget, e.g. of tokens."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TypeVar


Item = TypeVar("Item")


def portions(
    items: Iterable[Item], sizes: Callable[[Item], Sequence[int]], limits: Sequence[int]
) -> Iterator[list[Item]]:
    """Cut items into runs, each as long as the limits allow.

    Args:
        items: In the order in which they stay.
        sizes: What an item takes of each budget.
        limits: The budgets; an item that is larger by itself is a portion by itself.

    Yields:
        Each item in exactly one portion; no portion is empty.
    """
    portion: list[Item] = []
    taken = [0] * len(limits)
    for item in items:
        size = sizes(item)
        sums = [before + more for before, more in zip(taken, size, strict=True)]
        if portion and any(total > limit for total, limit in zip(sums, limits, strict=True)):
            yield portion
            portion, sums = [], list(size)
        portion.append(item)
        taken = sums
    if portion:
        yield portion
