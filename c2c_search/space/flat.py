"""Samplers for spaces without conditions, on a conditional one: `gp`, `cmaes`, `nsga2`, `nsga3`.

They are shown every trial with a value for every dimension: one that does not apply stands in its
middle (its first choice), as SMAC imputes it (Hutter et al., LION 2011), and is dropped from what
they suggest. Trials are shown by normal scores of their ranks, those that reached a later rung
above those that did not, as TPE orders them: so pruned trials teach them too, and no scale has to
be right (Salinas et al., ICML 2020).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIIISampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from c2c_search.errors import ConfigError
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.objectives import sign
from c2c_search.space.samplers import sampler
from c2c_search.space.samplers import startup_trials
from c2c_search.space.schema import Space
from c2c_search.space.shown import MEASURES
from c2c_search.space.shown import OnShown
from c2c_search.space.shown import distributions
from c2c_search.space.shown import made
from c2c_search.space.shown import suggested


Floats = npt.NDArray[np.float64]

_SMALLEST_POPULATION, _LARGEST_POPULATION = 4, 50
_SPREAD = 1 / 6  # of CMA-ES's first generation, in ranges: as Optuna has it


@sampler("gp", reference="Gaussian process with logEI (Ament et al., NeurIPS 2023)")
def gp(space: Space, seed: int) -> BaseSampler:
    """For a few hundred trials: its time grows with their cube."""
    startup = startup_trials(space)
    model = GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
    return _flat(space, model)


@sampler("nsga2", reference="NSGA-II (Deb et al., IEEE TEC 2002)")
def nsga2(space: Space, seed: int) -> BaseSampler:
    """A genetic algorithm: the better half of a generation and the one before are crossed."""
    return _flat(space, NSGAIISampler(population_size=population(space), seed=seed))


@sampler("nsga3", reference="NSGA-III (Deb and Jain, IEEE TEC 2014)")
def nsga3(space: Space, seed: int) -> BaseSampler:
    """The same with reference points, which tell several objectives apart; of one, none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _flat(space, NSGAIIISampler(population_size=population(space), seed=seed))


def population(space: Space) -> int:
    """Trials of a generation: a fifth of the budget, 4 to 50, unless the space says it."""
    fifth = space.search.trials // 5
    bounded = min(max(fifth, _SMALLEST_POPULATION), _LARGEST_POPULATION)
    return space.search.population or bounded


def _flat(space: Space, model: BaseSampler) -> BaseSampler:
    joint = {n: each for n, each in distributions(space.dimensions).items() if not each.single()}
    show = partial(flattened, space, key=f"{type(model).__name__}:generation")
    return OnShown(model, show, joint, space.search.bounds)


