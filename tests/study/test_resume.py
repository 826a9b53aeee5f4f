from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from c2c_search.space.order import RETRY_OF
from c2c_search.study import resume
from c2c_search.tracking.reconcile import RUN_ID


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def begin(study: optuna.Study, run_id: str = "run") -> optuna.Trial:
    trial = study.ask()
    trial.suggest_int("depth", 1, 8)
    trial.set_user_attr(RUN_ID, run_id)
    return trial


def test_an_interrupted_trial_goes_on_as_itself(study: optuna.Study) -> None:
    study.enqueue_trial({"depth": 3}, user_attrs={"enqueued": 0})
    trial = begin(study)
    trial.set_user_attr("owner", "the process that died")
    trial.report(0.5, 50)
    assert resume.recover(study) == [0]
    again = study.ask()
    assert (again.number, again.suggest_int("depth", 1, 8)) == (1, 3)
    frozen = study.trials[1]
    assert frozen.user_attrs == {RUN_ID: "run", RETRY_OF: 0}
    assert frozen.intermediate_values == {50: 0.5}


def test_what_was_never_sampled_is_sampled_then(study: optuna.Study) -> None:
    study.enqueue_trial({"depth": 3})
    study.ask()
    resume.recover(study)
    again = study.ask()
    assert again.suggest_int("depth", 1, 8) == 3
    assert 0 <= again.suggest_float("rate", 0, 1) <= 1


def test_the_rungs_it_has_passed_are_passed() -> None:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    trial = begin(study)
    trial.report(0.5, 1)
    assert not trial.should_prune()
    resume.recover(study)
    passed = [name for name in study.trials[1].system_attrs if name.startswith("completed_rung_")]
    assert passed == ["completed_rung_0"]


def test_recovering_twice_queues_nothing_twice(study: optuna.Study) -> None:
    begin(study)
    assert resume.recover(study) == [0]
    assert resume.recover(study) == []
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_a_crash_between_giving_up_and_queuing_loses_nothing(study: optuna.Study) -> None:
    begin(study)
    study.tell(0, state=TrialState.FAIL)
    assert resume.recover(study) == [0]


def test_a_trial_interrupted_again_and_again(study: optuna.Study) -> None:
    begin(study)
    for number in range(3):
        assert resume.recover(study) == [number]
        study.ask()
    assert len(resume.finished(study)) == 0


def test_what_ended_for_good_is_let_be_and_counted(study: optuna.Study) -> None:
    study.tell(begin(study), 0.5)
    study.tell(begin(study), state=TrialState.PRUNED)
    failed = begin(study)
    failed.set_user_attr(resume.FAILURE, "diverged")
    study.tell(failed, state=TrialState.FAIL)
    begin(study)
    assert resume.recover(study) == [3]
    assert [trial.number for trial in resume.finished(study)] == [0, 1, 2]
    assert resume.counts(study) == {"complete": 1, "pruned": 1, "failed": 1}
    assert [trial.number for trial in resume.complete(study)] == [0]


def test_constraints_of_a_dead_attempt_do_not_stick(study: optuna.Study) -> None:
    trial: Any = begin(study)
    trial.set_constraint("size", 1.0)
    resume.recover(study)
    again: Any = study.ask()
    again.set_constraint("size", -1.0)
    assert again.constraints == {"size": -1.0}
