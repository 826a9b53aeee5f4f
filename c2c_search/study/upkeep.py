"""What is done to a study from outside: stopped, removed, a trial of it tried again."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.errors import StoreError
from c2c_search.host.home import expanded
from c2c_search.study import overview
from c2c_search.study import resume
from c2c_search.study.layout import StudyFiles
from c2c_search.study.overview import StudyRow
from c2c_search.study.overview import TrialRow
from c2c_search.study.storage import sole_driver
from c2c_search.tracking import mlflow_store
from c2c_search.tracking.reconcile import RUN_ID


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage


def stop(root: Path, name: str | None, *, now: bool = False, url: str | None = None) -> StudyRow:
    """Ask a study's drivers to stop: after what they have begun, or at once, from checkpoints.

    Args:
        root: Folder of all stores; all drivers of a study have the same.
        name: Of the study; None for the only one that is driven here.
        now: At once, as by Ctrl-C: the driver that leads; others when what they train has ended.
        url: Of the database of trials, in place of the file under the root.

    Raises:
        StoreError: No process drives it, or none on this machine that can be stopped at once.
    """
    opened = overview.open_existing(root, url)
    rows = [overview.study_row(root, each) for each in overview.studies(opened, name)]
    driven = [row for row in rows if row.driver != "none"]
    if len(driven) != 1:
        raise StoreError(
            "One study that is driven now must be named.",
            value=[row.name for row in driven or rows],
            hint="Name one of these." if driven else "Nothing is to stop: no process drives any.",
        )
    (row,) = driven
    if now and row.process is None:
        raise StoreError("Only a driver on this machine can be stopped at once.", value=row.name)
    files = StudyFiles(expanded(root).resolve(), row.name)
    if not files.folder.is_dir():
        raise StoreError(
            "A study is stopped by a file in its folder, which its drivers share.",
            value=str(files.folder),
            hint="Name the folder that its drivers were given with --root.",
        )
    if not now or (row.drivers or 1) > 1:  # another one would take the lead of one that is ended
        files.stop.touch()
    if now:
        assert row.process is not None
        os.kill(row.process, signal.SIGTERM)
    return row


def remove(
    root: Path, name: str, *, url: str | None = None, tracking_uri: str | None = None
) -> None:
    """Remove a study: its trials, files and runs; a champion's package and versions stay.

    Args:
        root: Folder of all stores.
        name: Of the study.
        url: Of the database of trials, in place of the file under the root.
        tracking_uri: Of MLflow's store, in place of the one under the root.

    Raises:
        StoreError: It is driven now, there is none of that name, or it cannot be removed.
    """
    opened = overview.open_existing(root, url)
    files = StudyFiles(expanded(root).resolve(), overview.load(opened, name).study_name)
    with sole_driver(files.root, files.study, opened):
        erase(files, opened, tracking_uri, champion=files.importing.exists())


def erase(files: StudyFiles, opened: RDBStorage, uri: str | None, *, champion: bool) -> None:
    """Remove all of a study that there is, be it a part of one only.

    Must only be called by the study's sole driver.

    Args:
        files: Of the study.
        opened: Optuna's store.
        uri: Of MLflow's store, in place of the one under the root.
        champion: Whether its champion's package goes too.
    """
    import optuna

    if files.study in overview.study_names(opened):
        study = optuna.load_study(study_name=files.study, storage=opened)
        _remove_runs(files.root, study, uri)
        optuna.delete_study(study_name=files.study, storage=opened)
    shutil.rmtree(files.folder, ignore_errors=True)
    if champion:
        shutil.rmtree(files.champion, ignore_errors=True)


def retry(root: Path, name: str, trial: str, *, url: str | None = None) -> TrialRow:
    """Queue a trial that failed for good again; it no longer counts against the budget.

    It goes on from its checkpoint, if that is still there, with the study's next start.

    Args:
        root: Folder of all stores.
        name: Of the study.
        trial: Its name or number.
        url: Of the database of trials, in place of the file under the root.

    Raises:
        StoreError: The study is driven now, or the trial has not failed.
    """
    opened = overview.open_existing(root, url)
    study = overview.load(opened, name)
    row = overview.trial_row(study, trial)
    if row.state != "failed":
        raise StoreError(
            "Only a trial that failed can be tried again.",
            value=f"{row.name} is {row.state}",
            hint="`trial run` repeats any other one from its trial.yaml.",
        )
    with sole_driver(expanded(root).resolve(), study.study_name, opened):
        resume.requeue(study, study.trials[row.number])
    return overview.trial_row(study, row.name)


def _remove_runs(root: Path, study: Study, uri: str | None) -> None:
    parent = study.user_attrs.get(RUN_ID)
    if parent is None or not (uri or (root / mlflow_store.DATABASE).is_file()):
        return
    client = mlflow_store.connect(mlflow_store.open_store(root, uri=uri))
    experiments = [each.experiment_id for each in client.search_experiments()]
    for query in (f"tags.`mlflow.parentRunId` = '{parent}'", f"attributes.run_id = '{parent}'"):
        while found := client.search_runs(experiments, query, max_results=1000):
            for run in found:
                client.delete_run(run.info.run_id)
