"""Runs put right after an interruption; Optuna is the truth about trials."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from c2c_search.host import process
from c2c_search.space.order import all_trials
from c2c_search.space.order import ordinal
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.tracking.recorded_run import Status
from c2c_search.tracking.tracker import Tracker


if TYPE_CHECKING:
    from mlflow.entities import Run
    from optuna import Study
    from optuna.trial import FrozenTrial


STATUS: Mapping[str, Status] = MappingProxyType(
    {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}
)
"""MLflow's status for each state in which Optuna's trials end; to be pruned is no failure."""

RUN_ID = "mlflow_run_id"
"""User attribute of study and trial that names its run."""


"""User attribute of a trial that goes on with an interrupted one; names that one's number."""


@dataclass(frozen=True)
class Repair:
    """What `reconcile` changed in one run.

    Args:
        run_id: The run.
        trial: The Optuna trial's number; None for a control, a twin, or a lost run.
        change: In words.
    """

    run_id: str
    trial: int | None
    change: str


def reconcile(tracker: Tracker, study: Study) -> list[Repair]:
    """Make the runs of a study say what Optuna says, and end those whose process is gone.

    A finished trial's run gets its status, its state and its objective; if it has none (MLflow
    was down, or its store was deleted) one is made from what Optuna remembers. A second call
    changes nothing.

    Args:
        tracker: Holds the study's runs.
        study: Its user attribute `RUN_ID` names the parent run, as does each trial's its own.
            Of several trials with one run (a retry goes on in it) the last one counts.

    Returns:
        What was changed.

    Raises:
        StoreError: The store cannot be read or written.
    """
    parent = study.user_attrs.get(RUN_ID)
    if parent is None:
        return []
    runs = {run.info.run_id: run for run in tracker.children(parent)}
    joined, missing = _join(study, runs)
    repairs: list[Repair] = []
    for run_id, run in runs.items():
        trial = joined.get(run_id)
        if trial is not None and trial.state.is_finished():
            repairs += _repair(tracker, run, trial)
        elif run.info.status == "RUNNING" and process.is_gone(run.data.tags.get("c2c.owner", "")):
            tracker.client.set_terminated(run_id, "KILLED")
            number = None if trial is None else trial.number
            repairs.append(Repair(run_id, number, "KILLED: its process is gone"))
    repairs += [_recreate(tracker, study, parent, trial) for trial in missing]
    return repairs


def _join(
    study: Study, runs: Mapping[str, Run]
) -> tuple[dict[str, FrozenTrial], list[FrozenTrial]]:
    """The last trial of each run, and the trials with a result but without a run."""
    by_number = {
        run.data.tags.get("optuna.trial_number"): run_id
        for run_id, run in runs.items()
        if run.data.tags.get("c2c.kind") == "trial"
    }
    joined: dict[str, FrozenTrial] = {}
    missing: list[FrozenTrial] = []
    for trial in study.get_trials(deepcopy=False):
        run_id = trial.user_attrs.get(RUN_ID)
        if run_id not in runs:
            # Killed before Optuna heard of the run, or the run was made by an earlier call.
            run_id = by_number.get(str(trial.number))
        if run_id is not None:
            joined[run_id] = trial
        elif trial.state.name in ("COMPLETE", "PRUNED"):
            missing.append(trial)
    return joined, missing


def _repair(tracker: Tracker, run: Run, trial: FrozenTrial) -> Iterator[Repair]:
    run_id, state = run.info.run_id, trial.state.name
    opened = RecordedRun(tracker.client, run)
    if run.data.tags.get("optuna.state") != state:
        opened.tags({"optuna.state": state})
        yield Repair(run_id, trial.number, f"optuna.state: {state}")
    known, objective = run.data.metrics.get("objective"), _objective(trial)
    # Of a pruned trial the run may know its best rung, Optuna only the last one.
    wrong = known is None or (state == "COMPLETE" and known != objective)
    if objective is not None and wrong:
        opened.summary({"objective": objective})
        yield Repair(run_id, trial.number, f"objective: {objective}")
    if run.info.status != STATUS[state]:
        tracker.client.set_terminated(
            run_id, STATUS[state], _milliseconds(trial.datetime_complete)
        )
        yield Repair(run_id, trial.number, STATUS[state])


def _recreate(tracker: Tracker, study: Study, parent: str, trial: FrozenTrial) -> Repair:
    name = f"trial-{ordinal(all_trials(study), trial.number):03d}"
    run = tracker.client.create_run(
        tracker.experiment_id,
        start_time=_milliseconds(trial.datetime_start),
        run_name=name,
        tags={
            "mlflow.parentRunId": parent,
            "c2c.kind": "trial",
            "c2c.name": name,
            "c2c.recreated": "true",
            "optuna.study_name": study.study_name,
            "optuna.trial_number": str(trial.number),
        },
    )
    RecordedRun(tracker.client, run).params(trial.params)
    for _ in _repair(tracker, run, trial):
        pass
    return Repair(run.info.run_id, trial.number, "made again from what Optuna remembers")


def _objective(trial: FrozenTrial) -> float | None:
    """What the trial reached; of a pruned one, what it reported last."""
    if trial.values:
        return trial.values[0]
    if trial.state.name == "PRUNED" and trial.intermediate_values:
        return trial.intermediate_values[max(trial.intermediate_values)]
    return None


def _milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
