"""Points of a space at which its rules are tried: every combination of extremes, or a sample."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import islice

from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import applies
from c2c_search.space.dimensions import in_order
from c2c_search.space.dimensions import named


_MOST_COMBINATIONS = 8_000  # among so many, any values of four dimensions meet


def points(dimensions: Mapping[str, Dimension], asked: Callable[[str], bool]) -> Iterator[Params]:
    """Combinations of the extremes of some dimensions; a sample if they are many.

    Args:
        dimensions: Of a space.
        asked: Which of them; those that their conditions refer to come along.
    """
    order = in_order(dimensions)
    needed: set[str] = set()
    for name in reversed(order):
        if name in needed or asked(name):
            needed |= {name, *dimensions[name].when}
    wanted = {name: dimensions[name] for name in order if name in needed}
    conditions = named(wanted)
    values = {
        name: tuple(dict.fromkeys([*dimension.extremes, *conditions.get(name, ())]))
        for name, dimension in wanted.items()
    }
    found = list(islice(_every(wanted, values, [*wanted], {}), _MOST_COMBINATIONS + 1))
    if len(found) <= _MOST_COMBINATIONS:
        yield from found
        return
    rng = random.Random(0)
    for _ in range(_MOST_COMBINATIONS):
        params: Params = {}
        for name, dimension in wanted.items():
            if applies(dimension, params):
                params[name] = rng.choice(values[name])
        yield params


def _every(
    dimensions: dict[str, Dimension],
    values: dict[str, tuple[Value, ...]],
    order: list[str],
    params: Params,
) -> Iterator[Params]:
    """Every combination of ``values``, as far as the dimensions apply."""
    if not order:
        yield params
        return
    name, *rest = order
    if not applies(dimensions[name], params):
        yield from _every(dimensions, values, rest, params)
        return
    for value in values[name]:
        yield from _every(dimensions, values, rest, {**params, name: value})
