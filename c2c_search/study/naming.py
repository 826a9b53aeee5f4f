"""What a study's trials and their settings are called in runs and reports."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

from c2c_search.host.names import tails
from c2c_search.report.shorthand import Shorthand
from c2c_search.space.order import all_trials
from c2c_search.space.order import ordinal
from c2c_search.space.order import ordinals
from c2c_search.space.schema import Space


if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


def trial_name(trials: Sequence[FrozenTrial], number: int) -> str:
    """What reports call a trial; a retry is called as the trial that it goes on with.

    Args:
        trials: All of its study, by number.
        number: Of the trial.
    """
    return _name(ordinal(trials, number))


def trial_names(study: Study) -> list[str]:
    """The same of every trial, by number."""
    return [_name(place) for place in ordinals(all_trials(study))]


def _name(place: int) -> str:
    return f"trial-{place:03d}"


def run_title(space: Space, name: str, params: Mapping[str, object]) -> str:
    """What MLflow's list of runs calls a trial, e.g. ``002 linear/replace/ridge r32``."""
    values = {each: dimension.choices or () for each, dimension in space.dimensions.items()}
    names = _names(space)
    short = Shorthand({names[each]: choices for each, choices in values.items()})
    return f"{name.removeprefix('trial-')} {short.line(shown(space, params))}".strip()


def shown(space: Space, params: Mapping[str, object]) -> dict[str, object]:
    """A trial's parameters as reports show them: by the last part of their dotted names."""
    names = _names(space)
    return {names.get(name, name): value for name, value in params.items()}


def _names(space: Space) -> dict[str, str]:
    """More than the last part where two dimensions share it."""
    parts = {name: name.split(".") for name in space.dimensions}
    return {name: tail.replace("_", " ") for name, tail in tails(parts, " ").items()}
