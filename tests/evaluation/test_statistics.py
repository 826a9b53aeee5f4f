"""Intervals and p-values: hand-checked numbers, invariants, and behaviour under a known null."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import mcnemar_exact
from c2c_search.evaluation.statistics import minimum_detectable_difference
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import sign_test


def _result(
    right: Sequence[bool], clusters: Sequence[int] | None = None, *, split: str = "test"
) -> SystemResult:
    clusters = range(len(right)) if clusters is None else clusters
    items = tuple(
        ItemResult(
            id=str(i), group="g", cluster=str(cluster), answer=0, chosen=int(not ok), scores=()
        )
        for i, (ok, cluster) in enumerate(zip(right, clusters, strict=True))
    )
    return SystemResult(system="s", split=split, items=items)


def _pair(rows: list[tuple[bool, bool, int]]) -> tuple[SystemResult, SystemResult]:
    clusters = [row[2] for row in rows]
    return _result([row[0] for row in rows], clusters), _result([row[1] for row in rows], clusters)


ROWS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=1, max_size=40
)


# McNemar


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 0, 2 / 32),
        (5, 1, 2 * (1 + 6) / 64),
        (1, 5, 2 * (1 + 6) / 64),
        # The middle is counted twice and cut to one.
        (3, 3, 1.0),
        (9, 2, 2 * (1 + 11 + 55) / 2048),
    ],
)
def test_sign_test_equals_the_hand_computed_binomial(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)


def test_sign_test_holds_where_floats_overflow() -> None:
    p = sign_test(1100, 900)
    # Normal approximation with continuity correction.
    z = (200 - 1) / math.sqrt(2000)
    assert p == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=0.03)


def test_sign_test_takes_numpy_counts() -> None:
    assert sign_test(np.int64(70), np.int64(70)) == 1  # type: ignore[arg-type]


def test_mcnemar_counts_only_items_that_one_system_got_right() -> None:
    a = _result([True] * 5 + [False] + [True] * 50 + [False] * 50)
    b = _result([False] * 5 + [True] + [True] * 50 + [False] * 50)
    assert mcnemar_exact(a, b) == sign_test(5, 1)


@given(ROWS)
def test_mcnemar_is_symmetric_and_a_probability(rows: list[tuple[bool, bool, int]]) -> None:
    a, b = _pair(rows)
    assert 0 < mcnemar_exact(a, b) <= 1
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)
    assert mcnemar_exact(a, a) == 1


def test_two_equal_systems_rarely_differ() -> None:
    """Known null: p-values of equal systems lie at or above the uniform line."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(2000):
        wins = rng.binomial(100, 0.5)
        p.append(sign_test(wins, 100 - wins))
    for level in (0.01, 0.05, 0.2, 0.5):
        share = np.mean(np.array(p) <= level)
        assert share <= level + 3 * math.sqrt(level * (1 - level) / 2000)
    # Conservative because of the steps of a discrete test, but not idle.
    assert np.mean(np.array(p) <= 0.2) > 0.1


# Paired cluster bootstrap


