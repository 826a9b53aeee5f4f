"""Which of a study's suggestions a trial is, however often it was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from optuna import Study

RETRY_OF = "retry_of"  # user attribute: number of the trial that this one goes on with


def ordinal(study: Study, number: int) -> int:
    """Which of a study's suggestions a trial is, from 0; a retry is the one it goes on with."""
    trials = study.get_trials(deepcopy=False)
    while (before := trials[number].user_attrs.get(RETRY_OF)) is not None:
        number = before
    return sum(RETRY_OF not in trial.user_attrs for trial in trials[:number])
