"""Credit of items, summed over the clusters that are independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult


Floats = npt.NDArray[np.float64]


def credit_of(result: SystemResult) -> Floats:
    """``(items,)`` credit of each item.

    Raises:
        DataError: There are no items.
    """
    if not result.items:
        raise DataError(
            "A system must have answered at least one item.",
            value=f"{result.system} on {result.split}",
            hint="The split is empty: check the data section of the pipeline.",
        )
    return np.array([item.credit for item in result.items], dtype=np.float64)


def differences(a: SystemResult, b: SystemResult) -> Floats:
    """``(items,)`` credit of ``a`` minus that of ``b``; 1, 0 or -1 where none is graded.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    mine, theirs = credit_of(a), credit_of(b)
    asked = [[(i.id, i.cluster, i.answer) for i in result.items] for result in (a, b)]
    if a.split != b.split or asked[0] != asked[1]:
        raise DataError(
            "Two systems can be paired only on the same items in the same order.",
            value=f"{a.system} on {a.split} ({len(a.items)} items), "
            f"{b.system} on {b.split} ({len(b.items)} items)",
            hint="Evaluate both on the same split of the same data.",
        )
    return mine - theirs


def names(result: SystemResult) -> list[str]:
    """The cluster of each item."""
    return [item.cluster for item in result.items]


def by_cluster(clusters: Sequence[str], values: Floats) -> tuple[Floats, Floats]:
    """Sum of ``values`` and number of items of each cluster, both ``(clusters,)``."""
    _, cluster = np.unique(clusters, return_inverse=True)
    sums: Floats = np.bincount(cluster, weights=values).astype(np.float64)
    return sums, np.bincount(cluster).astype(np.float64)


def sum_of_squares(sums: Floats, sizes: Floats, mean: float) -> float:
    """Spread of the clusters' sums around what ``mean`` says they are."""
    return float(((sums - mean * sizes) ** 2).sum())