def flattened(space: Space, trials: Sequence[FrozenTrial], key: str) -> list[FrozenTrial]:
    """Trials with every dimension, scored by rank, and their generation under ``key``."""
    known = distributions(space.dimensions)
    missing = {name: _middle(each) for name, each in space.dimensions.items()}
    signs = [sign(name) for name in space.search.compared_by]
    ranked = [_scores(trials, index, one) for index, one in enumerate(signs)]
    size = population(space)
    found = []
    ended = 0
    for number, (trial, scores) in enumerate(zip(trials, zip(*ranked, strict=True), strict=True)):
        params = {**missing, **trial.params}
        if trial.state == TrialState.RUNNING:
            found.append(made(number, TrialState.RUNNING, None, params, known))
            continue
        attrs = {key: ended // size}
        values = [one * (score or 0.0) for one, score in zip(signs, scores, strict=True)]
        flat = made(
            number,
            TrialState.COMPLETE,
            values,
            params,
            known,
            user_attrs=_measured(space, trial),
            system_attrs=attrs,
        )
        found.append(flat)
        ended += 1
    return found


def _measured(space: Space, trial: FrozenTrial) -> dict[str, Any]:
    """What it is bounded by; of one that was pruned, its end is not known: it keeps to bounds."""
    if trial.state != TrialState.COMPLETE:
        return {MEASURES: dict(space.search.bounds)}
    return {MEASURES: trial.user_attrs.get(MEASURES, {})}


def _scores(trials: Sequence[FrozenTrial], index: int = 0, better: int = 1) -> list[float | None]:
    """Normal score of each trial's rank, the best's highest; None of one that runs.

    Args:
        trials: In their order.
        index: Of the objective.
        better: 1, or -1 where it is minimised.
    """
    ended = [number for number, trial in enumerate(trials) if trial.state != TrialState.RUNNING]
    found: list[float | None] = [None] * len(trials)

    def merit(number: int) -> tuple[float, float, int]:
        return *_merit(trials[number], index, better), -number

    for rank, number in enumerate(sorted(ended, key=merit)):
        found[number] = NormalDist().inv_cdf((rank + 0.5) / len(ended))
    return found


def _merit(trial: FrozenTrial, index: int, better: int) -> tuple[float, float]:
    """How far it came and how well it did there by an objective; by the first if it was pruned."""
    if trial.state == TrialState.COMPLETE and trial.values:
        return math.inf, better * trial.values[index]
    step = trial.last_step
    return (-1, 0) if step is None else (step, trial.intermediate_values[step])


def _middle(dimension: Dimension) -> Value:
    if dimension.choices is not None:
        return dimension.choices[0]
    return at(dimension, 0.5)


def at(dimension: Dimension, share: float) -> Value:
    """The value at a share in [0, 1) of a dimension, whose values have equal parts of it."""
    if dimension.values is not None and not dimension.log:
        return dimension.values[int(share * len(dimension.values))]
    low, high = dimension.integers or dimension.floats or (math.nan, math.nan)
    if dimension.integers is not None:  # in the logarithm, from half below the lowest
        low, high = low - 0.5, high + 0.5
    if dimension.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    if dimension.integers is not None:
        return min(max(round(value), dimension.integers[0]), dimension.integers[1])
    return min(max(value, low), high)


@sampler("cmaes", reference="CMA-ES (Hansen, arXiv 1604.00772)")
class CmaEs(BaseSampler):
    """Ranges by CMA-ES, generation by generation of the trials that ended; choices by TPE.

    Raises:
        ConfigError: The package ``cmaes`` is not installed.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._tpe = OnShown(TPESampler(seed=seed, multivariate=False))
        self._chance = RandomSampler(seed=seed)
        self._optimizer: Any = None
        self._ranges = {
            name: dimension
            for name, dimension in sorted(space.dimensions.items())
            if dimension.choices is None
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return distributions(self._ranges)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if len(self._ranges) < 2:  # with one range, covariance matrix adaptation has none
            return {}
        if self._optimizer is None:
            self._optimizer = self._evolved(suggested(study, but=trial.number))
        drawn = self._optimizer.ask()
        ranges = zip(self._ranges.items(), drawn, strict=True)
        return {name: at(each, min(float(one), 1 - 1e-9)) for (name, each), one in ranges}

    def _evolved(self, trials: Sequence[FrozenTrial]) -> Any:
        """CMA-ES after every whole generation of what has ended."""
        shape = len(self._ranges)
        optimizer = cmaes_package().CMA(
            mean=np.full(shape, 0.5),
            sigma=_SPREAD,
            bounds=np.tile([0.0, 1.0], (shape, 1)),
            seed=self._space.search.seed,
            n_max_resampling=10 * shape,
            population_size=self._space.search.population,
        )
        scored = [
            (self._place(trial.params), -score)
            for trial, score in zip(trials, _scores(trials), strict=True)
            if score is not None
        ]
        size = optimizer.population_size
        for first in range(0, len(scored) - size + 1, size):
            optimizer.tell(scored[first : first + size])
        optimizer._rng.seed(self._seed)  # as Optuna does: one state a suggestion
        return optimizer

    def _place(self, params: Params) -> Floats:
        """``(ranges,)`` where a trial stands in each, in [0, 1]."""
        return np.array([share(each, params.get(name)) for name, each in self._ranges.items()])

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        by = self._chance if param_name in self._ranges else self._tpe
        return by.sample_independent(study, trial, param_name, param_distribution)


def share(dimension: Dimension, value: Value) -> float:
    """Where in [0, 1] a value stands in a range; in its middle where it does not apply."""
    if value is None or isinstance(value, str):
        return 0.5
    low, high = dimension.integers or dimension.floats or (math.nan, math.nan)
    if dimension.integers is not None:
        half = (dimension.step or 1) / 2
        low, high = low - half, high + half
    if dimension.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def cmaes_package() -> Any:
    """The package ``cmaes``.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import cmaes
    except ImportError as error:
        raise ConfigError(
            "The sampler cmaes needs a package that is not installed.",
            value="cmaes",
            hint="pip install 'c2c-search[search]', or choose another sampler, e.g. "
            "tpe_multivariate.",
        ) from error
    return cmaes
