"""Samplers that learn nothing: `grid` and `qmc`, points that stand before the first trial.

A suggestion is the first point that no trial has; which that is follows from the trials alone.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from random import Random
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from c2c_search.space.alike import Tried
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import applies
from c2c_search.space.dimensions import in_order
from c2c_search.space.flat import at
from c2c_search.space.grid_size import grid_values
from c2c_search.space.order import all_trials
from c2c_search.space.samplers import sampler
from c2c_search.space.schema import Space
from c2c_search.space.shown import OfSpace


class _Design(OfSpace):
    """Suggests the points of a sequence one after another."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self._untried: Iterator[Params] | None = None

    @abstractmethod
    def _points(self) -> Iterator[Params]:
        """Values of all dimensions, also of those that do not apply, in the same order always."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self._untried is None:
            others = (each for each in all_trials(study) if each.number != trial.number)
            self._untried = self._new(Tried(each.params for each in others))
        return next(self._untried, {})

    def _new(self, tried: Tried) -> Iterator[Params]:
        dimensions = self._space.dimensions
        order = in_order(dimensions)
        for point in self._points():
            params: Params = {}
            for name in order:
                if applies(dimensions[name], params):
                    params[name] = point[name]
            if params not in tried:
                yield params


@sampler("grid", reference="Grid search, in the order of a rank-1 lattice")
class Grid(_Design):
    """Every combination of choices, integers and ``search.grid_points`` points of each range."""

    def _points(self) -> Iterator[Params]:
        values = grid_values(self._space.dimensions, self._space.search.grid_points)
        size = math.prod(map(len, values.values()))
        # A stride without common divisor meets every point once, far from the one before.
        rng = Random(f"grid/{self._space.search.seed}")
        stride = next(s for s in iter(lambda: rng.randrange(1, size + 1), 0) if _coprime(s, size))
        for number in range(size):
            place, point = number * stride % size, dict[str, Value]()
            for name, known in values.items():
                place, digit = divmod(place, len(known))
                point[name] = known[digit]
            yield point


@sampler("qmc", reference="Scrambled Sobol' sequence (Owen, J. Complexity 1998)")
class QuasiRandom(_Design):
    """Covers the space evenly, every choice and every part of a range alike."""

    def _points(self) -> Iterator[Params]:
        from scipy.stats.qmc import Sobol

        names = sorted(self._space.dimensions)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it is balanced at powers of two
            engine = Sobol(len(names), scramble=True, rng=self._space.search.seed)
            while True:
                for row in engine.random(64):
                    shares = zip(names, map(float, row), strict=True)
                    yield {name: at(self._space.dimensions[name], one) for name, one in shares}


def _coprime(one: int, other: int) -> bool:
    return math.gcd(one, other) == 1
