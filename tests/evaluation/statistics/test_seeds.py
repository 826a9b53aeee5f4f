"""Intervals over training seeds: hand-checked numbers, invariants, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings

from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import hierarchical_bootstrap
from c2c_search.evaluation.statistics import mean_interval
from c2c_search.evaluation.statistics import paired_bootstrap
from tests.evaluation.answers import ROWS
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded
from tests.evaluation.answers import pair


def _even(of_ten: int, *, clusters: int = 50) -> SystemResult:
    """The same number of ten items right in every cluster: no cluster differs from another."""
    right = [True] * of_ten + [False] * (10 - of_ten)
    return chosen(right * clusters, [i // 10 for i in range(10 * clusters)])


def test_one_training_of_each_is_the_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    a, b = (chosen(list(row)) for row in rng.random((2, 60)) < [[0.7], [0.5]])
    assert hierarchical_bootstrap([a], [b], seed=3) == paired_bootstrap(a, b, seed=3)
    assert mean_interval([a]) == accuracy_interval(a)


def test_trainings_that_answer_alike_add_no_width() -> None:
    rng = np.random.default_rng(0)
    a, b = (chosen(list(row)) for row in rng.random((2, 60)) < [[0.7], [0.5]])
    three, one = hierarchical_bootstrap([a, a, a], [b]), paired_bootstrap(a, b)
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


@pytest.mark.parametrize(
    ("right", "value", "half"),
    [
        # Standard deviation 0.1, error 0.1 / sqrt(3); t with 2 degrees of freedom: 4.303.
        ((5, 6, 7), 0.1, 4.303 * 0.1 / math.sqrt(3)),
        # Standard deviation 0.1 / sqrt(2), error 0.05; t with 1 degree of freedom: 12.706.
        ((6, 7), 0.15, 12.706 * 0.05),
        # Variance (4 + 1 + 0 + 1 + 4) / 4 / 100; t with 4 degrees of freedom: 2.776.
        ((4, 5, 6, 7, 8), 0.1, 2.776 * math.sqrt(0.025 / 5)),
    ],
)
def test_seeds_alone_give_the_interval_of_student(
    right: tuple[int, ...], value: float, half: float
) -> None:
    results = [_even(count) for count in right]
    apart = hierarchical_bootstrap(results, [_even(5)])
    assert apart.value == pytest.approx(value)
    assert (apart.high - value, value - apart.low) == pytest.approx((half, half), rel=0.06)
    mean = mean_interval(results)
    assert mean.value == pytest.approx(value + 0.5)
    assert value + 0.5 - mean.low == pytest.approx(min(half, value + 0.5), rel=0.06)


def test_two_trained_systems_both_add_their_seeds() -> None:
    # Errors 0.1 / sqrt(5) each way (variance 0.01 of 0.4, 0.5 twice, 0.6, 0.5: 0.005).
    results = [_even(count) for count in (4, 5, 5, 6, 5)]
    one, both = (hierarchical_bootstrap(results, other) for other in ([_even(5)], results))
    assert both.value == 0
    # Like t with between 4 and 8 degrees of freedom on sqrt(2) of the error.
    wider = (both.high - both.low) / (one.high - one.low)
    assert 2.306 / 2.776 < wider / math.sqrt(2) < 1.03


def test_items_that_react_to_seeds_are_counted_once() -> None:
    """Two systems that guess anew in each training: the error is that of all their answers."""
    rng = np.random.default_rng(1)
    a, b = ([chosen(list(rng.random(400) < 0.5)) for _ in range(20)] for _ in range(2))
    interval = hierarchical_bootstrap(a, b)
    # 8000 answers each: 1.96 sqrt(2 * 0.25 / 8000), a little more as 20 seeds estimate it.
    half = 1.96 * math.sqrt(0.5 / 8000)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.3)


@settings(max_examples=30)
@given(ROWS)
def test_swapping_the_systems_mirrors_the_interval(rows: list[tuple[bool, bool, int]]) -> None:
    a, b = pair(rows)
    right = [item.correct for item in b.items]
    other = chosen(right[::-1], [row[2] for row in rows])
    there = hierarchical_bootstrap([a, other], [b], resamples=200)
    back = hierarchical_bootstrap([b], [a, other], resamples=200)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.value == pytest.approx((a.accuracy + other.accuracy) / 2 - b.accuracy)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    mean = mean_interval([a, other], resamples=200)
    assert 0 <= mean.low <= mean.value <= mean.high <= 1


def test_graded_credit_has_seeds_too() -> None:
    a = [graded([0.2, 0.4, 0.9]), graded([0.3, 0.3, 0.8])]
    # (0.5 + 1.4 / 3) / 2
    assert mean_interval(a).value == pytest.approx(2.9 / 6)
    assert hierarchical_bootstrap(a, [graded([0.0, 0.1, 0.2])]).value == pytest.approx(
        2.9 / 6 - 0.1
    )


def test_all_right_in_every_training_has_wilsons_interval_of_its_clusters() -> None:
    perfect = chosen([True] * 20)
    assert mean_interval([perfect, perfect]) == accuracy_interval(perfect)


def test_one_cluster_says_nothing_about_others() -> None:
    a, b = chosen([True, False], [0, 0]), chosen([False, False], [0, 0])
    apart, mean = hierarchical_bootstrap([a, a], [b]), mean_interval([a, a])
    assert (apart.value, apart.low, apart.high) == (0.5, -1, 1)
    assert (mean.value, mean.low, mean.high) == (0.5, 0, 1)


def test_same_seed_same_interval() -> None:
    a, b = [_even(5), _even(6)], [_even(5)]
    assert hierarchical_bootstrap(a, b, seed=1) == hierarchical_bootstrap(a, b, seed=1)
    assert hierarchical_bootstrap(a, b, seed=1) != hierarchical_bootstrap(a, b, seed=2)


def test_trainings_on_other_items_are_refused() -> None:
    a, other = chosen([True, False]), chosen([True])
    for mine, theirs in (([a, other], [a]), ([a], [a, other]), ([a, a], [other])):
        with pytest.raises(DataError, match="same items in the same order"):
            hierarchical_bootstrap(mine, theirs)
    with pytest.raises(DataError, match="same items in the same order"):
        mean_interval([a, other])


def test_a_system_without_results_is_refused() -> None:
    with pytest.raises(DataError, match="at least one training seed"):
        hierarchical_bootstrap([], [chosen([True])])
    with pytest.raises(DataError, match="at least one training seed"):
        mean_interval([])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_covers_the_truth_where_trainings_differ(seeds: int) -> None:
    """Known truth: trainings apart by 8 points, receiver and expected C2C both half right."""
    rng = np.random.default_rng(seeds)
    runs, missed, items_alone = 150, 0, 0
    clusters = [i // 2 for i in range(100)]
    for _ in range(runs):
        luck = rng.uniform(-0.14, 0.14, seeds)
        a = [chosen(list(rng.random(100) < 0.5 + each), clusters) for each in luck]
        b = chosen(list(rng.random(100) < 0.5), clusters)
        interval = hierarchical_bootstrap(a, [b], resamples=400)
        missed += not interval.low <= 0 <= interval.high
        mean = graded(np.mean([[item.credit for item in one.items] for one in a], 0), clusters)
        written = graded([item.credit for item in b.items], clusters)
        alone = paired_bootstrap(mean, written, resamples=400)
        items_alone += not alone.low <= 0 <= alone.high
    assert missed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    # Why seeds are a level of their own.
    assert items_alone > missed
