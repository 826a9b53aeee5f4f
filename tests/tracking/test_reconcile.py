from __future__ import annotations

import optuna
import pytest

from c2c_search.tracking import StudyRun
from c2c_search.tracking import Tracker
from c2c_search.tracking import reconcile
from c2c_search.tracking.reconcile import RUN_ID


COMPLETE, PRUNED = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
FAIL = optuna.trial.TrialState.FAIL


@pytest.fixture
def search() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(study_name="s", direction="maximize")


@pytest.fixture
def study(tracker: Tracker, search: optuna.Study) -> StudyRun:
    run = tracker.study("s")
    search.set_user_attr(RUN_ID, run.run_id)
    return run


@pytest.fixture
def gone() -> str:
    import socket

    return f"{socket.gethostname()}/an-earlier-boot/1/2"


def begin(search: optuna.Study, study: StudyRun, run_id: str | None = None):
    trial = search.ask({"depth": optuna.distributions.IntDistribution(1, 8)})
    run = study.trial("t", run_id=run_id, tags={"optuna.trial_number": trial.number})
    trial.set_user_attr(RUN_ID, run.run_id)
    return trial, run


def seen(tracker: Tracker, run_id: str) -> tuple[str, str | None, float | None]:
    run = tracker.client.get_run(run_id)
    return run.info.status, run.data.tags.get("optuna.state"), run.data.metrics.get("objective")


def test_a_study_without_runs_has_nothing_to_repair(
    tracker: Tracker, search: optuna.Study
) -> None:
    assert reconcile(tracker, search) == []


def test_what_agrees_is_left_alone(
    tracker: Tracker, search: optuna.Study, study: StudyRun
) -> None:
    trial, run = begin(search, study)
    run.objective(0.5)
    run.finish("FINISHED", state="COMPLETE")
    search.tell(trial, 0.5)
    begin(search, study)
    assert reconcile(tracker, search) == []


def test_finished_trials_repair_their_runs(
    tracker: Tracker, search: optuna.Study, study: StudyRun
) -> None:
    complete, complete_run = begin(search, study)
    pruned, pruned_run = begin(search, study)
    failed, failed_run = begin(search, study)
    wrong, wrong_run = begin(search, study)
    wrong_run.objective(0.1)
    wrong_run.finish("FAILED", state="FAIL")
    pruned.report(0.25, 10)
    pruned.report(0.375, 20)
    search.tell(complete, 0.5)
    search.tell(pruned, state=PRUNED)
    search.tell(failed, state=FAIL)
    search.tell(wrong, 0.75)
    repairs = reconcile(tracker, search)
    assert seen(tracker, complete_run.run_id) == ("FINISHED", "COMPLETE", 0.5)
    assert seen(tracker, pruned_run.run_id) == ("FINISHED", "PRUNED", 0.375)
    assert seen(tracker, failed_run.run_id) == ("FAILED", "FAIL", None)
    assert seen(tracker, wrong_run.run_id) == ("FINISHED", "COMPLETE", 0.75)
    assert {repair.trial for repair in repairs} == {0, 1, 2, 3}
    assert reconcile(tracker, search) == []


def test_a_pruned_trial_keeps_its_best_rung(
    tracker: Tracker, search: optuna.Study, study: StudyRun
) -> None:
    trial, run = begin(search, study)
    run.objective(0.5)
    run.finish("FINISHED", state="PRUNED")
    trial.report(0.5, 10)
    trial.report(0.25, 20)
    search.tell(trial, state=PRUNED)
    assert reconcile(tracker, search) == []


def test_of_several_trials_in_one_run_the_last_counts(
    tracker: Tracker, search: optuna.Study, study: StudyRun
) -> None:
    first, run = begin(search, study)
    search.tell(first, state=FAIL)
    second, _ = begin(search, study, run.run_id)
    assert reconcile(tracker, search) == []
    search.tell(second, 0.5)
    reconcile(tracker, search)
    assert seen(tracker, run.run_id) == ("FINISHED", "COMPLETE", 0.5)


def test_runs_whose_process_is_gone_are_ended(
    tracker: Tracker, search: optuna.Study, study: StudyRun, gone: str
) -> None:
    _, run = begin(search, study)
    control = study.trial("receiver alone", kind="control", tags={"c2c.owner": gone})
    foreign = study.trial("elsewhere", tags={"c2c.owner": "another-machine/b/1/2"})
    lost = study.trial("t", tags={"c2c.owner": gone, "optuna.trial_number": 0})
    repairs = reconcile(tracker, search)
    assert {repair.run_id for repair in repairs} == {control.run_id, lost.run_id}
    assert seen(tracker, control.run_id)[0] == "KILLED"
    assert seen(tracker, run.run_id)[0] == "RUNNING"
    assert seen(tracker, foreign.run_id)[0] == "RUNNING"
    assert reconcile(tracker, search) == []


def test_a_run_that_optuna_never_heard_of_is_found_by_its_number(
    tracker: Tracker, search: optuna.Study, study: StudyRun, gone: str
) -> None:
    trial = search.ask()
    run = study.trial("t", tags={"optuna.trial_number": trial.number, "c2c.owner": gone})
    search.tell(trial, state=FAIL)
    reconcile(tracker, search)
    assert seen(tracker, run.run_id) == ("FAILED", "FAIL", None)


def test_a_lost_store_is_filled_from_what_optuna_remembers(
    tracker: Tracker, search: optuna.Study, study: StudyRun
) -> None:
    trial, run = begin(search, study)
    search.tell(trial, 0.5)
    search.tell(search.ask(), state=FAIL)
    tracker.client.delete_run(run.run_id)
    (repair,) = reconcile(tracker, search)
    assert repair.trial == 0
    assert seen(tracker, repair.run_id) == ("FINISHED", "COMPLETE", 0.5)
    made = tracker.client.get_run(repair.run_id)
    assert made.data.params == {"depth": str(trial.params["depth"])}
    assert made.data.tags["c2c.recreated"] == "true"
    assert made.info.start_time == round(search.trials[0].datetime_start.timestamp() * 1000)
    assert reconcile(tracker, search) == []
