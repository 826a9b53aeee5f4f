"""How lucky the best of many was is told before anybody measures it again."""

from __future__ import annotations

import numpy as np
import pytest

from c2c_search.evaluation.statistics import optimism
from c2c_search.evaluation.statistics.optimism import expected_drop


BLOCKS = 20


@pytest.fixture(autouse=True)
def fewer_halvings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimism, "HALVINGS", 60)


@pytest.mark.parametrize(
    ("between", "rungs", "too_much"), [(0.0, 1, 0.1), (0.0, 3, 0.1), (0.1, 3, 0.6)]
)
def test_the_winners_drop_is_told_and_covered(between: float, rungs: int, too_much: float) -> None:
    rng = np.random.default_rng(0)
    told, found, covered = [], [], 0
    for _ in range(150):
        worth = rng.normal(0, between, (24, 1, 1))
        ease = rng.normal(0, 0.1, (1, 1, 2 * BLOCKS))  # which items are easy, for all alike
        scores = worth + ease + rng.normal(0, 0.2, (24, rungs, 2 * BLOCKS))
        here, there = scores[..., :BLOCKS], scores[..., BLOCKS:]
        trial, rung = np.unravel_index(here.mean(axis=2).argmax(), (24, rungs))
        drop = here[trial, rung].mean() - there[trial, rung].mean()
        expected = expected_drop(here, int(trial), level=0.1)
        covered += expected.low <= drop <= expected.high
        told.append(expected.value)
        found.append(drop)
    error = float(np.std(found)) / len(found) ** 0.5
    assert np.mean(found) - 2 * error < np.mean(told)
    assert np.mean(told) < (1 + too_much) * np.mean(found) + 2 * error
    assert covered / 150 > 0.87


def test_without_noise_nothing_is_lost() -> None:
    worth = np.linspace(0, 1, 8)[:, None, None]
    drop = expected_drop(np.broadcast_to(worth, (8, 2, BLOCKS)), 7, level=0.1)
    assert (drop.low, drop.value, drop.high) == pytest.approx((0, 0, 0))


def test_who_is_not_the_best_has_less_luck_and_the_worst_has_none() -> None:
    scores = np.random.default_rng(0).normal(0, 1, (30, 1, BLOCKS))
    order = np.argsort(-scores.mean(axis=(1, 2)))
    first, middle, last = (
        expected_drop(scores, int(order[rank]), 0.1).value for rank in (0, 15, 29)
    )
    assert first > 0.2 > abs(middle)
    assert last < -0.2


def test_rungs_that_are_not_known_are_nobodys_choice() -> None:
    scores = np.random.default_rng(0).normal(0, 1, (6, 2, BLOCKS))
    alone = expected_drop(scores[:, 1:], 2, 0.1)
    scores[:, 0] = np.nan
    assert expected_drop(scores, 2, 0.1) == alone
