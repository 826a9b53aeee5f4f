"""Suggestions are timed in a study of made-up trials, which they leave as it was."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def sampler_speed(program):
    return program("sampler_speed")


def test_a_line_a_sampler(sampler_speed):
    found = sampler_speed.measured(["auto", "qmc"], trials=30, dimensions=8, repeats=2)
    assert found["seconds"].keys() == {"auto", "qmc"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert found["each"] > 0
    assert found["lookup"] > 0


def test_half_of_the_dimensions_are_conditional(sampler_speed):
    space = sampler_speed.space_of(8, "auto", 30)
    assert len(space.dimensions) == 8
    assert sum(bool(each.when) for each in space.dimensions.values()) == 4
    study = sampler_speed.filled(space, 30)
    assert sum(trial.state.name == "COMPLETE" for trial in study.trials) == 10
