"""Power: what a split can find, and how many items it takes."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.evaluation.statistics import detectable
from c2c_search.evaluation.statistics import items_needed
from c2c_search.evaluation.statistics import minimum_detectable_difference
from c2c_search.evaluation.statistics import sign_test
from c2c_search.evaluation.statistics import split_warning
from tests.evaluation.answers import ROWS
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded
from tests.evaluation.answers import pair


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


# Items needed


def test_items_needed_is_connors_formula() -> None:
    # (1.95996 sqrt(0.2) + 0.84162 sqrt(0.2 - 0.05^2))^2 / 0.05^2 = (0.87652 + 0.37402)^2 / 0.0025
    # = 625.5.
    assert items_needed(0.05, 0.2) == 626


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.001, 0.2), st.floats(0.5, 0.99))
def test_items_needed_are_just_enough(
    rate: float, share: float, level: float, power: float
) -> None:
    wished = rate * share
    n = items_needed(wished, rate, level=level, power=power)
    with_all = minimum_detectable_difference(n, rate, level=level, power=power)
    assert with_all <= wished * (1 + 1e-9)
    if n > 1:
        one_less = minimum_detectable_difference(n - 1, rate, level=level, power=power)
        assert one_less >= wished * (1 - 1e-9)


@pytest.mark.parametrize("difference", [0.0, -0.1, 0.3, math.nan])
def test_a_difference_that_two_systems_cannot_have_is_refused(difference: float) -> None:
    with pytest.raises(ConfigError, match="by no more than they disagree"):
        items_needed(difference, 0.2)


# What two systems' test would find


def test_detectable_of_independent_choices_is_connors_difference() -> None:
    # They disagree on 60 of 200 items.
    a = chosen([True] * 40 + [False] * 20 + [True] * 140)
    b = chosen([False] * 40 + [True] * 20 + [True] * 140)
    assert detectable(a, b) == pytest.approx(minimum_detectable_difference(200, 0.3))
    assert detectable(a, b) == detectable(b, a)


def test_items_of_a_cluster_that_agree_are_detected_as_one() -> None:
    mine, theirs = [True] * 40 + [False] * 20, [False] * 20 + [True] * 40
    clusters = [i // 10 for i in range(600)]
    tenfold = detectable(
        chosen(list(np.repeat(mine, 10)), clusters), chosen(list(np.repeat(theirs, 10)), clusters)
    )
    assert tenfold == pytest.approx(detectable(chosen(mine), chosen(theirs)))


def test_half_the_credit_makes_half_the_difference_detectable() -> None:
    mine, theirs = [1.0] * 40 + [0.0] * 60, [0.0] * 30 + [1.0] * 30 + [0.0] * 40
    whole = detectable(graded(mine), graded(theirs))
    half = detectable(graded([x / 2 for x in mine]), graded([x / 2 for x in theirs]))
    assert whole is not None
    assert half == pytest.approx(whole / 2)


def test_nothing_is_detectable_of_systems_that_agree_or_of_few_items() -> None:
    a = chosen([True, False] * 100)
    assert detectable(a, a) is None
    assert detectable(chosen([True, True]), chosen([False, True])) is None


@given(ROWS)
def test_detectable_is_a_difference_that_accuracies_can_have(
    rows: list[tuple[bool, bool, int]],
) -> None:
    found = detectable(*pair(rows))
    assert found is None or 0 < found <= 1


# Splits that are too small


def test_a_small_split_is_told_how_many_items_it_takes() -> None:
    warning = split_warning(120, 40, level=0.05, wished=0.05)
    assert warning is not None
    assert "120 items about 40 facts" in warning
    assert "5 points" in warning
    assert "626 independent items" in warning


def test_a_split_of_the_size_needed_is_not_warned_about() -> None:
    assert split_warning(626, 626, level=0.05, wished=0.05) is None
    warning = split_warning(625, 625, level=0.05, wished=0.05)
    assert warning is not None
    assert "with 625 items, a" in warning


def test_many_items_about_few_facts_are_few() -> None:
    assert split_warning(2000, 626, level=0.05, wished=0.05) is None
    assert split_warning(2000, 625, level=0.05, wished=0.05) is not None


def test_a_warning_says_what_the_split_finds_where_that_is_anything() -> None:
    found = 100 * minimum_detectable_difference(200, 0.2, level=0.05)
    assert f"It finds {found:.1f} points." in (
        split_warning(200, 200, level=0.05, wished=0.05) or ""
    )
    assert "It finds" not in (split_warning(5, 5, level=0.05, wished=0.05) or "")


def test_a_wish_beyond_the_favourable_discordance_is_its_own_discordance() -> None:
    # All disagreements in one direction: (1.95996 sqrt(0.5) + 0.84162 sqrt(0.25))^2 / 0.25
    # = (1.38590 + 0.42081)^2 * 4 = 13.06.
    assert split_warning(14, 14, level=0.05, wished=0.5) is None
    assert "14 independent items" in (split_warning(13, 13, level=0.05, wished=0.5) or "")
