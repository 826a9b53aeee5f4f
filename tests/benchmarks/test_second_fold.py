"""What a second fold of validation is worth, where the best trial is known."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def second_fold(program):
    return program("second_fold")


def test_without_noise_every_way_finds_the_best(second_fold):
    options = second_fold.parse(["--trials", "8"])
    assert second_fold.once(np.zeros((5, 10)), 0.1, options, 0) == (0, 0, 0)


def test_what_is_kept_alone_is_noisier_than_all(second_fold):
    options = second_fold.parse(["--trials", "8"])
    blocks = np.random.default_rng(0).normal(0, 0.3, (30, 10))
    lost = np.mean([second_fold.once(blocks, 0.1, options, seed) for seed in range(150)], axis=0)
    assert lost[0] + 0.005 < lost[1]
    assert (lost > 0).all()
