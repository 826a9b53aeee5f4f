"""Several trials at once: each is told once, whatever becomes of those beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.errors import StudyStoppedError
from c2c_search.study import storage
from c2c_search.study import trials
from c2c_search.study.driver import Outcome
from c2c_search.training.protocol import Failed
from tests.forked import exit_code


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def two_at_once(space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(text.replace("seed: 0}", "seed: 0, trials_per_device: 2}"))


def optuna_trials(root: Path) -> list[Any]:
    import optuna

    return optuna.load_study(study_name="tiny", storage=storage.open_storage(root)).trials


def ended(root: Path) -> list[str]:
    states = [trial.state.name for trial in optuna_trials(root)]
    assert "RUNNING" not in states
    return [state for state in states if state in ("COMPLETE", "PRUNED")]


def real(config: TrialConfig) -> bool:
    return config.fuser.sharer == "real"


def test_trials_train_in_groups_within_the_budget(quick: Run, root: Path, script: Any) -> None:
    quick()
    # One group, whose places are filled again; twins and references are alone.
    assert [len(group) for group in script.together] == [2]
    assert len(script.joined) == 3
    assert sum(map(real, script.trained)) == 5
    assert len(ended(root)) == len(optuna_trials(root)) == 5
    assert "PRUNED" in ended(root)


def test_one_at_a_time_is_no_group(quick: Run, script: Any, space_file: Path) -> None:
    text = space_file.read_text()
    space_file.write_text(text.replace("trials_per_device: 2", "trials_per_device: 1"))
    quick()
    assert script.together == []


def test_their_number_may_be_edited(quick: Run, root: Path, space_file: Path) -> None:
    quick(trials=2)
    text = space_file.read_text()
    space_file.write_text(text.replace("trials_per_device: 2", "trials_per_device: 3"))
    quick(trials=4)
    assert len(ended(root)) == 4


def test_costs_that_are_timed_wait_until_nothing_else_trains(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    text = space_file.read_text()
    space_file.write_text(
        text.replace("trials_per_device: 2", "trials_per_device: 2, bounds: {latency_ms: 1000}")
    )
    quick()
    assert [len(group) for group in script.together] == [2, 2]
    assert script.joined == []
    assert len(ended(root)) == 5


def test_a_trial_that_diverges_takes_no_other_with_it(
    quick: Run, root: Path, script: Any, output: Any
) -> None:
    broken: list[TrialConfig] = []

    def failures(config: TrialConfig) -> Failed | None:
        if real(config) and not broken:
            broken.append(config)
        return Failed(failure="diverged", message="nan") if config in broken else None

    script.failures = failures
    quick()
    found = optuna_trials(root)
    assert found[0].user_attrs["failure"] == "diverged"
    assert [trial.state.name for trial in found].count("FAIL") == 1
    assert len(ended(root)) == 4
    assert "go on alone" in output.getvalue()


def test_a_group_too_large_for_the_memory_is_no_trials_fault(
    quick: Run, root: Path, script: Any
) -> None:
    script.fit = 1
    quick()
    assert len(script.together) == 1  # and is not tried again
    assert len(ended(root)) == 5


def test_what_was_enqueued_and_is_no_trial_fails_alone(
    quick: Run, root: Path, script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_suggest = trials.suggest

    def suggest(space: Any, trial: Any, fits: Any) -> TrialConfig:
        if trial.number == 0:
            raise ConfigError("This setting's fuser is beyond the space's `limits`.")
        return real_suggest(space, trial, fits=fits)

    monkeypatch.setattr(trials, "suggest", suggest)
    quick()
    assert optuna_trials(root)[0].user_attrs["failure"] == "invalid"
    assert [len(group) for group in script.together] == [2]  # trials 1 and 2
    assert len(script.joined) == 2
    assert len(ended(root)) == 4


def test_a_fatal_failure_leaves_all_of_a_group_to_another_start(
    quick: Run, root: Path, script: Any
) -> None:
    script.failures = lambda config: (
        Failed(failure="fatal", message="driver gone") if real(config) else None
    )
    with pytest.raises(StudyStoppedError, match="driver gone"):
        quick()
    script.failures = lambda config: None
    script.together.clear()
    quick()
    assert [len(group) for group in script.together] == [2]
    assert len(ended(root)) == 5


def test_settings_queued_twice_are_trained_once(
    quick: Run, root: Path, script: Any, space_file: Path
) -> None:
    text = space_file.read_text()
    space_file.write_text(
        text.replace("{pair: back, fuser.depth: 4", "{pair: there, fuser.depth: 4")
    )
    quick(trials=2)
    assert sum(map(real, script.trained)) == 1
    assert [trial.values for trial in optuna_trials(root)] == [optuna_trials(root)[0].values] * 2


@pytest.mark.parametrize("point", [10, 15, 22])
def test_a_killed_driver_loses_nothing(quick: Run, root: Path, script: Any, point: int) -> None:
    def killed() -> None:
        script.at = lambda number: os._exit(9) if number == point else None
        quick()

    assert exit_code(killed) == 9
    quick()
    assert len(ended(root)) == 5


def test_ctrl_c_ends_every_run_of_a_group(run: Run, root: Path, script: Any) -> None:
    from c2c_search.tracking import Tracker

    def at(number: int) -> None:
        if number == 14:
            raise KeyboardInterrupt

    script.at = at
    with pytest.raises(KeyboardInterrupt):
        run()
    import optuna

    study = optuna.load_study(study_name="tiny", storage=storage.open_storage(root))
    children = list(Tracker.open(root, "tiny-task").children(study.user_attrs["mlflow_run_id"]))
    assert all(each.info.status != "RUNNING" for each in children)
    script.at, script.events = lambda number: None, 0
    run()
    assert len(ended(root)) == 5
