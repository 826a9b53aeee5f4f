"""Optuna's halving pruners, in which a trial that was interrupted counts once.

Whoever goes on with an interrupted trial has another number, and what had been noted of it by
then; the one that was given up keeps that too.
"""

from __future__ import annotations

from collections.abc import Container
from copy import copy
from typing import TYPE_CHECKING
from typing import Any
from typing import cast

from optuna.pruners import HyperbandPruner
from optuna.pruners import SuccessiveHalvingPruner

from c2c_search.space.order import RETRY_OF
from c2c_search.space.order import all_trials
from c2c_search.space.order import ordinals


if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import TrialState

_NOWHERE = -1  # a bracket that nobody asks for


class Halving(SuccessiveHalvingPruner):
    """Compares a trial with those that were not given up for another attempt."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return super().prune(cast("Study", _LastAttempts(study)), trial)


class Hyperband(HyperbandPruner):
    """The same in brackets, which follow from a trial's place among the suggestions.

    Optuna takes its number, which is another one after an interruption.
    """

    _places: tuple[int, list[int]] = (-1, [])  # of a study, by its id

    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        known, places = self._places
        if known != study._study_id or trial.number >= len(places):
            trials = all_trials(study)
            places = ordinals(trials)
            for number in _given_up(trials):
                places[number] = _NOWHERE
            self._places = study._study_id, places
        if places[trial.number] == _NOWHERE:
            return _NOWHERE
        placed = copy(trial)
        placed.number = places[trial.number]
        return super()._get_bracket_id(study, placed)


class _LastAttempts:
    """What Optuna's halving asks of a study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._storage = study._storage
        self.direction = study.direction

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=deepcopy, states=states)
        given_up = _given_up(trials)
        return [trial for trial in trials if trial.number not in given_up]


def _given_up(trials: list[FrozenTrial]) -> set[Any]:
    """Numbers of those that another trial goes on with."""
    return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}
