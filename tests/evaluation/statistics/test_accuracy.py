"""Intervals of one accuracy: published examples, invariants, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import DataError
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import share_interval
from tests.evaluation.answers import GRADED_ROWS
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


def test_accuracy_of_independent_items_has_the_wilson_interval() -> None:
    # 81 of 263, the example of Newcombe 1998 (Statistics in Medicine 17, 857-872): 0.2553, 0.3662.
    interval = accuracy_interval(chosen([True] * 81 + [False] * 182))
    assert interval.value == pytest.approx(81 / 263)
    # The variance between clusters divides by n - 1: 263 items are worth 262.
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=2e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_accuracy_lies_inside_its_interval(rows: list[tuple[bool, int]]) -> None:
    interval = accuracy_interval(chosen([row[0] for row in rows], [row[1] for row in rows]))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high > interval.low


def test_clusters_widen_the_interval_of_an_accuracy() -> None:
    right = [True] * 60 + [False] * 40
    alone, together = chosen(right), chosen(right, [i // 10 for i in range(100)])
    assert accuracy_interval(together).low < accuracy_interval(alone).low
    # As many right in each cluster: worth no more than independent items.
    even = chosen([True, True, True, False, False] * 20, [i // 5 for i in range(100)])
    assert accuracy_interval(even).low == pytest.approx(accuracy_interval(alone).low, abs=1e-3)
    # All right, in two clusters: worth two items, not a hundred.
    perfect = accuracy_interval(chosen([True] * 100, [i % 2 for i in range(100)]))
    assert perfect.low < 0.4


def test_an_interval_prints_as_a_reader_expects() -> None:
    assert str(accuracy_interval(chosen([True] * 50 + [False] * 50))).startswith("0.500 [0.4")


def test_a_share_has_the_interval_of_an_accuracy() -> None:
    right, clusters = [True, False, True, True, False], [0, 0, 1, 2, 2]
    assert share_interval(right, [str(cluster) for cluster in clusters]) == accuracy_interval(
        chosen(right, clusters)
    )


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one item"):
        share_interval([], [])


def test_an_empty_split_has_no_accuracy() -> None:
    with pytest.raises(DataError, match="at least one item"):
        accuracy_interval(chosen([]))


# Graded credit


@given(GRADED_ROWS)
def test_mean_credit_lies_inside_its_interval(rows: list[tuple[float, float, int]]) -> None:
    result = graded([row[0] for row in rows], [row[2] for row in rows])
    interval = accuracy_interval(result, resamples=200)
    assert interval.value == pytest.approx(result.accuracy)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high > interval.low


def test_mean_credit_of_many_items_has_the_textbook_interval() -> None:
    # Half of 600 items are worth 0.2, half 0.8: mean 0.5, standard deviation 0.3.
    interval = accuracy_interval(graded([0.2, 0.8] * 300))
    half = 1.96 * 0.3 / math.sqrt(600)
    assert interval.value == pytest.approx(0.5)
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)


@pytest.mark.parametrize("clusters", [[0, 1, 2, 3], [0, 0, 1, 1, 2, 2, 3, 3]])
def test_equal_credit_everywhere_has_wilsons_interval_of_its_clusters(clusters: list[int]) -> None:
    interval = accuracy_interval(graded([0.5] * len(clusters), clusters))
    # Four items: the centre is 1/2, half of it z / (1 + z^2/4) sqrt(1/16 + z^2/64)
    # = 1.95996 / 1.96036 * sqrt(0.0625 + 0.06002) = 0.34995.
    assert (interval.low, interval.high) == pytest.approx((0.15005, 0.84995), abs=1e-4)


def test_mean_credit_of_a_single_cluster_says_little_of_others() -> None:
    interval = accuracy_interval(graded([0.2, 0.4, 0.6], [0, 0, 0]))
    # One item: (0.4 + z^2/2) / (1 + z^2) = 0.47935; z / (1 + z^2) sqrt(0.24 + z^2/4) = 0.44297.
    assert (interval.low, interval.high) == pytest.approx((0.0364, 0.9223), abs=1e-3)


def test_interval_of_a_mean_credit_covers_the_truth_as_often_as_said() -> None:
    """Ten clusters of four items, correlated, skewed as F1 is."""
    rng = np.random.default_rng(5)
    runs, missed = 300, 0
    clusters = [i // 4 for i in range(40)]
    for _ in range(runs):
        # Beta(1, 3) within a cluster that is moved as a whole, by 0 on average: mean 1/4.
        credit = rng.beta(1, 3, 40) * np.repeat(rng.uniform(0, 2, 10), 4) / 2
        interval = accuracy_interval(graded(credit, clusters), resamples=400)
        missed += not interval.low <= 0.125 <= interval.high
    assert missed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
