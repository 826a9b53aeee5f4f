"""The conformance suites catch what they are for; `tests/space` puts our own through them."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from c2c_search.space.pruners import PRUNERS
from c2c_search.space.samplers import SAMPLERS
from c2c_search.testing import PrunerConformance
from c2c_search.testing import SamplerConformance


SAMPLER = """\
from optuna.samplers import RandomSampler

from c2c_search.space.samplers import sampler


@sampler("{name}", reference="{reference}")
def mine(space, seed):
    return RandomSampler({seed})
"""

PRUNER = """\
from optuna.pruners import ThresholdPruner

from c2c_search.space.pruners import pruner


@pruner("{name}", reference="{reference}")
def mine(space):
    return ThresholdPruner(lower={lower})
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module outside the package."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(module: str, text: str, **values: object) -> None:
        values = {"name": module, "reference": "somebody, 2026", **values}
        (tmp_path / f"{module}.py").write_text(text.format(**values))

    return write


def _run(suite: object) -> list[str]:
    """Names of the tests of a suite that fail."""
    failed = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except AssertionError:
                failed.append(name)
    return failed


def _sampler(name: str) -> SamplerConformance:
    suite = SamplerConformance()
    suite.plugin = name
    return suite


def _pruner(name: str) -> PrunerConformance:
    suite = PrunerConformance()
    suite.plugin = name
    return suite


def test_a_sampler_from_outside_passes(write) -> None:
    write("my_sampler", SAMPLER, seed="seed=seed")
    assert _run(_sampler("my_sampler.mine")) == []
    assert isinstance(SAMPLERS["my_sampler"].make(None, 0), optuna.samplers.RandomSampler)


def test_a_sampler_that_does_not_repeat_is_caught(write) -> None:
    write("forgetful_sampler", SAMPLER, seed="", reference=" ")
    assert _run(_sampler("forgetful_sampler.mine")) == [
        "test_a_killed_trial_takes_no_suggestion_of_another",
        "test_an_interrupted_study_goes_on_as_it_would_have",
        "test_it_has_a_name_and_a_reference",
        "test_killed_workers_go_on_as_they_would_have",
    ]


def test_a_pruner_from_outside_passes(write) -> None:
    write("my_pruner", PRUNER, lower=0.3)
    assert _run(_pruner("my_pruner.mine")) == []
    assert isinstance(PRUNERS["my_pruner"].make(None), optuna.pruners.ThresholdPruner)


def test_a_pruner_that_lets_nothing_through_is_caught(write) -> None:
    write("greedy_pruner", PRUNER, lower=1.1)
    assert _run(_pruner("greedy_pruner.mine")) == [
        "test_some_trial_reaches_the_last_rung",
        "test_the_plan_can_tell_what_it_saves",
    ]
