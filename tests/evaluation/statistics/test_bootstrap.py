"""Bootstrap intervals of differences: textbook numbers, invariants, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.statistics import mcnemar_exact
from c2c_search.evaluation.statistics import paired_bootstrap
from tests.evaluation.answers import GRADED_ROWS
from tests.evaluation.answers import ROWS
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded
from tests.evaluation.answers import graded_pair
from tests.evaluation.answers import pair


@settings(max_examples=30)
@given(ROWS)
def test_difference_is_antisymmetric_and_inside_its_interval(
    rows: list[tuple[bool, bool, int]],
) -> None:
    a, b = pair(rows)
    there = paired_bootstrap(a, b, resamples=200)
    back = paired_bootstrap(b, a, resamples=200)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.value == pytest.approx(a.accuracy - b.accuracy)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )


def test_same_seed_same_interval_whatever_the_order_of_the_clusters() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((2, 200)) < [[0.8], [0.5]]
    a, b = (chosen(list(row), [i // 10 for i in range(200)]) for row in right)
    assert paired_bootstrap(a, b, seed=4) == paired_bootstrap(a, b, seed=4)
    assert paired_bootstrap(a, b, seed=4) != paired_bootstrap(a, b, seed=5)


def test_a_smaller_level_gives_a_wider_interval() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((2, 200)) < [[0.8], [0.5]]
    a, b = (chosen(list(row), [i // 10 for i in range(200)]) for row in right)
    wide, narrow = paired_bootstrap(a, b, level=0.01), paired_bootstrap(a, b, level=0.2)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_items_of_a_cluster_that_agree_count_as_one() -> None:
    """Ten copies of every item add no certainty."""
    rng = np.random.default_rng(1)
    right = rng.random((2, 40)) < [[0.7], [0.5]]
    a, b = (chosen(list(row)) for row in right)
    clusters = [i // 10 for i in range(400)]
    a10, b10 = (chosen(list(np.repeat(row, 10)), clusters) for row in right)
    as_items = paired_bootstrap(chosen(list(np.repeat(right[0], 10))), chosen(
        list(np.repeat(right[1], 10))
    ))  # fmt: skip
    once, tenfold = paired_bootstrap(a, b), paired_bootstrap(a10, b10)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.1)
    assert as_items.high - as_items.low < 0.5 * (once.high - once.low)


def test_many_clusters_give_the_textbook_interval() -> None:
    """With 600 independent items: difference plus or minus 1.96 standard errors."""
    a = chosen([True] * 150 + [False] * 90 + [True] * 360)
    b = chosen([False] * 150 + [True] * 90 + [True] * 360)
    interval = paired_bootstrap(a, b)
    error = math.sqrt((240 / 600 - 0.1**2) / 600)
    assert interval.value == pytest.approx(0.1)
    assert interval.low == pytest.approx(0.1 - 1.96 * error, abs=0.004)
    assert interval.high == pytest.approx(0.1 + 1.96 * error, abs=0.004)


def test_one_cluster_says_nothing_about_others() -> None:
    interval = paired_bootstrap(chosen([True] * 50, [0] * 50), chosen([False] * 50, [0] * 50))
    assert (interval.value, interval.low, interval.high) == (1, -1, 1)


def test_few_disagreements_do_not_blow_the_interval_up() -> None:
    """A resample without any disagreement has a standard error too."""
    a, b = chosen([True] + [False] * 499), chosen([False] * 500)
    interval = paired_bootstrap(a, b, level=0.01)
    assert interval.low < 0
    assert interval.high < 0.05


@pytest.mark.parametrize(("clusters", "size"), [(12, 20), (40, 6)])
def test_interval_of_two_equal_systems_covers_zero(clusters: int, size: int) -> None:
    """Known null with correlated items: each cluster favours one system by chance."""
    rng = np.random.default_rng(2)
    names = [i // size for i in range(clusters * size)]
    missed, mcnemar = 0, 0
    runs, level = 150, 0.05
    for _ in range(runs):
        lean = np.repeat(np.clip(rng.normal(0.5, 0.3, clusters), 0, 1), size)
        wins = rng.random(clusters * size) < lean
        ties = rng.random(clusters * size) < 0.5
        a, b = chosen(list(ties | wins), names), chosen(list(ties | ~wins), names)
        interval = paired_bootstrap(a, b, level=level, resamples=400)
        missed += interval.low > 0 or interval.high < 0
        mcnemar += mcnemar_exact(a, b) < level
    assert missed / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)
    # Why the interval is asked for beside McNemar, which takes these items for independent.
    assert mcnemar > missed


def test_too_few_resamples_for_the_level_are_refused() -> None:
    a = chosen([True, False])
    with pytest.raises(ConfigError, match="at least 200 resamples"):
        paired_bootstrap(a, a, level=0.01, resamples=100)
    paired_bootstrap(a, a, level=0.01, resamples=200)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    a = chosen([True, False])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        paired_bootstrap(a, a, level=level)


def test_results_on_other_items_cannot_be_paired() -> None:
    a = chosen([True, False])
    for other in (
        chosen([True]),
        chosen([True, False], split="validation"),
        chosen([True, False], [1, 0]),
        a.model_copy(update={"items": a.items[::-1]}),
    ):
        with pytest.raises(DataError, match="same items in the same order"):
            paired_bootstrap(a, other)


@settings(max_examples=30)
@given(GRADED_ROWS)
def test_graded_difference_is_antisymmetric_and_inside_its_interval(
    rows: list[tuple[float, float, int]],
) -> None:
    a, b = graded_pair(rows)
    there = paired_bootstrap(a, b, resamples=200)
    back = paired_bootstrap(b, a, resamples=200)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.value == pytest.approx(a.accuracy - b.accuracy)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )


def test_interval_of_graded_credit_scales_with_it() -> None:
    """What shrinks all credit by ten shrinks difference and interval by ten."""
    rng = np.random.default_rng(0)
    mine, theirs = rng.random((2, 50))
    clusters = [i // 5 for i in range(50)]
    whole = paired_bootstrap(graded(mine, clusters), graded(theirs, clusters))
    tenth = paired_bootstrap(graded(mine / 10, clusters), graded(theirs / 10, clusters))
    assert (10 * tenth.low, 10 * tenth.high) == pytest.approx((whole.low, whole.high))


def test_graded_credit_of_0_and_1_is_worth_what_choices_are() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((2, 60)) < [[0.8], [0.5]]
    choices = paired_bootstrap(chosen(list(right[0])), chosen(list(right[1])))
    written = paired_bootstrap(graded(list(right[0])), graded(list(right[1])))
    assert choices == written


def test_an_empty_split_cannot_be_resampled() -> None:
    with pytest.raises(DataError, match="at least one item"):
        paired_bootstrap(chosen([]), chosen([]))
