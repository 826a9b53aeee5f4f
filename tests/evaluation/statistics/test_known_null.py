"""Known null: two equal systems are told apart about as often as the level says, not more."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import mcnemar_exact
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import permutation_test
from c2c_search.evaluation.statistics import sign_test
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


RUNS = 400
LEVELS = (0.05, 0.2)


def _noise(level: float, runs: int = RUNS) -> float:
    """Three standard errors of a share of runs."""
    return 3 * math.sqrt(level * (1 - level) / runs)


def _independent() -> Iterator[tuple[SystemResult, SystemResult]]:
    """Equally good on 60 items, some of which are easier than others."""
    rng = np.random.default_rng(0)
    for _ in range(RUNS):
        right = rng.random((2, 60)) < rng.random(60)
        yield chosen(list(right[0])), chosen(list(right[1]))


def _clustered() -> Iterator[tuple[SystemResult, SystemResult]]:
    """Equally good on 30 facts of four items, each of which suits one of them by chance."""
    rng = np.random.default_rng(1)
    facts = [i // 4 for i in range(120)]
    for _ in range(RUNS):
        suits = np.repeat(rng.uniform(-0.4, 0.4, 30), 4)
        right = rng.random((2, 120)) < np.stack([0.5 + suits, 0.5 - suits])
        yield chosen(list(right[0]), facts), chosen(list(right[1]), facts)


def _graded() -> Iterator[tuple[SystemResult, SystemResult]]:
    """The same with credit in degrees."""
    rng = np.random.default_rng(2)
    facts = [i // 4 for i in range(120)]
    for _ in range(RUNS):
        suits = np.repeat(rng.uniform(-0.3, 0.3, 30), 4)
        credit = rng.beta(2, 2, (2, 120)) * 0.4 + 0.3 + np.stack([suits, -suits])
        yield graded(list(credit[0]), facts), graded(list(credit[1]), facts)


NULLS = {"independent": _independent, "clustered": _clustered, "graded": _graded}


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


def test_mcnemar_never_rejects_independent_items_too_often() -> None:
    p = np.array([mcnemar_exact(a, b) for a, b in _independent()])
    for level in LEVELS:
        # Below the level, as the steps of a discrete test make it, but not idle.
        assert level / 3 < np.mean(p <= level) <= level + _noise(level)


def test_mcnemar_takes_correlated_items_for_proof() -> None:
    """Why `paired_test` does not choose it where clusters have several items."""
    p = np.array([mcnemar_exact(a, b) for a, b in _clustered()])
    assert np.mean(p <= 0.05) > 0.05 + _noise(0.05)


@pytest.mark.parametrize("null", NULLS)
def test_permutation_rejects_at_its_level(null: str) -> None:
    # 200 flips with the observed one: every level below has its own step.
    p = np.array([permutation_test(a, b, resamples=199) for a, b in NULLS[null]()])
    for level in LEVELS:
        # Single choices have McNemar's steps: many totals tie with the observed one and count.
        slack = level / 2 if null == "independent" else 0
        assert level - _noise(level) - slack < np.mean(p <= level) <= level + _noise(level)


@pytest.mark.parametrize("null", NULLS)
def test_bootstrap_interval_misses_zero_at_its_level(null: str) -> None:
    level = 0.05
    intervals = [paired_bootstrap(a, b, level=level, resamples=399) for a, b in NULLS[null]()]
    missed = np.mean([not found.low <= 0 <= found.high for found in intervals])
    assert missed == pytest.approx(level, abs=_noise(level))
