"""P-values: hand-checked numbers and invariants."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.statistics import PairedTest
from c2c_search.evaluation.statistics import holm
from c2c_search.evaluation.statistics import mcnemar_exact
from c2c_search.evaluation.statistics import paired_test
from c2c_search.evaluation.statistics import permutation_test
from c2c_search.evaluation.statistics import sign_test
from tests.evaluation.answers import GRADED_ROWS
from tests.evaluation.answers import ROWS
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded
from tests.evaluation.answers import graded_pair
from tests.evaluation.answers import pair


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
    a = chosen([True] * 5 + [False] + [True] * 50 + [False] * 50)
    b = chosen([False] * 5 + [True] + [True] * 50 + [False] * 50)
    assert mcnemar_exact(a, b) == sign_test(5, 1)


@given(ROWS)
def test_mcnemar_is_symmetric_and_a_probability(rows: list[tuple[bool, bool, int]]) -> None:
    a, b = pair(rows)
    assert 0 < mcnemar_exact(a, b) <= 1
    assert mcnemar_exact(a, b) == mcnemar_exact(b, a)
    assert mcnemar_exact(a, a) == 1


def test_mcnemar_refuses_graded_credit_and_says_what_to_use() -> None:
    a, b = graded([0.5, 1.0]), graded([1.0, 1.0])
    for pairing in ((a, b), (b, a)):
        with pytest.raises(DataError, match="Use paired_test"):
            mcnemar_exact(*pairing)


def test_other_items_cannot_be_tested() -> None:
    for test in (mcnemar_exact, permutation_test, paired_test):
        with pytest.raises(DataError, match="same items in the same order"):
            test(chosen([True, False]), chosen([True]))
        with pytest.raises(DataError, match="at least one item"):
            test(chosen([]), chosen([]))


# Permutation


@pytest.mark.parametrize(
    ("mine", "theirs", "p"),
    [
        # Differences 0.5, 0.1, -0.1. Totals with the first sign kept: 0.7, 0.5, 0.5, 0.3; the
        # other four are their negatives. Three of four lie as far from 0 as the observed 0.5.
        ([0.9, 0.5, 0.2], [0.4, 0.4, 0.3], 3 / 4),
        # Differences 0.4, 0.3, 0.2: 0.9 is the largest of 0.9, 0.5, 0.3, 0.1.
        ([0.9, 0.8, 0.7], [0.5, 0.5, 0.5], 1 / 4),
        # Differences 0.3, -0.2, -0.1: every total is as far as 0.
        ([0.5, 0.3, 0.4], [0.2, 0.5, 0.5], 1.0),
    ],
)
def test_three_clusters_are_enumerated(mine: list[float], theirs: list[float], p: float) -> None:
    assert permutation_test(graded(mine), graded(theirs)) == p


def test_signs_of_whole_clusters_are_flipped() -> None:
    # Clusters differ by 3, 2 and -1 items: totals 4 (observed), 6, 0, 2, so two of four.
    clusters = [0, 0, 0, 1, 1, 2]
    a = chosen([True, True, True, True, True, False], clusters)
    b = chosen([False, False, False, False, False, True], clusters)
    assert permutation_test(a, b) == 2 / 4
    # As single items: 5 of 6.
    assert mcnemar_exact(a, b) == pytest.approx(2 * (1 + 6) / 64)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=10))
def test_permutation_of_independent_choices_is_mcnemar(rows: list[tuple[bool, bool]]) -> None:
    a, b = pair([(*row, i) for i, row in enumerate(rows)])
    assert permutation_test(a, b) == pytest.approx(mcnemar_exact(a, b))


@given(GRADED_ROWS)
def test_permutation_is_symmetric_and_a_probability(
    rows: list[tuple[float, float, int]],
) -> None:
    a, b = graded_pair(rows)
    for resamples in (4, 10_000):
        p = permutation_test(a, b, resamples=resamples)
        assert 0 < p <= 1
        assert p == permutation_test(b, a, resamples=resamples)
    assert permutation_test(a, a) == 1


def test_random_flips_come_close_to_all_of_them() -> None:
    # 12 of 16, two-sided: 2 (1 + 16 + 120 + 560 + 1820) / 65536 = 0.0768.
    a, b = chosen([True] * 12 + [False] * 4), chosen([False] * 12 + [True] * 4)
    p = permutation_test(a, b, resamples=10_000)
    assert p != sign_test(12, 4)
    assert p == pytest.approx(sign_test(12, 4), abs=4 * math.sqrt(0.0768 * 0.923 / 10_000))
    assert p == permutation_test(a, b, resamples=10_000)
    assert permutation_test(a, b, resamples=2**16) == sign_test(12, 4)


def test_the_observed_signs_count_among_the_random_ones() -> None:
    # 1 in 2^30 flips is as far: none of 99 is, and the p-value is still not 0.
    assert permutation_test(chosen([True] * 30), chosen([False] * 30), resamples=99) == 1 / 100


def test_a_permutation_test_without_resamples_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one resample"):
        permutation_test(chosen([True]), chosen([True]), resamples=0)


# Which of the two


def test_independent_choices_are_tested_by_mcnemar() -> None:
    a, b = chosen([True] * 5 + [False]), chosen([False] * 5 + [True])
    assert paired_test(a, b) == PairedTest(name="mcnemar", p=14 / 64)


def test_clusters_of_several_items_are_tested_by_permutation() -> None:
    clusters = [0, 0, 0, 1, 1, 2]
    a, b = chosen([True] * 5 + [False], clusters), chosen([False] * 5 + [True], clusters)
    assert paired_test(a, b) == PairedTest(name="permutation", p=2 / 4)


def test_graded_credit_is_tested_by_permutation_whoever_has_it() -> None:
    a, b = graded([0.9, 0.8, 0.7]), graded([0.0, 0.0, 0.0])
    assert paired_test(a, b) == paired_test(b, a) == PairedTest(name="permutation", p=1 / 4)


# Holm


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04 raised to the 0.06 before it.
        (
            {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005},
            {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02},
        ),
        ({"a": 0.6, "b": 0.5}, {"a": 1.0, "b": 1.0}),
        ({"a": 0.02, "b": 0.02}, {"a": 0.04, "b": 0.04}),
        ({"a": 0.03}, {"a": 0.03}),
        ({}, {}),
    ],
)
def test_holm_equals_the_table_made_by_hand(
    p: dict[str, float], adjusted: dict[str, float]
) -> None:
    assert holm(p) == pytest.approx(adjusted)
    assert list(holm(p)) == list(p)


@settings(max_examples=30)  # each has the library ask for a garbage collection
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_p_values_and_bonferroni(values: list[float]) -> None:
    p = {str(i): value for i, value in enumerate(values)}
    adjusted = holm(p)
    for name, value in p.items():
        assert value <= adjusted[name] <= min(1, len(p) * value)
    in_order = sorted(p, key=p.__getitem__)
    assert [adjusted[name] for name in in_order] == sorted(adjusted.values())


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_not_a_probability(value: float) -> None:
    with pytest.raises(ConfigError, match="of b must be a probability"):
        holm({"a": 0.5, "b": value})
