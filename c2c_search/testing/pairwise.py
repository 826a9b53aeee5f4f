"""Few configurations in which every two values of different axes meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from itertools import product
from operator import or_
from typing import Any


Fields = dict[str, Any]


def pairwise(*axes: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Tuples of one value of each axis, in which every two values of different axes meet.

    Faults that take more than two values together are rare, and the tuples are far fewer than
    the product: about as many as the two longest axes have pairs.

    Source: Kuhn, Wallace and Gallo 2004, Software fault interactions and implications for
    software testing (IEEE Transactions on Software Engineering 30, 418-421). Each tuple is the
    one that brings the most new pairs, the first of those that bring as many.

    Args:
        axes: The values of each.

    Returns:
        The tuples, the same at every call.
    """
    together = min(2, len(axes))  # of one axis alone, every value
    candidates = [
        (places, frozenset(combinations(enumerate(places), together)))
        for places in product(*(range(len(axis)) for axis in axes))
    ]
    left = frozenset[Any]().union(*(pairs for _, pairs in candidates))
    chosen = []
    while left:
        places, pairs = max(candidates, key=lambda candidate: len(candidate[1] & left))
        left -= pairs
        chosen.append(tuple(axis[place] for axis, place in zip(axes, places, strict=True)))
    return chosen


def each(name: str, values: Sequence[Any]) -> list[Fields]:
    """An axis of one field: ``{name: value}`` for every value."""
    return [{name: value} for value in values]


def merged(*axes: Sequence[Fields]) -> list[Fields]:
    """The fields of every tuple of `pairwise` together."""
    return [reduce(or_, fields) for fields in pairwise(*axes)]
