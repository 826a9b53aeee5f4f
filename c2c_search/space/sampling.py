"""Trials out of a space, suggested by Optuna.

A candidate that is too large must never reach the sampler's memory: pruned or failed after its
suggestion, it would teach the sampler to avoid what resembles it. `SpaceSampler` therefore
draws a whole candidate at once, throws away those that do not fit or that the study has tried
already (to four digits), and hands Optuna the first that is left: no trial number is spent on the
others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import chain
from itertools import repeat
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import BaseTrial
from optuna.trial import FrozenTrial

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.space.alike import Tried
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import walk
from c2c_search.space.order import all_trials
from c2c_search.space.order import ordinal
from c2c_search.space.pareto_pruner import ParetoHalving
from c2c_search.space.pruners import PRUNERS
from c2c_search.space.samplers import SAMPLERS
from c2c_search.space.schema import Space
from c2c_search.space.shown import distribution


Fits = Callable[[TrialConfig], bool]

_LEARNED_DRAWS = 50
_RANDOM_DRAWS = 1000
_SECONDS = 120.0  # of looking for a first candidate within the limits


class DoesNotFit(ConfigError):
    """A candidate beyond ``limits``, or a space in which no candidate was found within them."""


def suggest(space: Space, trial: BaseTrial, *, fits: Fits | None = None) -> TrialConfig:
    """Ask an Optuna trial for a point of the space.

    Dimensions are asked in the order of their conditions, under their dotted names; one whose
    condition does not hold is not asked. In a study whose sampler is `make_sampler`'s, with the
    same ``fits``, only enqueued settings can fail to fit.

    Args:
        space: The space.
        trial: The trial to ask.
        fits: Whether a candidate keeps to the limits.

    Raises:
        DoesNotFit: If the point does not keep to the limits.
    """
    params = walk(space.dimensions, lambda name, dimension: _ask(trial, name, dimension))
    config = space.configuration(params)
    if fits is not None and not fits(config):
        rule = "This setting's fuser is beyond the space's `limits`."
        raise DoesNotFit(rule, value=params, hint="Drop it from `enqueue`, or raise the limits.")
    return config


def make_sampler(space: Space, *, fits: Fits | None = None) -> BaseSampler:
    """The sampler that ``search.sampler`` names, restricted to candidates that fit."""
    return SpaceSampler(space, fits=fits)


def make_pruner(space: Space) -> BasePruner:
    """The pruner that ``search.pruner`` names; the resource is the optimizer step.

    Report each rung at its step, and ask whether to prune at every rung but the last; under
    several objectives see `ParetoHalving`.
    """
    if space.search.objectives is not None and space.search.pruner != "none":
        return ParetoHalving(space)
    return PRUNERS[space.search.pruner].make(space)


class SpaceSampler(BaseSampler):
    """Draws whole candidates of a space and hands out the first that fits and is new.

    Every suggestion has a random state of its own, made from the space's seed and how many
    suggestions came before it. A trial that goes on with an interrupted one has another number,
    but is no new suggestion: the study goes on with the suggestions that it would have had.

    Args:
        space: The space, with the sampler to draw with.
        fits: Whether a candidate keeps to the limits.

    Raises:
        DoesNotFit: While sampling, if no candidate that fits is found.
    """

    def __init__(self, space: Space, *, fits: Fits | None = None) -> None:
        self._space = space
        self._fits = fits
        self._study: tuple[object, int] | None = None  # whose trials are known
        self._tried = Tried()  # by those that have ended
        self._known: set[int] = set()  # their numbers

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {name: distribution(each) for name, each in self._space.dimensions.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = all_trials(study)
        if self._study != (study._storage, study._study_id):
            self._study = study._storage, study._study_id
            self._tried, self._known = Tried(), set()
        running = self._running(trials, trial)
        enqueued = trial.system_attrs.get("fixed_params", {})
        repeated: Params | None = None
        draws, began = 0, time.monotonic()
        before = ordinal(trials, trial.number)
        for candidate in self._candidates(study, trial, search_space, enqueued, before):
            if candidate.keys() <= enqueued.keys():
                return candidate
            draws += 1
            if self._fits is not None and not self._fits(self._space.configuration(candidate)):
                if repeated is None and time.monotonic() - began > _SECONDS:
                    break
                continue
            if candidate not in self._tried and candidate not in running:
                return candidate
            repeated = repeated or candidate
        if repeated is None:
            seconds = time.monotonic() - began
            rule = f"No candidate within `limits` in {draws} draws and {seconds:.0f} s."
            raise DoesNotFit(rule, hint="Raise the limits or narrow the dimensions.")
        return repeated

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        sampler = self._inner(ordinal(all_trials(study), trial.number))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _running(self, trials: Sequence[FrozenTrial], own: FrozenTrial) -> Tried:
        """Settings of other trials that have not ended; those that have are known from now on."""
        running = Tried()
        for trial in trials:
            if trial.number in self._known:
                continue
            if trial.state.is_finished():
                self._tried.add(trial.params)
                self._known.add(trial.number)
            elif trial.number != own.number:
                running.add(trial.params)
        return running

    def _candidates(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        enqueued: Params,
        before: int,
    ) -> Iterator[Params]:
        """Candidates by the space's sampler; later by chance, where it knows of no others."""
        learned, chance = self._inner(before), RandomSampler(seed=self._seed(before))
        samplers: Sequence[tuple[BaseSampler, int]] = (
            (learned, _LEARNED_DRAWS),
            (chance, _RANDOM_DRAWS),
        )
        for sampler in chain.from_iterable(repeat(each, times) for each, times in samplers):
            joint = sampler.infer_relative_search_space(study, trial)
            values = {**sampler.sample_relative(study, trial, joint), **enqueued}

            def pick(
                name: str,
                dimension: Dimension,
                sampler: BaseSampler = sampler,
                values: Params = values,
            ) -> Value:
                if name in values:
                    return values[name]
                value: Value = sampler.sample_independent(study, trial, name, search_space[name])
                return value

            yield walk(self._space.dimensions, pick)

    def _inner(self, suggestions: int) -> BaseSampler:
        make = SAMPLERS[self._space.search.sampler].make
        return make(self._space, self._seed(suggestions))

    def _seed(self, suggestions: int) -> int:
        sequence = np.random.SeedSequence([self._space.search.seed, suggestions])
        return int(sequence.generate_state(1)[0])


def _ask(trial: BaseTrial, name: str, dimension: Dimension) -> Value:
    if dimension.integers is not None:
        low, high = dimension.integers
        return trial.suggest_int(name, low, high, step=dimension.step or 1, log=dimension.log)
    if dimension.floats is not None:
        return trial.suggest_float(name, *dimension.floats, log=dimension.log)
    assert dimension.choices is not None
    value: Value = trial.suggest_categorical(name, dimension.choices)
    return value
