"""The best of many is not taken at its word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.evaluation.statistics import shrink


BLOCKS = 20


def _measured(
    rng: np.random.Generator, trials: int, between: float, noise: float, common: float
) -> tuple[np.ndarray, np.ndarray]:
    """True values ``(trials,)`` and blocks ``(trials, BLOCKS)``; standard deviations."""
    true = rng.normal(0.5, between, trials)
    ease = rng.normal(0, common * BLOCKS**0.5, BLOCKS)
    own = rng.normal(0, noise * BLOCKS**0.5, (trials, BLOCKS))
    return true, true[:, None] + ease + own


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_without_noise_nothing_changes(values: list[float]) -> None:
    ease = [number / 1024 for number in range(BLOCKS)]
    level = np.round(np.array(values) * 64) / 64  # sums are exact
    found = shrink(list(level), [[value + each for each in ease] for value in level])
    assert found == pytest.approx(list(level), abs=1e-12)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(4, 30))
def test_where_trials_do_not_differ_all_are_the_mean(seed: int, trials: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.normal(0.5, 0.1, (trials, BLOCKS))
    blocks += 0.5 - blocks.mean(axis=1, keepdims=True)  # equally good, to the last digit
    found = shrink(list(blocks.mean(axis=1)), blocks.tolist())
    assert found == pytest.approx([0.5] * trials)


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(2, 20), st.floats(0, 0.1), st.floats(0.001, 0.1))
def test_estimates_lie_between_what_was_measured_and_a_mean(
    seed: int, trials: int, between: float, noise: float
) -> None:
    _, blocks = _measured(np.random.default_rng(seed), trials, between, noise, 0.02)
    values = blocks.mean(axis=1)
    found = shrink(list(values), blocks.tolist())
    assert max(found) - min(found) <= max(values) - min(values) + 1e-12
    assert min(values) - 1e-12 <= min(found) <= max(found) <= max(values) + 1e-12


def test_what_is_uncertain_is_drawn_further() -> None:
    steady = [0.6] * BLOCKS
    shaky = [0.0, 1.2] * (BLOCKS // 2)
    others = [[value] * BLOCKS for value in (0.2, 0.3, 0.4, 0.5)]
    blocks = [steady, shaky, *others]
    first, second, *_ = shrink([float(np.mean(each)) for each in blocks], blocks)
    assert first > second
