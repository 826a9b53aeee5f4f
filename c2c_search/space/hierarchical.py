"""Sampler `tpe_hierarchical`, for spaces with conditions."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import applies
from c2c_search.space.dimensions import in_order
from c2c_search.space.samplers import sampler
from c2c_search.space.samplers import startup_trials
from c2c_search.space.schema import Space
from c2c_search.space.shown import OfSpace
from c2c_search.space.shown import ShownStudy
from c2c_search.space.shown import distributions
from c2c_search.space.shown import suggested


@sampler(
    "tpe_hierarchical",
    reference="One TPE a branch, from the root down, as in OptunaHub's HierarchicalTPESampler "
    "(Bratholm), with the branches that the conditions name",
)
class HierarchicalTpe(OfSpace):
    """Multivariate TPE of dimensions with the same condition, those of the root first.

    A branch learns from the trials alone that took it: whose values the condition refers to are
    those just drawn. As long as fewer than ``startup_trials`` did, it is drawn by chance.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self._distributions = distributions(space.dimensions)
        self._tpe = TPESampler(
            seed=seed,
            n_startup_trials=startup_trials(space),
            multivariate=True,
            constant_liar=space.search.constant_liar is not False,
        )

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = suggested(study, but=trial.number)
        params: Params = {}
        for names in self._branches():
            dimension = self._space.dimensions[names[0]]
            if not applies(dimension, params):
                continue
            taken = {other: params[other] for other in dimension.when}
            alike = [each for each in trials if taken.items() <= each.params.items()]
            shown = ShownStudy(alike, study.directions, self._space.search.bounds)
            params |= self._branch(shown, names)
        return params

    def _branches(self) -> list[list[str]]:
        """Names with the same condition, each after those that it refers to."""
        conditions = {name: str(each.when) for name, each in self._space.dimensions.items()}
        order = in_order(self._space.dimensions)
        depth: dict[str, int] = {}
        for name in order:
            when = self._space.dimensions[name].when
            depth[name] = 1 + max((depth[other] for other in when), default=-1)

        def branch(name: str) -> tuple[int, str]:
            return depth[name], conditions[name]

        return [list(names) for _, names in groupby(sorted(order, key=branch), key=branch)]

    def _branch(self, study: ShownStudy, names: list[str]) -> Params:
        known = {name: self._distributions[name] for name in sorted(names)}
        joint = {name: each for name, each in known.items() if not each.single()}
        drawn = self._tpe.sample_relative(study, study.asked, joint)
        for name, each in known.items():
            if name not in drawn:
                drawn[name] = self._chance.sample_independent(study, study.asked, name, each)
        return drawn
