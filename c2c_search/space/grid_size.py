"""The values of a grid, and how many points it has."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import count


def grid_values(
    dimensions: Mapping[str, Dimension], points: int | None
) -> dict[str, Sequence[Value]]:
    """What a grid tries of each dimension.

    Args:
        dimensions: The space's.
        points: Of a range, both ends included and evenly between (in the logarithm where it is
            sampled so). A range of integers has no more than it has values, all of them where
            this is None.
    """
    return {name: _values(dimensions[name], points) for name in sorted(dimensions)}


def grid_size(dimensions: Mapping[str, Dimension], points: int | None) -> int | None:
    """Different points of the grid; None where a range of floats is not divided."""
    divided = {
        name: each
        if each.values is not None and (points is None or each.choices is not None)
        else each.model_copy(
            update={"choices": tuple(_values(each, points)), "integers": None, "floats": None}
        )
        for name, each in dimensions.items()
        if each.values is not None or points is not None
    }
    return count(divided) if len(divided) == len(dimensions) else None


def _values(dimension: Dimension, points: int | None) -> Sequence[Value]:
    known = dimension.values
    if known is not None and (points is None or dimension.choices is not None):
        return known
    assert points is not None
    if known is not None and len(known) <= points:
        return known
    low, high = dimension.integers or dimension.floats or (0, 0)
    shares = [number / (points - 1) for number in range(points)]
    if dimension.log:
        spread = [low * (high / low) ** share for share in shares]
    else:
        spread = [low + (high - low) * share for share in shares]
    if dimension.integers is None:
        return [low, *spread[1:-1], high]
    step = dimension.step or 1
    rounded = (int(low + round((value - low) / step) * step) for value in spread)
    return list(dict.fromkeys(rounded))
