"""Which of a study's suggestions a trial is, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

RETRY_OF = "retry_of"  # user attribute: number of the trial that this one goes on with


def all_trials(study: Study) -> list[FrozenTrial]:
    """Every trial, by number: under Hyperband a sampler is handed one bracket's alone."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def ordinals(trials: Sequence[FrozenTrial]) -> list[int]:
    """Of each trial, by number, which suggestion it is, from 0; a retry goes on with an earlier.

    Args:
        trials: All of a study's, by number.
    """
    places: list[int] = []
    fresh = 0
    for trial in trials:
        before = trial.user_attrs.get(RETRY_OF)
        places.append(fresh if before is None else places[before])
        fresh += before is None
    return places


def ordinal(trials: Sequence[FrozenTrial], number: int) -> int:
    """Which of a study's suggestions a trial is; one that is not among them is a new one.

    Args:
        trials: All of a study's, by number; what comes after this one says nothing.
        number: Of the trial.
    """
    for trial in trials[number : number + 1]:
        if (before := trial.user_attrs.get(RETRY_OF)) is not None:
            return ordinal(trials, before)
    return sum(RETRY_OF not in trial.user_attrs for trial in trials[:number])
