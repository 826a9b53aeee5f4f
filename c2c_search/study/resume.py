"""What an earlier run of the same study left behind, put right before going on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.space.order import RETRY_OF
from c2c_search.tracking.reconcile import RUN_ID


if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FAILURE = "failure"  # user attributes of a trial
HASH = "trial_hash"
KNOWN_FROM = "known_from"  # the study that trained it; it took no steps here
WORK = "work"  # what a trial's training has taken until its last rung, by name
_CARRIED = (RUN_ID, KNOWN_FROM, WORK)
_OF_RUNGS = ("blocks/", "measures/")  # what pruners compare trials by at a rung
_RUNG = "completed_rung_"  # where Optuna's halving notes the rungs that a trial has passed


def recover(study: Study, lives: Callable[[FrozenTrial], bool] = lambda trial: False) -> list[int]:
    """Queue every trial that was interrupted, however it was, to go on from its checkpoint.

    A trial that ended for good is complete, pruned, or failed with a class of failure. Any other
    one was interrupted: in state running (the process was killed) or failed without a class. It
    is given up and queued again with its parameters, its run and its reports. Calling this twice
    queues nothing twice, and a crash in between loses nothing.

    Must only be called by the study's sole driver, or while it is its turn to ask.

    Args:
        study: Optuna's study.
        lives: Whether a trial in state running is trained by a process that lives.

    Returns:
        Numbers of the trials that were interrupted.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    interrupted = []
    for trial in trials:
        if trial.state == TrialState.RUNNING:
            if lives(trial):
                continue
            study.tell(trial.number, state=TrialState.FAIL)
        elif trial.state != TrialState.FAIL or FAILURE in trial.user_attrs:
            continue
        if trial.number not in retried:
            requeue(study, trial)
            interrupted.append(trial.number)
    return interrupted


def requeue(study: Study, trial: FrozenTrial) -> None:
    """Queue a trial again with its parameters, its run and its reports.

    Must only be called by the study's sole driver.
    """
    import optuna

    # Not the whole of its attributes, as Optuna's own retry callback copies them.
    carried = {name: each for name, each in trial.user_attrs.items() if name in _CARRIED}
    carried |= of_rungs(trial)
    system: dict[str, Any] = {
        name: value
        for name, value in trial.system_attrs.items()
        if name == "fixed_params" or name.startswith(_RUNG)
    }
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**carried, RETRY_OF: trial.number},
            system_attrs=system,
            intermediate_values=trial.intermediate_values,
        )
    )


def of_rungs(trial: FrozenTrial) -> dict[str, Any]:
    """What of a trial's user attributes pruners compare it by at its rungs."""
    return {k: each for k, each in trial.user_attrs.items() if k.startswith(_OF_RUNGS)}


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that ended for good; see `ended`."""
    return ended(study.get_trials(deepcopy=False))


def ended(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those of a study that ended for good; only these count against the budget.

    One that failed for good and was queued again counts by its new attempt.

    Args:
        trials: All of the study.
    """
    from optuna.trial import TrialState

    retried = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        or (
            trial.state == TrialState.FAIL
            and FAILURE in trial.user_attrs
            and trial.number not in retried
        )
    ]


def counts(study: Study) -> Counter[str]:
    """How many trials ended for good as ``complete``, ``pruned`` and ``failed``."""
    return count(finished(study))


def count(trials: Sequence[FrozenTrial]) -> Counter[str]:
    """The same of those that `ended`."""
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    return Counter(names[trial.state.name] for trial in trials)


def complete(study: Study) -> list[FrozenTrial]:
    """The trials that ran to their last rung."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
