"""How large a space's fusers are, and which of them its limits refuse."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from itertools import pairwise

from c2c_search.space.declaration import Limits
from c2c_search.space.schema import Space


_BINS = 8


@dataclass(frozen=True)
class SizeBin:
    """Candidates of about one size.

    Args:
        least: Parameters from which on it counts.
        most: Up to which it does.
        share: Of all candidates.
    """

    least: int
    most: int
    share: float


@dataclass(frozen=True)
class FuserSizes:
    """Parameters of the space's fusers, over random candidates.

    Args:
        smallest: Fewest parameters.
        median: Median parameters.
        largest: Most parameters.
        fitting: Share of the candidates within the space's limits on the fuser; the others are
            never tried.
        histogram: How many candidates have so many parameters, from the smallest to the largest.
        refused: Share that each limit alone refuses, by its name in the space.
    """

    smallest: int
    median: int
    largest: int
    fitting: float
    histogram: tuple[SizeBin, ...] = ()
    refused: Mapping[str, float] = field(default_factory=dict)


def fuser_sizes(space: Space, counts: Sequence[int]) -> FuserSizes:
    """Sizes of candidates, from their parameters in rising order."""
    limits = {name: limit for name, limit in space.limits if limit is not None}
    alone = {name: Limits(**{name: limit}) for name, limit in limits.items()}
    refused = {
        name: sum(not limit.allow(size) for size in counts) / len(counts)
        for name, limit in alone.items()
    }
    return FuserSizes(
        smallest=counts[0],
        median=round(statistics.median(counts)),
        largest=counts[-1],
        fitting=sum(map(space.limits.allow, counts)) / len(counts),
        histogram=_histogram(counts),
        refused={name: share for name, share in refused.items() if share},
    )


def _histogram(counts: Sequence[int]) -> tuple[SizeBin, ...]:
    """Bins as wide as each other in the logarithm; sizes span several orders of magnitude."""
    smallest, largest = counts[0], counts[-1]
    if smallest == largest:
        return (SizeBin(smallest, largest, 1.0),)
    step = (largest / smallest) ** (1 / _BINS)
    edges = [round(smallest * step**number) for number in range(_BINS)] + [largest + 1]
    return tuple(
        SizeBin(
            least,
            most - (most > largest),
            bisect_left(counts, most) / len(counts) - bisect_left(counts, least) / len(counts),
        )
        for least, most in pairwise(edges)
    )
