"""Trainings that another study under the root has finished: their results are taken over.

A training is known by its hash. It is the same one where it was trained between the same weights,
on the same data and prompts, in the same dtype, and its best rung was chosen by the same
objective. What was pruned is not taken over: here it may be worth going on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from typing import NamedTuple

from c2c_search.errors import C2CError
from c2c_search.host.files import swapped_in
from c2c_search.host.json_store import JsonStore
from c2c_search.space.objective import Objective
from c2c_search.space.objective import objective_in
from c2c_search.study.resume import HASH
from c2c_search.study.resume import KNOWN_FROM
from c2c_search.study.resume import complete
from c2c_search.study.resume import of_rungs
from c2c_search.study.session import Session
from c2c_search.study.storage import database_of
from c2c_search.study.trainer import key_of
from c2c_search.tracking.recorded_run import RecordedRun
from c2c_search.training.protocol import CHECKPOINTS
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Trial


class Known(NamedTuple):
    """A training of another study.

    Args:
        study: Its name.
        folder: What it left there.
        ended: How it ended.
    """

    study: str
    folder: Path
    ended: Trained


def take_over(
    session: Session,
    train: Train,
    run: RecordedRun,
    name: str,
    steps: int,
    trial: Trial | None = None,
) -> set[int]:
    """Let a training that another study has finished count as one of this study, if there is one.

    Args:
        session: Of a study whose pairs are prepared.
        train: What the worker would be asked.
        run: Of the training.
        name: Of the training, as the view shows it.
        steps: Where it would end.
        trial: Whose training it is, if it is a trial's.

    Returns:
        The rungs, by step, that the trial has reported by that.
    """
    if session.store.load(key_of(train), Trained) is not None:
        return set()
    cut_short = steps < train.config.training.steps
    for known in _elsewhere(session, train):
        if (known.ended.step, known.ended.pruned) != (steps, cut_short):
            continue
        try:
            with swapped_in(Path(train.directory)) as folder:
                _copy(known.folder, folder)
        except OSError:  # removed meanwhile, or no room: it is trained, as any other
            continue
        reported = set() if trial is None else _report(session, trial, known.study, train)
        # Only now: killed before, the next start does all of it again.
        session.store.save(key_of(train), known.ended)
        run.tags({"c2c.known_from": known.study})
        session.view.note(f"{name} is not trained again: study {known.study} has done it.")
        return reported
    return set()


def _report(session: Session, trial: Trial, study: str, train: Train) -> set[int]:
    """Have a trial report what another study's trial of the same training reported.

    Returns:
        The rungs; none where it was trained there for something else than a trial.
    """
    import optuna

    trial.set_user_attr(KNOWN_FROM, study)
    opened, trial_hash = database_of(session.study), train.config.hash()
    if study not in optuna.get_all_study_names(opened):
        return set()
    ended = complete(optuna.load_study(study_name=study, storage=opened))
    same = next((each for each in ended if each.user_attrs.get(HASH) == trial_hash), None)
    if same is None:
        return set()
    for name, known in of_rungs(same).items():
        trial.set_user_attr(name, known)
    for step, value in same.intermediate_values.items():
        trial.storage.set_trial_intermediate_value(trial._trial_id, step, value)
    return {*same.intermediate_values}


def _elsewhere(session: Session, train: Train) -> Iterator[Known]:
    name = next(key for key, pair in session.space.pairs.items() if pair == train.config.pair)
    here = session.trainer.prepared[name]
    for results in sorted((session.files.root / "trials").glob("*/results")):
        store, folder = JsonStore(results), results.parent / train.name
        if results == session.files.results or not store.path(key_of(train)).is_file():
            continue
        try:
            ended = store.load(key_of(train), Trained)
            same = any(essence(here) == essence(each) for each in prepared_in(store))
            chosen = train.learner != "fuser" or _as_good(train.objective, objective_in(folder))
        except C2CError:  # of another version
            continue
        if ended is not None and same and chosen and (folder / ended.best_dir).is_dir():
            yield Known(results.parent.name, folder, ended)


def prepared_in(store: JsonStore) -> Iterator[Prepared]:
    """What a study's pairs were prepared as.

    Raises:
        StoreError: A record is of another version.
    """
    for path in sorted((store.folder / "prepared").glob("*.json")):
        found = store.load(f"prepared/{path.stem}", Prepared)
        if found is not None:
            yield found


def essence(prepared: Prepared) -> dict[str, object]:
    """What of a pair's preparation a training follows from."""
    sums = {
        role: {name: each for name, each in model.items() if name.endswith("_sha256")}
        for role, model in prepared.models.items()
    }
    kept = prepared.model_dump(include={"data", "dtype", "date", "prompts", "private"})
    return {**kept, "models": sums}


def _as_good(here: Objective, there: Objective) -> bool:
    """Whether both choose the same rung; of plain accuracy the rest of it says nothing."""
    return here == there or {here.kind, there.kind} == {"accuracy"}


def _copy(source: Path, folder: Path) -> None:
    for each in source.iterdir():
        if each.name == CHECKPOINTS or each.name.startswith("."):
            continue
        if each.is_dir():
            shutil.copytree(each, folder / each.name)
        else:
            shutil.copy2(each, folder / each.name)
