"""Answers of made-up systems: what the tests of statistics and analysis start from."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


ROWS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40
)
"""For each item whether either of two systems has it right, and its cluster."""

CREDIT = st.floats(0, 1).map(lambda credit: round(credit, 3))

GRADED_ROWS = st.lists(st.tuples(CREDIT, CREDIT, st.integers(0, 5)), min_size=1, max_size=30)
"""For each item the credit of either system, and its cluster."""


def chosen(
    right: Sequence[bool], clusters: Sequence[int] | None = None, *, split: str = "test"
) -> SystemResult:
    """Choices, right or wrong; each item is a cluster of its own unless told otherwise."""
    items = tuple(
        ItemResult(id=str(i), group="g", cluster=str(cluster), answer=0, chosen=int(not ok))
        for i, (ok, cluster) in enumerate(zip(right, _clusters(right, clusters), strict=True))
    )
    return SystemResult(system="s", split=split, items=items)


def graded(credit: Sequence[float], clusters: Sequence[int] | None = None) -> SystemResult:
    """Written answers with credit."""
    items = tuple(
        ItemResult(id=str(i), group="g", cluster=str(cluster), text="", graded=float(each))
        for i, (each, cluster) in enumerate(zip(credit, _clusters(credit, clusters), strict=True))
    )
    return SystemResult(system="s", split="test", items=items)


def pair(rows: Sequence[tuple[bool, bool, int]]) -> tuple[SystemResult, SystemResult]:
    """Two systems of `ROWS`."""
    clusters = [row[2] for row in rows]
    return chosen([row[0] for row in rows], clusters), chosen([row[1] for row in rows], clusters)


def graded_pair(rows: Sequence[tuple[float, float, int]]) -> tuple[SystemResult, SystemResult]:
    """Two systems of `GRADED_ROWS`."""
    clusters = [row[2] for row in rows]
    return graded([row[0] for row in rows], clusters), graded([row[1] for row in rows], clusters)


def _clusters(items: Sequence[object], clusters: Sequence[int] | None) -> Sequence[int]:
    return range(len(items)) if clusters is None else clusters
