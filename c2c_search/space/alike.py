"""Settings that would train the same, found without comparing each with each."""

from __future__ import annotations

import math
from bisect import bisect_left
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping

from c2c_search.space.dimensions import Value


SAME = 5e-4
"""Numbers as far apart, relative to the larger, agree to four digits."""

_Bucket = tuple[tuple[str, type, Value], ...]
_Row = tuple[float, ...]


class Tried:
    """The settings of trials; ``params in tried`` tells whether one of them would train the same.

    Settings of the same names, choices and integers share a bucket, and lie there in the order of
    their floats: what is compared is what agrees in the first of them.

    Args:
        settings: Values by dotted name, of the dimensions that apply.
    """

    def __init__(self, settings: Iterable[Mapping[str, Value]] = ()) -> None:
        self._buckets: dict[_Bucket, list[_Row]] = defaultdict(list)
        for params in settings:
            self.add(params)

    def add(self, params: Mapping[str, Value]) -> None:
        """Add the settings of a trial."""
        bucket, row = _split(params)
        insort(self._buckets[bucket], row)

    def __contains__(self, params: Mapping[str, Value]) -> bool:
        bucket, row = _split(params)
        rows = self._buckets.get(bucket)
        if not rows:
            return False
        if not row:
            return True
        reach = abs(row[0]) * 2 * SAME
        for index in range(bisect_left(rows, (row[0] - reach,)), len(rows)):
            if rows[index][0] > row[0] + reach:
                return False
            if _same(row, rows[index]):
                return True
        return False


def _same(row: _Row, other: _Row) -> bool:
    return all(map(_close, row, other))


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME)


def _split(params: Mapping[str, Value]) -> tuple[_Bucket, _Row]:
    """What must be equal, and the floats, which must be close; both by name."""
    exact: list[tuple[str, type, Value]] = []
    close: list[float] = []
    for name in sorted(params):
        value = params[name]
        if isinstance(value, float):
            close.append(value)
            exact.append((name, float, None))
        else:
            exact.append((name, type(value), value))
    return tuple(exact), tuple(close)
