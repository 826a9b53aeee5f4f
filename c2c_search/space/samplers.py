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

_STARTUP_TRIALS = 10


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


SAMPLERS: Register[Sampler] = Register("sampler", {})
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


@sampler("auto", reference="TPE (Bergstra et al., NeurIPS 2011), starting to learn earlier")
def auto(space: Space, seed: int) -> BaseSampler:
    """TPE that starts after the enqueued settings and a quarter of the trials, at most 10."""
    from optuna.samplers import TPESampler

    startup = len(space.enqueue) + space.search.trials // 4
    return TPESampler(seed=seed, n_startup_trials=max(1, min(_STARTUP_TRIALS, startup)))


@sampler("tpe", reference="TPE (Bergstra et al., NeurIPS 2011)")
def tpe(space: Space, seed: int) -> BaseSampler:
    """TPE that starts after 10 trials, Optuna's default."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)


@sampler("random", reference="Random search (Bergstra and Bengio, JMLR 2012)")
def random(space: Space, seed: int) -> BaseSampler:
    """No learning."""
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)
