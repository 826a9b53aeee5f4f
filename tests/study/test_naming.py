from __future__ import annotations

from typing import Any

import optuna

from c2c_search.config.pipeline import Pipeline
from c2c_search.space.schema import Space
from c2c_search.study import resume
from c2c_search.study.naming import run_title
from c2c_search.study.naming import shown
from c2c_search.study.naming import trial_name
from c2c_search.study.naming import trial_names
from tests.space.conftest import PAIRS


def make_space(dimensions: dict[str, Any]) -> Space:
    return Space.model_validate(
        {
            "study": "test",
            "pipeline": Pipeline(name="test"),
            "pairs": {"there": PAIRS["there"]},
            "search": {"trials": 3, "pruner": "none"},
            "dimensions": dimensions,
        }
    )


def test_a_retry_is_called_as_the_trial_it_goes_on_with() -> None:
    study = optuna.create_study()
    study.ask()
    study.ask()
    assert resume.recover(study) == [0, 1]
    study.ask()  # 2 goes on with 0
    assert resume.recover(study) == [2]
    for _ in range(4):
        study.ask()
    names = [trial_name(study.trials, trial.number) for trial in study.trials]
    assert trial_names(study) == names
    # Numbers 2 and 4 go on with 0, number 3 with 1; the others are new.
    assert names[:5] == ["trial-000", "trial-001", "trial-000", "trial-001", "trial-000"]
    assert names[5:] == ["trial-002", "trial-003"]


def test_a_run_is_called_by_what_it_tries() -> None:
    space = make_space(
        {
            "fuser.projector": {"choices": ["linear", "c2c"]},
            "fuser.keys": {"choices": ["rotated", "unrotated"]},
            "fuser.depth": {"int": [1, 4]},
            "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        }
    )
    params: dict[str, Any] = {
        "fuser.projector": "linear",
        "fuser.keys": "unrotated",
        "fuser.depth": 3,
        "training.learning_rate": 0.00123,
    }
    assert run_title(space, "trial-002", params) == "002 linear/unrot d3 lr1.2e-3"


def test_dimensions_of_one_last_name_are_told_apart() -> None:
    space = make_space(
        {
            "fuser.gate.granularity": {"choices": ["layer", "head"]},
            "fuser.depth": {"int": [1, 4]},
        }
    )
    twice = {**space.dimensions, "other.depth": space.dimensions["fuser.depth"]}
    space = space.model_copy(update={"dimensions": twice})
    params = {"fuser.gate.granularity": "head", "fuser.depth": 1, "other.depth": 2}
    assert shown(space, params) == {"granularity": "head", "fuser depth": 1, "other depth": 2}
