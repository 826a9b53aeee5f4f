"""A study's trials as data: read out of Optuna's store, and made again in another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import NaiveDatetime

from c2c_search.study.storage import database_of
from c2c_search.tracking.reconcile import RUN_ID


if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

_Scalar = str | int | float | bool | None


class StoredTrial(BaseModel):
    """One of Optuna's trials.

    Args:
        state: As Optuna spells it.
        values: Of its objectives; None before its end.
        started: When it began.
        ended: When it ended.
        params: What it was, by dotted name.
        distributions: What that was drawn from, as Optuna writes it in JSON.
        user: User attributes.
        system: System attributes.
        rungs: What it reported, by step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
    values: tuple[float, ...] | None
    started: NaiveDatetime | None
    ended: NaiveDatetime | None
    params: dict[str, _Scalar]
    distributions: dict[str, str]
    user: dict[str, Any]
    system: dict[str, Any]
    rungs: dict[int, float]


class StoredStudy(BaseModel):
    """One of Optuna's studies.

    Args:
        directions: Of its objectives.
        user: User attributes.
        system: System attributes.
        trials: In the order of their numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    directions: tuple[Literal["maximize", "minimize"], ...] = Field(min_length=1)
    user: dict[str, Any]
    system: dict[str, Any]
    trials: tuple[StoredTrial, ...]


def read_study(study: Study) -> StoredStudy:
    """Everything that Optuna knows of a study."""
    database = database_of(study)
    own = database.get_study_id_from_name(study.study_name)
    return StoredStudy(
        directions=tuple(each.name.lower() for each in study.directions),
        user=study.user_attrs,
        system=database.get_study_system_attrs(own),
        trials=tuple(map(_stored, study.get_trials(deepcopy=False))),
    )


def begin_study(storage: RDBStorage, name: str, stored: StoredStudy) -> Study:
    """Make a study like a stored one, without trials and attributes as yet."""
    import optuna

    return optuna.create_study(
        study_name=name, storage=storage, directions=list(stored.directions)
    )


def fill_study(study: Study, stored: StoredStudy, runs: Mapping[str, str]) -> None:
    """Give a study that `begin_study` has made what the stored one holds.

    Args:
        study: The study.
        stored: What it is to hold.
        runs: Ids of the runs here, by those that it names; what names no other is left out.

    Raises:
        ValueError: A trial is none that Optuna could have written.
    """
    database = database_of(study)
    own = database.get_study_id_from_name(study.study_name)
    for name, value in stored.system.items():
        database.set_study_system_attr(own, name, value)
    for number, trial in enumerate(stored.trials):
        study.add_trial(_frozen(number, trial, runs))
    for name, value in _pointed(stored.user, runs).items():
        study.set_user_attr(name, value)


def _stored(trial: FrozenTrial) -> StoredTrial:
    from optuna.distributions import distribution_to_json

    return StoredTrial(
        state=trial.state.name,
        values=None if trial.values is None else tuple(trial.values),
        started=trial.datetime_start,
        ended=trial.datetime_complete,
        params=trial.params,
        distributions={
            name: distribution_to_json(each) for name, each in trial.distributions.items()
        },
        user=trial.user_attrs,
        system=trial.system_attrs,
        rungs=trial.intermediate_values,
    )


def _frozen(number: int, trial: StoredTrial, runs: Mapping[str, str]) -> FrozenTrial:
    from optuna.distributions import json_to_distribution
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState

    return FrozenTrial(
        number=number,
        trial_id=-1,
        state=TrialState[trial.state],
        value=None,
        values=None if trial.values is None else list(trial.values),
        datetime_start=trial.started,
        datetime_complete=trial.ended,
        params=dict(trial.params),
        distributions={
            name: json_to_distribution(each) for name, each in trial.distributions.items()
        },
        user_attrs=_pointed(trial.user, runs),
        system_attrs=trial.system,
        intermediate_values=dict(trial.rungs),
    )


def _pointed(attributes: Mapping[str, Any], runs: Mapping[str, str]) -> dict[str, Any]:
    """Attributes with the names of runs as they are here."""
    named = {name for name in attributes if name == RUN_ID or name.startswith(f"{RUN_ID}/")}
    kept = {name: each for name, each in attributes.items() if name not in named}
    return kept | {name: runs[attributes[name]] for name in named if attributes[name] in runs}
