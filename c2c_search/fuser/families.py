"""Projector families by name: what each is, needs and can, declared in one place.

Light, so that a configuration can be checked without torch; the networks are in `projectors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.fuser.twins import Twin
from c2c_search.fuser.twins import checked_twin
from c2c_search.plugins import Register


if TYPE_CHECKING:
    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.projectors import Projector
    from c2c_search.fuser.projectors import Shape


BuildProjector = Callable[["FuserConfig", "Shape"], "Projector"]
"""A class that is a `Projector`, or a function that makes one."""

_Plugin = TypeVar("_Plugin", bound=BuildProjector)


@dataclass(frozen=True)
class ProjectorFamily:
    """A projector family; see `projector` for what is declared."""

    name: str
    reference: str
    build: BuildProjector
    twin: Twin
    reads_receiver: bool
    takes_rank: bool
    ridge_start: bool
    closed_form: bool


PROJECTORS: Register[ProjectorFamily] = Register("projector family", {})


def projector(
    name: str,
    *,
    reference: str,
    twin: Twin,
    reads_receiver: bool = True,
    takes_rank: bool = False,
    ridge_start: bool = False,
    closed_form: bool = False,
) -> Callable[[_Plugin], _Plugin]:
    """Declare a projector family.

    Args:
        name: As in ``fuser.projector``.
        reference: Where it comes from: a paper, or whose idea it is.
        twin: Its no-sharer twin, where the injection leaves one to choose.
        reads_receiver: Whether it looks at the receiver's token.
        takes_rank: Whether ``rank`` means something to it.
        ridge_start: Whether it can start from the closed-form map, ``initialisation: ridge``;
            it then has `Projector.fit`.
        closed_form: Whether all of it is that map, so that nothing is trained.

    Raises:
        ConfigError: The name is taken, or the twin is none.
    """
    checked_twin(twin, f"projector family {name}")

    def register(plugin: _Plugin) -> _Plugin:
        family = ProjectorFamily(
            name, reference, plugin, twin, reads_receiver, takes_rank, ridge_start, closed_form
        )
        PROJECTORS.add(name, plugin, family)
        return plugin

    return register


@projector(
    "c2c",
    reference="C2C (arXiv 2510.03215), section 3.3; the published C2CProjector",
    twin="itself",
)
def c2c(config: FuserConfig, shape: Shape) -> Projector:
    """See `C2CProjector`."""
    from c2c_search.fuser.projectors import C2CProjector

    return C2CProjector(config, shape)


@projector(
    "joint",
    reference="after Latent Cache Flow (arXiv 2605.22863)",
    twin="itself",
    takes_rank=True,
    ridge_start=True,
)
def joint(config: FuserConfig, shape: Shape) -> Projector:
    """See `JointProjector`."""
    from c2c_search.fuser.projectors import JointProjector

    return JointProjector(config, shape)


@projector(
    "linear",
    reference="one affine map, as arXiv 2608.03893 fits in closed form; trained",
    twin="published",
    takes_rank=True,
    ridge_start=True,
)
def linear(config: FuserConfig, shape: Shape) -> Projector:
    """See `LinearProjector`."""
    from c2c_search.fuser.projectors import LinearProjector

    return LinearProjector(config, shape)


@projector(
    "ridge",
    reference="closed-form ridge, arXiv 2608.03893",
    twin="published",
    reads_receiver=False,
    closed_form=True,
)
def ridge(config: FuserConfig, shape: Shape) -> Projector:
    """See `RidgeProjector`."""
    from c2c_search.fuser.projectors import RidgeProjector

    return RidgeProjector(config, shape)
