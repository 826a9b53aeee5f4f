"""Pruner `halving` under several objectives, where Optuna's own compare nothing."""

from __future__ import annotations

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from c2c_search.space.objectives import sign
from c2c_search.space.pareto import ranks
from c2c_search.space.pruners import rung_measures
from c2c_search.space.schema import Space


class ParetoHalving(BasePruner):
    """Asynchronous halving by Pareto rank of what is known at a rung: scores and parameters.

    A trial stops where at least one in ``search.reduction_factor`` of those that came to its
    rung, and at least one, lie on better fronts. So the first front always goes on, however many
    trials it has. A rung's measures are expected in the trial's `rung_measures`.

    Source: Li et al., MLSys 2020, with the ranks of Deb et al., IEEE TEC 2002.
    """

    def __init__(self, space: Space) -> None:
        self._objectives = space.search.compared_by
        self._factor = space.search.reduction_factor

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if trial.last_step is None:
            return False
        key = rung_measures(trial.last_step)
        came = {
            each.number: each.user_attrs[key]
            for each in study.get_trials(deepcopy=False)
            # One that was interrupted stands there as the trial that goes on with it.
            if key in each.user_attrs and each.state != TrialState.FAIL
        }
        if trial.number not in came:
            return False
        mine = came[trial.number]
        known = [name for name in self._objectives if name in mine]
        points = [tuple(sign(name) * each[name] for name in known) for each in came.values()]
        found = dict(zip(came, ranks(points), strict=True))
        better = sum(rank < found[trial.number] for rank in found.values())
        return better >= max(1, len(came) // self._factor)
