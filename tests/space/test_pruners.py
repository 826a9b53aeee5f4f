from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import optuna

from c2c_search.space.sampling import make_pruner
from c2c_search.space.schema import Space
from c2c_search.study.resume import recover
from c2c_search.testing import PrunerConformance


class TestHyperband(PrunerConformance):
    plugin = "hyperband"


class TestHalving(PrunerConformance):
    plugin = "halving"


class TestAsha(PrunerConformance):
    plugin = "asha"


class TestPercentile(PrunerConformance):
    plugin = "percentile"
    options: ClassVar = {"percentile": 50.0}


class TestPatient(PrunerConformance):
    plugin = "patient"


class TestWilcoxon(PrunerConformance):
    plugin = "wilcoxon"


class TestMedian(PrunerConformance):
    plugin = "median"


class TestNone(PrunerConformance):
    plugin = "none"


def test_a_trial_that_was_interrupted_competes_once(make_space: Callable[..., Space]) -> None:
    space = make_space(search={"trials": 9, "pruner": "halving", "reduction_factor": 3})
    first, *_ = space.pipeline.training.rung_steps
    study = optuna.create_study(pruner=make_pruner(space), direction="maximize")
    goes_on = []
    for number, value in enumerate((0.5, 0.9, 0.1, 0.1, 0.7)):
        trial = study.ask()
        trial.report(value, first)
        goes_on.append(not trial.should_prune())
        if number == 0:
            recover(study)  # killed at its rung
            study.ask()
    # One of five goes on; were there six, it would be two.
    assert goes_on == [True, True, False, False, False]
