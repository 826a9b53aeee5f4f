"""What earlier studies found, shown to a study's sampler before its own trials.

A trial fits if the space can say it: its configuration is a point of the space, whatever the
dimensions were called or fixed to when it was tried, with the same data, training and evaluation.
Its objective is worked out anew from its accuracies, against what this study is measured against.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import cast

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.host.versioned_names import meant
from c2c_search.host.wording import counted
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import walk
from c2c_search.space.order import all_trials
from c2c_search.space.reference import PAIR
from c2c_search.space.schema import Space
from c2c_search.space.shown import MEASURES
from c2c_search.space.shown import EarlierTrial
from c2c_search.space.shown import distributions
from c2c_search.space.shown import show_earlier
from c2c_search.study.layout import StudyFiles
from c2c_search.study.naming import trial_name
from c2c_search.study.resume import HASH
from c2c_search.study.storage import database_of
from c2c_search.study.storage import differences
from c2c_search.study.trials import ACCURACY
from c2c_search.study.trials import DERANGED_ACCURACY
from c2c_search.study.trials import PARAMETERS


if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from c2c_search.study.session import Session

_DIFFERENCES = 3  # that are named of a trial


class _Unfit(Exception):
    """Why an earlier trial teaches nothing here."""


def check_earlier(storage: RDBStorage, names: Sequence[str], study: str) -> None:
    """Refuse what no study can learn from, before anything is begun.

    Args:
        storage: Optuna's.
        names: Of the earlier studies.
        study: Name of the one that is to learn.

    Raises:
        ConfigError: There is no study of that name, or it is the same one.
    """
    if not names:
        return
    known = {each.study_name for each in storage.get_all_studies()} - {study}
    if absent := [name for name in names if meant(known, name) not in known]:
        raise ConfigError(
            "--warm-start takes other studies of the same store.",
            value=", ".join(absent),
            hint=f"There are: {', '.join(sorted(known)) or 'none'}.",
        )


def warm_start(session: Session, versions: Sequence[str], names: Sequence[str]) -> None:
    """Show the sampler the trials of earlier studies that fit, and name the others.

    They are kept with the study, in place of those of an earlier call: it goes on with them.

    Args:
        session: Of a study whose objectives are known.
        versions: Of the same study, before this one.
        names: Of other studies, as the user says them.
    """
    import optuna

    shown: list[EarlierTrial] = []
    storage = database_of(session.study)
    others = {*optuna.get_all_study_names(storage)} - {session.space.study}
    known = list(dict.fromkeys([*versions, *(meant(others, each) for each in names)]))
    for name in known:
        earlier = optuna.load_study(study_name=name, storage=storage)
        unfit: dict[str, list[str]] = defaultdict(list)
        ended = [trial for trial in earlier.get_trials(deepcopy=False) if _taught(trial)]
        before = len(shown)
        for trial in ended:
            try:
                shown.append(_earlier_trial(session, name, trial))
            except _Unfit as reason:
                unfit[str(reason)].append(trial_name(all_trials(earlier), trial.number))
        fit = len(shown) - before
        session.view.note(f"Warm start: {fit} of {counted(len(ended), 'trial')} of {name} fit.")
        for reason_, trials in unfit.items():
            session.view.note(f"Not of use from {name}: {', '.join(trials)}: {reason_}")
    if known:
        show_earlier(session.study, distributions(session.space.dimensions), shown)


def _taught(trial: FrozenTrial) -> bool:
    return trial.state.name in ("COMPLETE", "PRUNED")


def _earlier_trial(session: Session, name: str, trial: FrozenTrial) -> EarlierTrial:
    """Raises _Unfit."""
    config = _configuration(session.files, name, trial)
    params = point_of(session.space, config, trial.params)
    if (accuracy := trial.user_attrs.get(ACCURACY)) is None or trial.last_step is None:
        raise _Unfit("its accuracy is not known, as of a version before")
    objective, search = session.objective(config.pair), session.space.search
    scores = objective.scores(accuracy, trial.user_attrs.get(DERANGED_ACCURACY))
    known = trial.user_attrs.get(MEASURES, {}) | scores
    if PARAMETERS in trial.user_attrs:
        known["parameters"] = float(trial.user_attrs[PARAMETERS])
    pruned, by = trial.state.name == "PRUNED", search.compared_by
    if not pruned and (lacking := [name for name in by if name not in known]):
        raise _Unfit(f"its {', '.join(lacking)} was not measured")
    several = len(by) > 1 and not pruned
    return EarlierTrial(
        params,
        scores[search.leading],
        trial.last_step,
        pruned,
        [known[name] for name in by] if several else (),
        known,
    )


def _configuration(files: StudyFiles, study: str, trial: FrozenTrial) -> TrialConfig:
    folder = StudyFiles(files.root, study).trial(str(trial.user_attrs.get(HASH)))
    try:
        text = (folder / "trial.yaml").read_text(encoding="utf-8")
        return TrialConfig.from_yaml(text, name=str(folder))
    except (OSError, UnicodeDecodeError, C2CError):
        raise _Unfit("its trial.yaml is gone, or cannot be read") from None


def point_of(space: Space, config: TrialConfig, params: Params) -> Params:
    """The point of a space that stands for a trial of another one.

    Args:
        space: The space.
        config: The trial, of any seed.
        params: What it was there.

    Raises:
        _Unfit: There is none.
    """
    fields = cast("dict[str, Any]", config.model_dump(mode="json", by_alias=False))

    def pick(name: str, dimension: Dimension) -> Value:
        if name == PAIR:
            found: Any = next(
                (key for key, each in space.pairs.items() if each == config.pair), None
            )
        else:
            found = params[name] if name in params else _field(fields, name)
        if isinstance(found, list | dict) or not dimension.contains(found):
            raise _Unfit(f"{name} {found} is not among {dimension}")
        return cast("Value", found)

    point = walk(space.dimensions, pick)
    try:
        mine = space.configuration(point).model_copy(update={"seed": config.seed})
    except ConfigError as error:
        raise _Unfit(str(error)) from None
    if mine.hash() != config.hash():
        others = differences(fields, mine.model_dump(mode="json", by_alias=False))
        more = f"; and {len(others) - _DIFFERENCES} more" * (len(others) > _DIFFERENCES)
        raise _Unfit("; ".join(others[:_DIFFERENCES]) + more)
    return point


def _field(fields: dict[str, Any], name: str) -> Any:
    found: Any = fields
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
