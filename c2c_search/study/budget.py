"""When a study asks for no more trials, though it has some left."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ge
from typing import TYPE_CHECKING

from c2c_search.host.wording import counted
from c2c_search.space.declaration import Search
from c2c_search.space.objectives import sign


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
    if (
        search.patience is not None
        and (idle := without_gain(trials, search.compared_by)) >= search.patience
    ):
        return f"search.patience is over: {counted(idle, 'trial')} in a row found nothing better."
    return ""


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
    """Optimizer steps to the last rung of each."""
    return sum(trial.last_step or 0 for trial in trials)


def without_gain(trials: Sequence[FrozenTrial], objectives: Sequence[str] = ("margin",)) -> int:
    """Trials since one that ran to its end was better than all before it.

    Of several objectives: since none of those before it was as good by all of them.
    """
    known: list[Sequence[float]] = []
    since = 0
    for trial in trials:
        since += 1
        if trial.state.name != "COMPLETE":
            continue
        point = [sign(name) * one for name, one in zip(objectives, trial.values, strict=True)]
        if not any(all(map(ge, other, point)) for other in known):
            since = 0
            known.append(point)
    return since
