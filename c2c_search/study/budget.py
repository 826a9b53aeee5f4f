"""When a study asks for no more trials, though it has some left."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge
from typing import TYPE_CHECKING

from c2c_search.host.wording import counted
from c2c_search.space.declaration import Search
from c2c_search.space.front import beyond
from c2c_search.space.objectives import sign
from c2c_search.space.shown import MEASURES
from c2c_search.study.resume import KNOWN_FROM


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def spent(trials: Sequence[FrozenTrial], search: Search) -> str:
    """Why no more trials are asked for, in a sentence; empty as long as they are.

    It follows from the trials that have ended, so that a study which was interrupted ends where
    an undisturbed one would; those that run when a budget is spent run to their end.

    Args:
        trials: Those that have ended for good.
        search: Their study's budgets.
    """
    if search.hours is not None and (hours := hours_of(trials)) >= search.hours:
        return f"search.hours are spent: {hours:.1f} of {search.hours:g} went to trials."
    if search.steps is not None and (steps := steps_of(trials)) >= search.steps:
        return f"search.steps are spent: trials took {steps} of {counted(search.steps, 'step')}."
    if search.patience is not None and (idle := without_gain(trials, search)) >= search.patience:
        chance = chance_of_gain(len(trials), idle)
        return (
            f"search.patience is over: {counted(idle, 'trial')} in a row found nothing better; as "
            f"many more would with a probability of {chance:.2f}, if trials came by chance."
        )
    return ""


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


def steps_of(trials: Sequence[FrozenTrial]) -> int:
    """Optimizer steps to the last rung of each; none where another study has trained it."""
    trained = (trial for trial in trials if KNOWN_FROM not in trial.user_attrs)
    return sum(trial.last_step or 0 for trial in trained)


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
