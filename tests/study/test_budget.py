"""A study ends when its time, its steps or its patience are spent."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from c2c_search.space.declaration import Search
from c2c_search.space.shown import MEASURES
from c2c_search.study import resume
from c2c_search.study.budget import hours_of
from c2c_search.study.budget import spent
from c2c_search.study.budget import standing
from c2c_search.study.budget import without_gain
from c2c_search.study.driver import Outcome
from c2c_search.study.overview import study_row
from tests.study.test_driver import optuna_study


Run = Callable[..., Outcome]
NOON = datetime(2026, 1, 1, 12)


def _trial(value: float | None, begun: float = 0.0, ended: float = 1.0) -> FrozenTrial:
    trial = optuna.trial.create_trial(
        state=TrialState.PRUNED if value is None else TrialState.COMPLETE,
        value=value,
        intermediate_values={40: 0.5},
        user_attrs={resume.WORK: {"tokens": 1000, "flops": 2e12}},
    )
    trial.datetime_start = NOON + timedelta(hours=begun)
    trial.datetime_complete = NOON + timedelta(hours=ended)
    return trial


def test_hours_in_which_several_run_count_once() -> None:
    trials = [_trial(0.1, 0, 2), _trial(0.1, 1, 3), _trial(0.1, 1, 1.5), _trial(0.1, 10, 10.5)]
    assert hours_of(trials) == pytest.approx(3.5)
    assert hours_of([]) == 0


def test_of_several_objectives_a_gain_is_what_none_before_is_as_good_as_by_all() -> None:
    points = [(0.5, 9.0), (0.6, 9.0), (0.4, 3.0), (0.5, 9.0), (0.4, 4.0)]
    trials = [optuna.trial.create_trial(values=point) for point in points]
    search = Search(trials=9, objectives=("margin", "parameters"))
    assert without_gain(trials[:3], search) == 0
    assert without_gain(trials, search) == 2


def test_what_is_beyond_bounds_is_no_gain() -> None:
    trials = [_trial(value) for value in (0.5, 0.9, 0.6)]
    for trial, size in zip(trials, (10.0, 99.0, 10.0), strict=True):
        trial.set_user_attr(MEASURES, {"parameters": size})
    assert without_gain(trials[:2], Search(trials=9, bounds={"parameters": 50})) == 1
    assert without_gain(trials, Search(trials=9, bounds={"parameters": 50})) == 0


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.5], 1),
        ([0.5, None, 0.4, 0.6], 0),
        ([0.5, 0.6, None, None], 2),
    ],
)
def test_trials_since_the_last_gain(values: list[float | None], since: int) -> None:
    assert without_gain([_trial(value) for value in values], Search(trials=9)) == since


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({}, ""),
        ({"steps": 121}, ""),
        ({"steps": 120}, "search.steps are spent: trials took 120 of 120 steps."),
        ({"tokens": 3001, "flops": 6.1e12}, ""),
        (
            {"tokens": 3000},
            "search.tokens are spent: trials learned from 3,000 of 3,000 tokens.",
        ),
        ({"flops": 5e12}, "search.flops are spent: trials took 6e+12 of 5e+12 operations."),
        ({"patience": 3}, ""),
        (
            {"patience": 2},
            "search.patience is over: 2 trials in a row found nothing better; as many more would "
            "with a probability of 0.40, if trials came by chance.",
        ),
        ({"hours": 1.5}, ""),
        ({"hours": 1.0}, "search.hours are spent: 1.0 of 1 went to trials."),
    ],
)
def test_why_no_more_trials_are_asked_for(budget: dict[str, Any], reason: str) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trials([_trial(0.5), _trial(None), _trial(0.4)])
    assert spent(resume.ended(study.trials), Search(trials=9, **budget)) == reason


def test_what_another_study_has_trained_spends_nothing_here() -> None:
    trials = [_trial(0.5), _trial(0.4)]
    trials[1].set_user_attr(resume.KNOWN_FROM, "another")
    found = standing(trials, {"steps": 100, "tokens": 5500, "flops": 1e13})
    assert [one.spent for one in found.values()] == [40, 1000, 2e12]
    assert found["tokens"].trials_left == (5, 5)
    assert standing([], {"tokens": 5500})["tokens"].trials_left is None


def test_a_study_ends_with_its_tokens_and_goes_on_with_more(
    quick: Run, space_file: Path, root: Path, script: Any, output: io.StringIO
) -> None:
    script.accuracy = lambda config: 0.3 if config.fuser.sharer == "blank" else 0.7
    text = space_file.read_text()
    # Of 4 steps of 100 tokens, and 2 where it is pruned.
    space_file.write_text(text.replace("trials: 5", "trials: 5, tokens: 500, flops: 1.0e+11"))
    assert quick().final.verdicts
    study = optuna_study(root)
    taken = [trial.user_attrs[resume.WORK]["tokens"] for trial in study.trials]
    assert sum(taken[:-1]) < 500 <= sum(taken)
    told = f"search.tokens are spent: trials learned from {sum(taken)} of 500 tokens."
    assert told in output.getvalue()
    row = study_row(root, study)
    assert row.spent == {"flops": (1e7 * sum(taken), 1e11), "tokens": (sum(taken), 500)}
    space_file.write_text(text)
    quick()
    assert len(optuna_study(root).trials) == 5
    assert study_row(root, optuna_study(root)).spent == {}


def test_a_study_out_of_patience_goes_on_to_its_verdict(
    quick: Run, space_file: Path, root: Path, script: Any, output: io.StringIO
) -> None:
    script.accuracy = lambda config: 0.3 if config.fuser.sharer == "blank" else 0.7
    text = space_file.read_text()
    space_file.write_text(text.replace("trials: 5", "trials: 5, patience: 2"))
    outcome = quick()
    ended = optuna_study(root).trials
    assert len(ended) < 5
    assert without_gain(ended, Search(trials=5)) == 2
    assert outcome.final.verdicts
    assert "search.patience is over" in output.getvalue()
