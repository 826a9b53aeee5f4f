"""Pruners, by the names that ``search.pruner`` takes."""

from __future__ import annotations

import warnings
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

PERCENTILE = 75.0
"""Some fusers begin to listen late: only the worst quarter stops unless a space says otherwise."""


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


PRUNERS: Register[Pruner] = Register("pruner", {"wilcoxon": "c2c_search.space.block_pruner"})
PrunerName = Annotated[str, AfterValidator(PRUNERS.check)]


def rung_blocks(step: int) -> str:
    """User attribute of a trial: the objective of each block of validation at a rung."""
    return f"blocks/{step}"


def rung_measures(step: int) -> str:
    """User attribute of a trial: what several objectives know of it at a rung, by name."""
    return f"measures/{step}"


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
    from c2c_search.space.halving import Hyperband

    steps = space.pipeline.training.rung_steps
    return Hyperband(
        min_resource=steps[0],
        max_resource=steps[-1],
        reduction_factor=space.search.reduction_factor,
    )


@pruner("asha", reference="Asynchronous successive halving (Li et al., MLSys 2020)")
@pruner("halving", reference="Asynchronous successive halving (Li et al., MLSys 2020)")
def halving(space: Space) -> BasePruner:
    """One trial in ``search.reduction_factor`` goes on from a rung, of those that came there."""
    from c2c_search.space.halving import Halving

    return Halving(
        min_resource=space.pipeline.training.rung_steps[0],
        reduction_factor=space.search.reduction_factor,
    )


@pruner("median", reference="The median stopping rule (Golovin et al., KDD 2017)")
def median(space: Space) -> BasePruner:
    """A trial below the median of those before it stops."""
    from optuna.pruners import MedianPruner

    return MedianPruner()


@pruner("percentile", reference="The median stopping rule (Golovin et al., KDD 2017) elsewhere")
def percentile(space: Space) -> BasePruner:
    """A trial below the best ``search.percentile`` percent of those before it stops."""
    from optuna.pruners import PercentilePruner

    return PercentilePruner(PERCENTILE if (wanted := space.search.percentile) is None else wanted)


@pruner("patient", reference="Early stopping with patience (Prechelt, 1998) before halving")
def patient(space: Space) -> BasePruner:
    """`halving`, but a trial that still improves goes on.

    It stops only once its best of the last ``search.patient_rungs`` + 1 rungs is below its best
    of those before.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.pruners import PatientPruner

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PatientPruner(halving(space), space.search.patient_rungs or 0)


@pruner("none", reference="No early stopping")
def none(space: Space) -> BasePruner:
    """Every trial goes to the end."""
    from optuna.pruners import NopPruner

    return NopPruner()
