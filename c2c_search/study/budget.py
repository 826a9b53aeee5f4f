"""When a study asks for no more trials, though it has some left."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from operator import ge
from typing import TYPE_CHECKING

from c2c_search.host.wording import counted
from c2c_search.report.state import Spent
from c2c_search.space.declaration import Search
from c2c_search.space.front import beyond
from c2c_search.space.objectives import sign
from c2c_search.space.shown import MEASURES
from c2c_search.study.resume import KNOWN_FROM
from c2c_search.study.resume import WORK


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


_SAID = {
    "hours": "search.hours are spent: {spent:.1f} of {limit:g} went to trials.",
    "steps": "search.steps are spent: trials took {spent:,} of {limit:,} steps.",
    "tokens": "search.tokens are spent: trials learned from {spent:,} of {limit:,} tokens.",
    "flops": "search.flops are spent: trials took {spent:.3g} of {limit:g} operations.",
}
"""By the name of what is limited."""


def spent(trials: Sequence[FrozenTrial], search: Search) -> str:
    """Why no more trials are asked for, in a sentence; empty as long as they are.

    It follows from the trials that have ended, so that a study which was interrupted ends where
    an undisturbed one would; those that run when a budget is spent run to their end.

    Args:
        trials: Those that have ended for good.
        search: Their study's budgets.
    """
    for name, one in standing(trials, limits(search)).items():
        if one.spent >= one.limit:
            return _SAID[name].format(spent=one.spent, limit=one.limit)
    if search.patience is not None and (idle := without_gain(trials, search)) >= search.patience:
        chance = chance_of_gain(len(trials), idle)
        return (
            f"search.patience is over: {counted(idle, 'trial')} in a row found nothing better; as "
            f"many more would with a probability of {chance:.2f}, if trials came by chance."
        )
    return ""


def limits(search: Search) -> dict[str, float]:
    """What a search may spend beside its trials, by name, as far as it is limited."""
    found = {name: getattr(search, name) for name in _SAID}
    return {name: limit for name, limit in found.items() if limit is not None}


def standing(trials: Sequence[FrozenTrial], limits: Mapping[str, float]) -> dict[str, Spent]:
    """How much of each limit is spent, and what its trials took of it.

    Args:
        trials: Those that have ended for good.
        limits: By name, as `limits` has them.
    """
    found = {}
    for name, limit in limits.items():
        each = [] if name == "hours" else [_taken(trial, name) for trial in trials]
        spent = hours_of(trials) if name == "hours" else sum(each)
        known = [one for one in each if one]
        found[name] = Spent(spent, limit, min(known, default=0.0), max(known, default=0.0))
    return found


def _taken(trial: FrozenTrial, name: str) -> float:
    """What a trial took; nothing where another study has trained it."""
    if KNOWN_FROM in trial.user_attrs:
        return 0
    if name == "steps":  # to its last rung
        return trial.last_step or 0
    taken: float = trial.user_attrs.get(WORK, {}).get(name, 0)
    return taken


def chance_of_gain(tried: int, more: int) -> float:
    """Probability that the best of so many more trials beats the best of those that were tried.

    Of trials that come in no order, as random search's do: the best of all is as likely to be any
    of them, whatever their distribution is. A sampler that still learns finds more.
    """
    return more / (tried + more)


def hours_of(trials: Sequence[FrozenTrial]) -> float:
    """Hours in which at least one of them ran; of one that was interrupted, its last start."""
    times = sorted(
        (trial.datetime_start.timestamp(), trial.datetime_complete.timestamp())
        for trial in trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    )
    seconds, until = 0.0, float("-inf")
    for begun, ended in times:
        seconds += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return seconds / 3600


def without_gain(trials: Sequence[FrozenTrial], search: Search) -> int:
    """Trials since one that ran to its end within the bounds was better than all before it.

    Of several objectives: since none of those before it was as good by all of them.
    """
    objectives = search.compared_by
    known: list[Sequence[float]] = []
    since = 0
    for trial in trials:
        since += 1
        if trial.state.name != "COMPLETE":
            continue
        if beyond(search.bounds, trial.user_attrs.get(MEASURES, {})):
            continue
        point = [sign(name) * one for name, one in zip(objectives, trial.values, strict=True)]
        if not any(all(map(ge, other, point)) for other in known):
            since = 0
            known.append(point)
    return since
