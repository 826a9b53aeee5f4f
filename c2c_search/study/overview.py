"""What the stores say of studies and their trials, whoever drives them; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import StoreError
from c2c_search.host.home import expanded
from c2c_search.host.json_store import JsonStore
from c2c_search.host.versioned_names import called
from c2c_search.host.versioned_names import meant
from c2c_search.host.versioned_names import numbered
from c2c_search.space.front import Front
from c2c_search.space.front import beyond
from c2c_search.space.front import pareto_front
from c2c_search.space.order import RETRY_OF
from c2c_search.space.shown import MEASURES
from c2c_search.study import resume
from c2c_search.study import storage
from c2c_search.study.budget import standing
from c2c_search.study.layout import COST
from c2c_search.study.layout import StudyFiles
from c2c_search.study.naming import trial_names
from c2c_search.study.noted_phase import Phase
from c2c_search.study.noted_phase import noted_phase
from c2c_search.study.overhead import WORKER_SECONDS
from c2c_search.study.overhead import overhead_of
from c2c_search.study.storage import TRIALS
from c2c_search.study.trials import ACCURACY
from c2c_search.study.trials import DERANGED_ACCURACY
from c2c_search.study.trials import MESSAGE
from c2c_search.study.trials import PAIR
from c2c_search.study.trials import PARAMETERS
from c2c_search.study.who_drives import Driver
from c2c_search.study.who_drives import who_drives
from c2c_search.tracking import mlflow_store
from c2c_search.tracking.reconcile import RUN_ID
from c2c_search.training.protocol import Costs


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from c2c_search.space.objectives import Measure

_STEPPED = "train/loss"  # a metric of every step that is logged

State = Literal["waiting", "running", "complete", "pruned", "failed", "interrupted"]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrialRow(_Row):
    """A trial of the search; its retries are the same trial.

    Args:
        name: As in reports.
        number: Of its last attempt, as Optuna counts.
        state: ``waiting`` and ``interrupted`` ones go on with the study.
        attempts: How often it was begun.
        params: What was searched, by dotted name.
        objective: At its end; what a running or pruned one reported last; None before that.
        rungs: What it reached at each step that it reported.
        accuracy: On validation, with the right message.
        deranged: With another item's.
        parameters: Of its fuser.
        measures: All that several objectives and bounds may compare it by, by name.
        beyond: Bounds of the search that it does not keep to, of one that ran to its end.
        worker_seconds: Of its worker since the trial before, and of these its own prefill,
            training and evaluation.
        pair: Its models.
        hash: Of its configuration: the name of its folder.
        run: Its run in MLflow.
        failure: Class of its failure.
        message: Of its failure.
        step: Last training step on record, of one that runs.
        started: When its last attempt began, ISO 8601.
        ended: When it ended.
    """

    name: str
    number: int
    state: State
    attempts: int = 1
    params: dict[str, object]
    objective: float | None = None
    rungs: dict[int, float] = {}
    accuracy: float | None = None
    deranged: float | None = None
    parameters: int | None = None
    measures: dict[str, float] = {}
    beyond: tuple[str, ...] = ()
    worker_seconds: tuple[float, float] | None = None
    pair: str | None = None
    hash: str | None = None
    run: str | None = None
    failure: str | None = None
    message: str | None = None
    step: int | None = None
    started: str | None = None
    ended: str | None = None


class StudyRow(_Row):
    """A study.

    Args:
        name: Of the study in the stores.
        called: What commands call it: of a first version that has newer ones ``NAME@1``.
        driver: ``running``; ``stopping``: asked to stop; ``elsewhere``: on another machine, or
            gone with it where the store is a file; ``none``. Of several, the one that leads.
        process: Id of the driver's process on this machine.
        drivers: Processes that take part; None where the store, a file, does not tell.
        budget: Trials in all, as its last start was told.
        spent: By name, what its trials have taken of its other budgets, and those.
        counts: Trials by state.
        best: See `best_of`.
        now: Trials that run.
        phase: What the driver on this machine is at; None where none drives it here.
        overhead: Part of the workers' time in its search that went neither to prefill, training
            nor evaluation, from 0 to 1.
        champion: Folder of its champion's package.
    """

    name: str
    called: str
    driver: Driver
    process: int | None
    drivers: int | None = None
    budget: int | None
    spent: dict[str, tuple[float, float]] = {}
    counts: dict[State, int]
    best: TrialRow | None
    now: tuple[TrialRow, ...]
    phase: Phase | None = None
    overhead: float | None = None
    champion: str | None


def open_existing(root: Path, url: str | None = None) -> RDBStorage:
    """The store of studies under a root, or in a database, which must be there.

    Args:
        root: Folder of all stores.
        url: Of the database; None for what the environment names, or the file under the root.

    Raises:
        StoreError: There is none, or it cannot be read.
    """
    root = expanded(root)
    if url or os.environ.get(storage.URL_VARIABLE):
        return storage.open_storage(root, url, make=False)
    if not (root / storage.DATABASE).is_file():
        raise StoreError(
            "There must be studies under the root.",
            value=str(root),
            hint="Run `c2c-search study` first, or name the folder that it wrote to with --root.",
        )
    return storage.open_storage(root)


def study_names(opened: RDBStorage) -> list[str]:
    """Names of all studies, sorted."""
    import optuna

    return sorted(optuna.get_all_study_names(opened), key=numbered)


def load(opened: RDBStorage, name: str | None) -> Study:
    """A study by its name, alone that of its newest version; the only one without a name.

    Raises:
        StoreError: There is none of that name, or there are several to choose from.
    """
    import optuna

    names = study_names(opened)
    if name is None and len({numbered(each)[0] for each in names}) == 1:
        name = numbered(names[0])[0]
    said, name = name, None if name is None else meant(names, name)
    if name not in names:
        raise StoreError(
            "That must be the name of a study under the root.",
            value="none" if said is None else said,
            hint=f"These are there: {', '.join(names) or 'none'}.",
        )
    return optuna.load_study(study_name=name, storage=opened)


def studies(opened: RDBStorage, name: str | None = None) -> list[Study]:
    """The study that a name means, as `load` has it; all without a name.

    Raises:
        StoreError: There is none of that name.
    """
    import optuna

    if name is not None:
        return [load(opened, name)]
    names = study_names(opened)
    return [optuna.load_study(study_name=each, storage=opened) for each in names]


def study_row(
    root: Path,
    study: Study,
    *,
    steps: bool = False,
    tracking_uri: str | None = None,
) -> StudyRow:
    """What is known of a study.

    Args:
        root: Folder of all stores.
        study: Optuna's study.
        steps: Whether to ask MLflow how far running trials are.
        tracking_uri: Of MLflow's store; the one under the root if None.

    Raises:
        StoreError: A store cannot be read.
    """
    files = StudyFiles(expanded(root).resolve(), study.study_name)
    trials = trial_rows(study, files)
    states = [trial.state for trial in trials]
    driver, pid, drivers = who_drives(files, study)
    overhead = overhead_of(trials)
    now = [trial for trial in trials if trial.state == "running"]
    if steps and now and (tracking_uri or (files.root / mlflow_store.DATABASE).is_file()):
        now = list(_with_steps(files.root, tracking_uri, now))
    return StudyRow(
        name=study.study_name,
        called=called(study_names(storage.database_of(study)), study.study_name),
        driver=driver,
        process=pid,
        drivers=drivers,
        budget=study.user_attrs.get(TRIALS),
        spent={
            name: (one.spent, one.limit)
            for name, one in standing(
                resume.finished(study), study.user_attrs.get(storage.BUDGETS, {})
            ).items()
        },
        counts={state: states.count(state) for state in dict.fromkeys(states)},
        best=best_of(trials),
        now=tuple(now),
        phase=noted_phase(files) if driver in ("running", "stopping") else None,
        overhead=None if overhead is None else overhead.share,
        champion=str(files.champion) if files.champion.is_dir() else None,
    )


def best_of(trials: Iterable[TrialRow]) -> TrialRow | None:
    """The best trial by the first objective: of those that ran to their end, within the bounds."""
    kept = [each for each in trials if each.state == "complete" and not each.beyond]
    return max(kept, key=lambda trial: trial.objective or 0.0, default=None)


def front_of(
    trials: Iterable[TrialRow],
    objectives: Sequence[Measure] | None,
    bounds: Mapping[Measure, float],
) -> Front | None:
    """The Pareto front of a study's trials; None in a search by one objective."""
    ended = {each.name: each.measures for each in trials if each.state == "complete"}
    return None if objectives is None else pareto_front(objectives, bounds, ended)


