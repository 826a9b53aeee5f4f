"""Tests of what is not there, by hand, against statsmodels and at their level."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.stats import t
from statsmodels.stats.weightstats import DescrStatsW

from c2c_search.errors import ConfigError
from c2c_search.evaluation.statistics import equivalence_test
from c2c_search.evaluation.statistics import items_to_find
from c2c_search.evaluation.statistics import items_to_show_margin
from c2c_search.evaluation.statistics import noninferiority_test
from c2c_search.evaluation.statistics import one_sided_test
from tests.evaluation.answers import chosen


RUNS = 2000


def _apart(wins: int, losses: int, same: int) -> tuple[list[bool], list[bool]]:
    mine = [True] * wins + [False] * losses + [True] * same
    theirs = [False] * wins + [True] * losses + [True] * same
    return mine, theirs


def test_an_example_by_hand() -> None:
    mine, theirs = _apart(wins=4, losses=6, same=90)
    # Mean -0.02; squares around -0.05: 4 of 1.05^2, 6 of 0.95^2, 90 of 0.05^2, and 1 added.
    squares = 4 * 1.05**2 + 6 * 0.95**2 + 90 * 0.05**2 + 1
    error = math.sqrt(100 / 99 * squares) / 100
    expected = t.sf((-0.02 + 0.05) / error, 99)
    found = noninferiority_test(chosen(mine), chosen(theirs), margin=0.05)
    assert found == pytest.approx(expected)
    assert found == pytest.approx(0.19, abs=0.01)


def test_both_sides_must_hold() -> None:
    mine, theirs = _apart(wins=12, losses=2, same=286)
    a, b = chosen(mine), chosen(theirs)
    sides = [noninferiority_test(*pair, margin=0.05) for pair in ((a, b), (b, a))]
    assert equivalence_test(a, b, margin=0.05) == max(sides) == sides[1]


def test_it_is_the_t_test_where_items_are_many_and_apart() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([-1.0, 0.0, 1.0], size=5000, p=[0.1, 0.78, 0.12])
    expected = DescrStatsW(values).ttest_mean(0.01, alternative="larger")[1]
    found = one_sided_test(values, [str(i) for i in range(5000)], 0.01)
    assert found == pytest.approx(expected, rel=0.01)


def test_nothing_differing_shows_little_of_few_facts() -> None:
    same = [True] * 60
    few = noninferiority_test(chosen(same), chosen(same), margin=0.02)
    assert few > 0.05
    many = [True] * 600
    assert noninferiority_test(chosen(many), chosen(many), margin=0.02) < 0.001
    twice = [i // 10 for i in range(600)]
    assert noninferiority_test(chosen(many, twice), chosen(many, twice), margin=0.02) > 0.05


def test_a_single_fact_says_nothing() -> None:
    one = chosen([True] * 50, [0] * 50)
    assert noninferiority_test(one, one, margin=0.1) == 1.0


def _independent(items: int, apart: float, margin: float) -> Iterator[tuple]:
    rng = np.random.default_rng(0)
    odds = [(apart + margin) / 2, (apart - margin) / 2, 1 - apart]
    for _ in range(RUNS):
        yield rng.choice([-1.0, 1.0, 0.0], size=items, p=odds), range(items)


def _clustered(facts: int, each: int, margin: float) -> Iterator[tuple]:
    """Facts of which each suits one of the two by chance."""
    rng = np.random.default_rng(1)
    clusters = np.arange(facts).repeat(each)
    for _ in range(RUNS):
        suits = rng.uniform(-0.1, 0.1, facts).repeat(each)
        drawn, lost = rng.random(facts * each), (0.3 + margin) / 2 + suits
        yield np.where(drawn < lost, -1.0, np.where(drawn < 0.3, 1.0, 0.0)), clusters


@pytest.mark.parametrize(
    ("studies", "margin"),
    [
        pytest.param(_independent(300, 0.05, 0.02), 0.02, id="few differ"),
        pytest.param(_independent(300, 0.2, 0.02), 0.02, id="many differ"),
        pytest.param(_independent(300, 0.02, 0.02), 0.02, id="only losses"),
        pytest.param(_clustered(30, 10, 0.02), 0.02, id="30 facts"),
        pytest.param(_clustered(100, 3, 0.05), 0.05, id="100 facts"),
    ],
)
def test_harm_at_the_margin_passes_at_the_level(studies: Iterator[tuple], margin: float) -> None:
    p = np.array([one_sided_test(values, clusters, -margin) for values, clusters in studies])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * math.sqrt(level * (1 - level) / RUNS)


def test_the_number_of_items_is_what_finds_and_what_shows() -> None:
    mine, theirs = _apart(wins=10, losses=10, same=180)
    a, b = chosen(mine), chosen(theirs)
    # (1.645 + 0.842)^2 * 0.1 / 0.02^2
    assert items_to_show_margin(a, b, margin=0.02, level=0.05) == 1546
    assert items_to_find(a, b, 0.05, level=0.05) == 312
    paired = [i // 2 for i in range(200)]
    doubled = items_to_find(chosen(mine, paired), chosen(theirs, paired), 0.05, level=0.05)
    assert doubled == 624
    assert items_to_find(a, b, 0.2, level=0.05) is None
    assert items_to_show_margin(a, a, margin=0.02, level=0.05) is None


@pytest.mark.parametrize("margin", [0, 1, -0.1])
def test_a_margin_is_a_difference(margin: float) -> None:
    one = chosen([True, False])
    with pytest.raises(ConfigError, match="margin"):
        noninferiority_test(one, one, margin=margin)
