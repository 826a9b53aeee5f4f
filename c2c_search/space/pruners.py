"""Pruners, by the names that ``search.pruner`` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Annotated
from typing import TypeVar

from pydantic import AfterValidator

from c2c_search.plugins import Register


if TYPE_CHECKING:
    from optuna.pruners import BasePruner

    from c2c_search.space.schema import Space

Make = TypeVar("Make", bound="Callable[[Space], BasePruner]")


@dataclass(frozen=True)
class Pruner:
    """A pruner that a space can name.

    Args:
        name: As in YAML.
        reference: Where it is described.
        make: Gives Optuna's pruner from the space.
    """

    name: str
    reference: str
    make: Callable[[Space], BasePruner]


PRUNERS: Register[Pruner] = Register("pruner", {})
PrunerName = Annotated[str, AfterValidator(PRUNERS.check)]


def pruner(name: str, *, reference: str) -> Callable[[Make], Make]:
    """Register what makes an Optuna pruner from a `Space`: a function or a class.

    The resource is the optimizer step; every rung but the last is judged, and higher is better.
    `c2c_search.testing.PrunerConformance` tells whether a study can run with it.

    Args:
        name: As in YAML.
        reference: Where it is described, e.g. its paper.

    Raises:
        ConfigError: Another pruner has the name.
    """

    def register(make: Make) -> Make:
        PRUNERS.add(name, make, Pruner(name, reference, make))
        return make

    return register


@pruner("hyperband", reference="Hyperband (Li et al., JMLR 2018)")
def hyperband(space: Space) -> BasePruner:
    """Successive halving in brackets that begin to prune at different rungs."""
    from optuna.pruners import HyperbandPruner

    steps = space.pipeline.training.rung_steps
    return HyperbandPruner(
        min_resource=steps[0],
        max_resource=steps[-1],
        reduction_factor=space.search.reduction_factor,
    )


@pruner("halving", reference="Asynchronous successive halving (Li et al., MLSys 2020)")
def halving(space: Space) -> BasePruner:
    """One trial in ``search.reduction_factor`` goes on from a rung."""
    from optuna.pruners import SuccessiveHalvingPruner

    return SuccessiveHalvingPruner(
        min_resource=space.pipeline.training.rung_steps[0],
        reduction_factor=space.search.reduction_factor,
    )


@pruner("median", reference="The median stopping rule (Golovin et al., KDD 2017)")
def median(space: Space) -> BasePruner:
    """A trial below the median of those before it stops."""
    from optuna.pruners import MedianPruner

    return MedianPruner()


@pruner("none", reference="No early stopping")
def none(space: Space) -> BasePruner:
    """Every trial goes to the end."""
    from optuna.pruners import NopPruner

    return NopPruner()
