"""Samplers, by the names that ``search.sampler`` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Annotated
from typing import TypeVar

from pydantic import AfterValidator

from c2c_search.plugins import Register


if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from c2c_search.space.schema import Space

Make = TypeVar("Make", bound="Callable[[Space, int], BaseSampler]")

STARTUP_TRIALS = 10
"""Suggested by chance before a sampler learns, unless ``search.startup_trials`` says otherwise."""


def startup_trials(space: Space, otherwise: int = STARTUP_TRIALS) -> int:
    """How many trials are suggested by chance: what the space says, or else so many."""
    said = space.search.startup_trials
    return otherwise if said is None else said


@dataclass(frozen=True)
class Sampler:
    """A sampler that a space can name.

    Args:
        name: As in YAML.
        reference: Where it is described.
        make: Gives Optuna's sampler from the space and a seed.
    """

    name: str
    reference: str
    make: Callable[[Space, int], BaseSampler]


_HOME = "c2c_search.space"
SAMPLERS: Register[Sampler] = Register(
    "sampler",
    {
        "auto": f"{_HOME}.samplers",
        "tpe": f"{_HOME}.samplers",
        "tpe_multivariate": f"{_HOME}.samplers",
        "tpe_hierarchical": f"{_HOME}.hierarchical",
        "gp": f"{_HOME}.flat",
        "cmaes": f"{_HOME}.flat",
        "nsga2": f"{_HOME}.flat",
        "nsga3": f"{_HOME}.flat",
        "random": f"{_HOME}.samplers",
        "grid": f"{_HOME}.designs",
        "qmc": f"{_HOME}.designs",
    },
)
SamplerName = Annotated[str, AfterValidator(SAMPLERS.check)]


def sampler(name: str, *, reference: str) -> Callable[[Make], Make]:
    """Register what makes an Optuna sampler from a `Space` and a seed: a function or a class.

    It is called anew for every trial, with another seed: what the sampler learns, it learns from
    the study's trials, so that an interrupted study goes on as it would have.
    `c2c_search.testing.SamplerConformance` tells whether it keeps to that.

    Args:
        name: As in YAML.
        reference: Where it is described, e.g. its paper.

    Raises:
        ConfigError: Another sampler has the name.
    """

    def register(make: Make) -> Make:
        SAMPLERS.add(name, make, Sampler(name, reference, make))
        return make

    return register


@sampler("auto", reference="TPE (Falkner et al., ICML 2018), starting to learn earlier")
def auto(space: Space, seed: int) -> BaseSampler:
    """`tpe_multivariate` that starts after the enqueued settings and a quarter of the trials."""
    startup = len(space.enqueue) + space.search.trials // 4
    return _tpe(space, seed, True, max(1, min(STARTUP_TRIALS, startup)))


@sampler("tpe", reference="TPE (Bergstra et al., NeurIPS 2011)")
def tpe(space: Space, seed: int) -> BaseSampler:
    """Each dimension alone."""
    return _tpe(space, seed, False, STARTUP_TRIALS)


@sampler("tpe_multivariate", reference="Multivariate TPE (Falkner et al., ICML 2018)")
def tpe_multivariate(space: Space, seed: int) -> BaseSampler:
    """What always applies together, what is conditional alone; Optuna's default."""
    return _tpe(space, seed, True, STARTUP_TRIALS)


def _tpe(space: Space, seed: int, multivariate: bool, startup: int) -> BaseSampler:
    from optuna.samplers import TPESampler

    from c2c_search.space.shown import OnShown

    sampler = TPESampler(
        seed=seed,
        n_startup_trials=startup_trials(space, startup),
        multivariate=multivariate,
        constant_liar=space.search.constant_liar is not False,
    )
    return OnShown(sampler, bounds=space.search.bounds)


@sampler("random", reference="Random search (Bergstra and Bengio, JMLR 2012)")
def random(space: Space, seed: int) -> BaseSampler:
    """No learning."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
