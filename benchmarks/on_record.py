"""What Optuna, MLflow and the disk have of a study: what should be there once, or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.tracking import mlflow_store
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.training.protocol import CHECKPOINTS


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_LOSS = "train/loss"
_BEING_WRITTEN = (".partial", ".new", ".draft", ".replaced")


@dataclass(frozen=True)
class Record:
    """Of a study that has ended; what should be zero comes last.

    Args:
        trials: That Optuna has as ended.
        runs: Of trials, that MLflow has as finished.
        best: Settings of the best trial.
        told: What each trial reached, after the losses of its steps, by its settings.
        unfinished: Trials of Optuna's that neither ended nor were queued again.
        doubled: Steps that a run has more than once.
        missing: Steps that a run lacks.
        zombies: Runs in state running.
        temporary: Files that were being written, and checkpoints of trials that have ended.
    """

    trials: int
    runs: int
    best: str
    told: dict[str, list[float]]
    unfinished: int
    doubled: int
    missing: int
    zombies: int
    temporary: list[str]


def record(
    root: Path, steps: int, storage_url: str | None = None, tracking_uri: str | None = None
) -> Record:
    """Read the record of the one study under a root.

    Args:
        root: Folder of all stores.
        steps: Of a trial, each of which is recorded.
        storage_url: Database of trials, instead of the file under the root.
        tracking_uri: Of MLflow, instead of the store under the root.
    """
    import optuna

    opened = storage.open_storage(root, storage_url)
    (name,) = optuna.get_all_study_names(opened)
    study = optuna.load_study(study_name=name, storage=opened)
    again = {trial.user_attrs.get("retry_of") for trial in study.trials}
    ended = resume.finished(study)
    client = mlflow_store.connect(mlflow_store.open_store(root, uri=tracking_uri))
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=10_000)
    trials = [run for run in runs if run.data.tags.get("c2c.kind") == "trial"]
    losses = {run.info.run_id: client.get_metric_history(run.info.run_id, _LOSS) for run in trials}
    told = {run: [point.step for point in points] for run, points in losses.items()}
    return Record(
        trials=len(ended),
        runs=sum(run.info.status == "FINISHED" for run in trials),
        best=_settings(study.best_trial),
        told={
            _settings(one): [
                *(point.value for point in losses.get(one.user_attrs.get(RUN_ID), [])),
                float(one.value or 0.0),
            ]
            for one in ended
        },
        unfinished=sum(
            not trial.state.is_finished() and trial.number not in again for trial in study.trials
        ),
        doubled=sum(len(each) - len(set(each)) for each in told.values()),
        missing=sum(len(set(range(1, steps + 1)) - set(each)) for each in told.values()),
        zombies=sum(run.info.status == "RUNNING" for run in runs),
        temporary=temporary(root.parent),
    )


def _settings(trial: FrozenTrial) -> str:
    """Not its hash, which knows in which folder its models lie."""
    return json.dumps(trial.params, sort_keys=True)


def temporary(folder: Path) -> list[str]:
    """Files that were being written, and checkpoints, anywhere in a folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name == CHECKPOINTS or any(end in path.name for end in _BEING_WRITTEN)
    )