def trial_rows(
    study: Study,
    files: StudyFiles | None = None,
    bounds: Mapping[Measure, float] | None = None,
) -> list[TrialRow]:
    """A study's trials in the order of their suggestions.

    Args:
        study: Optuna's study.
        files: Of the study, where costs may lie that were measured after a trial's end.
        bounds: Of the search; as its last start was told, if left out.
    """
    last: dict[str, tuple[FrozenTrial, int]] = {}
    names = trial_names(study)
    for trial in study.get_trials(deepcopy=False)[: len(names)]:
        name = names[trial.number]
        last[name] = (trial, last[name][1] + 1 if name in last else 1)
    rows: Iterable[TrialRow] = _rows(last)
    if files is not None and (files.results / COST).is_dir():
        rows = (_costed(each, JsonStore(files.results)) for each in rows)
    bounds = study.user_attrs.get(storage.BOUNDS, {}) if bounds is None else bounds
    return [_bounded(each, bounds) for each in rows]


def _costed(row: TrialRow, store: JsonStore) -> TrialRow:
    if row.state != "complete" or row.hash is None:
        return row
    if (costs := store.load(f"{COST}/{row.hash}", Costs)) is None:
        return row
    known = row.measures | costs.model_dump(exclude={"type"})
    return row.model_copy(update={"measures": known})