@settings(max_examples=30)
@given(ROWS)
def test_difference_is_antisymmetric_and_inside_its_interval(
    rows: list[tuple[bool, bool, int]],
) -> None:
    a, b = _pair(rows)
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
    a, b = (_result(list(row), [i // 10 for i in range(200)]) for row in right)
    assert paired_bootstrap(a, b, seed=4) == paired_bootstrap(a, b, seed=4)
    assert paired_bootstrap(a, b, seed=4) != paired_bootstrap(a, b, seed=5)


def test_a_smaller_level_gives_a_wider_interval() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((2, 200)) < [[0.8], [0.5]]
    a, b = (_result(list(row), [i // 10 for i in range(200)]) for row in right)
    wide, narrow = paired_bootstrap(a, b, level=0.01), paired_bootstrap(a, b, level=0.2)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_items_of_a_cluster_that_agree_count_as_one() -> None:
    """Ten copies of every item add no certainty."""
    rng = np.random.default_rng(1)
    right = rng.random((2, 40)) < [[0.7], [0.5]]
    a, b = (_result(list(row)) for row in right)
    clusters = [i // 10 for i in range(400)]
    a10, b10 = (_result(list(np.repeat(row, 10)), clusters) for row in right)
    as_items = paired_bootstrap(_result(list(np.repeat(right[0], 10))), _result(
        list(np.repeat(right[1], 10))
    ))  # fmt: skip
    once, tenfold = paired_bootstrap(a, b), paired_bootstrap(a10, b10)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.1)
    assert as_items.high - as_items.low < 0.5 * (once.high - once.low)


def test_many_clusters_give_the_textbook_interval() -> None:
    """With 600 independent items: difference plus or minus 1.96 standard errors."""
    a = _result([True] * 150 + [False] * 90 + [True] * 360)
    b = _result([False] * 150 + [True] * 90 + [True] * 360)
    interval = paired_bootstrap(a, b)
    error = math.sqrt((240 / 600 - 0.1**2) / 600)
    assert interval.value == pytest.approx(0.1)
    assert interval.low == pytest.approx(0.1 - 1.96 * error, abs=0.004)
    assert interval.high == pytest.approx(0.1 + 1.96 * error, abs=0.004)


def test_one_cluster_says_nothing_about_others() -> None:
    interval = paired_bootstrap(_result([True] * 50, [0] * 50), _result([False] * 50, [0] * 50))
    assert (interval.value, interval.low, interval.high) == (1, -1, 1)


def test_few_disagreements_do_not_blow_the_interval_up() -> None:
    """A resample without any disagreement has a standard error too."""
    a, b = _result([True] + [False] * 499), _result([False] * 500)
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
        a, b = _result(list(ties | wins), names), _result(list(ties | ~wins), names)
        interval = paired_bootstrap(a, b, level=level, resamples=400)
        missed += interval.low > 0 or interval.high < 0
        mcnemar += mcnemar_exact(a, b) < level
    assert missed / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)
    # Why the interval is asked for beside McNemar, which takes these items for independent.
    assert mcnemar > missed


def test_too_few_resamples_for_the_level_are_refused() -> None:
    a = _result([True, False])
    with pytest.raises(ConfigError, match="at least 200 resamples"):
        paired_bootstrap(a, a, level=0.01, resamples=100)
    paired_bootstrap(a, a, level=0.01, resamples=200)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1])
def test_a_level_outside_its_range_is_refused(level: float) -> None:
    a = _result([True, False])
    with pytest.raises(ConfigError, match="between 0 and 1"):
        paired_bootstrap(a, a, level=level)


def test_results_on_other_items_cannot_be_paired() -> None:
    a = _result([True, False])
    for other in (
        _result([True]),
        _result([True, False], split="validation"),
        _result([True, False], [1, 0]),
        a.model_copy(update={"items": a.items[::-1]}),
    ):
        with pytest.raises(DataError, match="same items in the same order"):
            mcnemar_exact(a, other)
        with pytest.raises(DataError, match="same items in the same order"):
            paired_bootstrap(a, other)


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="at least one item"):
        accuracy_interval(_result([]))
    with pytest.raises(DataError, match="at least one item"):
        mcnemar_exact(_result([]), _result([]))


# Accuracy


def test_accuracy_of_independent_items_has_the_wilson_interval() -> None:
    # 81 of 263, the example of Newcombe 1998 (Statistics in Medicine 17, 857-872): 0.2553, 0.3662.
    interval = accuracy_interval(_result([True] * 81 + [False] * 182))
    assert interval.value == pytest.approx(81 / 263)
    # The variance between clusters divides by n - 1: 263 items are worth 262.
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=2e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_accuracy_lies_inside_its_interval(rows: list[tuple[bool, int]]) -> None:
    interval = accuracy_interval(_result([row[0] for row in rows], [row[1] for row in rows]))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.high > interval.low


def test_clusters_widen_the_interval_of_an_accuracy() -> None:
    right = [True] * 60 + [False] * 40
    alone, together = _result(right), _result(right, [i // 10 for i in range(100)])
    assert accuracy_interval(together).low < accuracy_interval(alone).low
    # As many right in each cluster: worth no more than independent items.
    even = _result([True, True, True, False, False] * 20, [i // 5 for i in range(100)])
    assert accuracy_interval(even).low == pytest.approx(accuracy_interval(alone).low, abs=1e-3)
    # All right, in two clusters: worth two items, not a hundred.
    perfect = accuracy_interval(_result([True] * 100, [i % 2 for i in range(100)]))
    assert perfect.low < 0.4


def test_an_interval_prints_as_a_reader_expects() -> None:
    assert str(accuracy_interval(_result([True] * 50 + [False] * 50))).startswith("0.500 [0.4")


# Power


def test_minimum_detectable_difference_solves_connors_formula() -> None:
    n, rate, level, power = 500, 0.4, 0.01, 0.8
    d = minimum_detectable_difference(n, rate, level=level, power=power)
    alpha, beta = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)
    assert n == pytest.approx(
        (alpha * math.sqrt(rate) + beta * math.sqrt(rate - d**2)) ** 2 / d**2
    )


def test_minimum_detectable_difference_is_found_as_often_as_said() -> None:
    n, rate = 400, 0.3
    d = minimum_detectable_difference(n, rate, level=0.05, power=0.8)
    rng = np.random.default_rng(0)
    discordant = rng.binomial(n, rate, 2000)
    wins = rng.binomial(discordant, 0.5 + d / rate / 2)
    found = np.mean([sign_test(w, m - w) < 0.05 for w, m in zip(wins, discordant, strict=True)])
    # The exact test is a little more careful than the formula's normal one.
    assert 0.72 < found < 0.85


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0.001, 0.2), st.floats(0.5, 0.99))
def test_minimum_detectable_difference_falls_with_more_items(
    n: int, rate: float, level: float, power: float
) -> None:
    few = minimum_detectable_difference(n, rate, level=level, power=power)
    many = minimum_detectable_difference(4 * n, rate, level=level, power=power)
    assert many <= few
    assert few == math.inf or 0 < few <= rate


def test_nothing_is_detectable_where_systems_never_disagree() -> None:
    assert minimum_detectable_difference(1000, 0.0) == math.inf
    assert minimum_detectable_difference(3, 0.2) == math.inf


@pytest.mark.parametrize(
    ("n", "rate", "power"), [(0, 0.5, 0.8), (10, -0.1, 0.8), (10, 1.1, 0.8), (10, 0.5, 1.0)]
)
def test_numbers_outside_their_range_are_refused(n: int, rate: float, power: float) -> None:
    with pytest.raises(ConfigError):
        minimum_detectable_difference(n, rate, power=power)