def _bounded(row: TrialRow, bounds: Mapping[Measure, float]) -> TrialRow:
    if row.state != "complete":  # what is known of it by then says nothing of its end
        return row
    return row.model_copy(update={"beyond": beyond(bounds, row.measures)})


def trial_row(study: Study, name: str) -> TrialRow:
    """A trial by its name or its number in it, e.g. ``trial-007`` or ``7``.

    Raises:
        StoreError: There is no such trial.
    """
    return named_trial(trial_rows(study), study.study_name, name)


def named_trial(rows: Iterable[TrialRow], study: str, name: str) -> TrialRow:
    """One of a study's trials; see `trial_row`."""
    wanted = f"trial-{int(name):03d}" if name.isdecimal() else name
    named = {row.name: row for row in rows}
    if wanted in named:
        return named[wanted]
    raise StoreError(
        f"Study {study!r} must have that trial.",
        value=name,
        hint=f"These are there: {', '.join(named) or 'none'}.",
    )


def _rows(last: dict[str, tuple[FrozenTrial, int]]) -> Iterator[TrialRow]:
    for name, (trial, attempts) in last.items():
        known, rungs = trial.user_attrs, trial.intermediate_values
        reported = rungs[max(rungs)] if rungs else None
        yield TrialRow(
            name=name,
            number=trial.number,
            state=_state(trial),
            attempts=attempts,
            params=dict(trial.params or trial.system_attrs.get("fixed_params", {})),
            objective=trial.values[0] if trial.values else reported,
            rungs=dict(sorted(rungs.items())),
            accuracy=known.get(ACCURACY),
            deranged=known.get(DERANGED_ACCURACY),
            parameters=known.get(PARAMETERS),
            measures=known.get(MEASURES, {}),
            worker_seconds=known.get(WORKER_SECONDS),
            pair=known.get(PAIR),
            hash=known.get(resume.HASH),
            run=known.get(RUN_ID),
            failure=known.get(resume.FAILURE),
            message=known.get(MESSAGE),
            started=trial.datetime_start and trial.datetime_start.isoformat(),
            ended=trial.datetime_complete and trial.datetime_complete.isoformat(),
        )


def _with_steps(root: Path, uri: str | None, trials: list[TrialRow]) -> Iterator[TrialRow]:
    client = mlflow_store.connect(mlflow_store.open_store(root, uri=uri))
    for trial in trials:
        points = [] if trial.run is None else client.get_metric_history(trial.run, _STEPPED)
        yield trial.model_copy(update={"step": max((one.step for one in points), default=None)})


def _state(trial: FrozenTrial) -> State:
    states: dict[str, State] = {
        "COMPLETE": "complete",
        "PRUNED": "pruned",
        "RUNNING": "running",
        "FAIL": "failed" if resume.FAILURE in trial.user_attrs else "interrupted",
        "WAITING": "interrupted" if RETRY_OF in trial.user_attrs else "waiting",
    }
    return states[trial.state.name]
