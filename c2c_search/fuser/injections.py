"""Injections: how what is projected reaches the receiver, by name.

Light, so that a configuration can be checked without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal
from typing import TypeVar
from typing import get_args

from c2c_search.errors import ConfigError
from c2c_search.errors import suggestion
from c2c_search.fuser.twins import Twin
from c2c_search.fuser.twins import checked_twin
from c2c_search.plugins import Register


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.normalisation import Normalisation


Projects = Literal["change", "cache", "entries", "memory"]
"""What a projection stands for.

``change``: for what is added to the receiver's cache. ``cache``: for that cache itself, which
closed-form maps predict. ``entries``: for cache entries beside the receiver's own. ``memory``: for
keys and values that a second attention reads, beside the receiver's own, in the fused layers.

Entries and memory belong to none of the receiver's tokens, so the sharer may read something else,
in whatever length; the projector sees the sharer alone; there is no weight, and gates are those of
the values alone; and there is no token of a response to fuse. Where the gate of entries is shut,
attention still sees them, and finds nothing.
"""

Inject = Callable[["torch.Tensor", "torch.Tensor", "Normalisation"], "torch.Tensor"]
"""``(projected, receiver, normalisation) -> injected``, each ``(2, layers, tokens, size)``.

``projected`` is in the units of normalised features; ``normalisation`` is the receiver's, and
brings them to its cache's. Injected is the change to the receiver's cache, which weight and gate
then let through, or the entries or memory, whose values the gate lets through. With ``keys:
unrotated`` keys are so here, and those of a memory always are. The receiver's tokens are the
projected ones, but where these are entries or memory.
"""

_Plugin = TypeVar("_Plugin", bound=Inject)


@dataclass(frozen=True)
class Injection:
    """An injection; see `injection` for what is declared."""

    name: str
    reference: str
    inject: Inject
    projects: Projects
    twin: Twin

    @property
    def stands_beside(self) -> bool:
        """Whether what is projected belongs to none of the receiver's tokens.

        The sharer may then read something else, and all that it has read is projected.
        """
        return self.projects in ("entries", "memory")


INJECTIONS: Register[Injection] = Register("injection", {})


def injection(
    name: str, *, reference: str, projects: Projects, twin: Twin
) -> Callable[[_Plugin], _Plugin]:
    """Declare an injection.

    Args:
        name: As in ``fuser.injection``.
        reference: Where it comes from: a paper, or whose idea it is.
        projects: What a projection stands for.
        twin: Its no-sharer twin; ``itself`` leaves the choice to the projector family.

    Raises:
        ConfigError: The name is taken, or the twin or what it projects is none.
    """
    checked_twin(twin, f"injection {name}")
    if projects not in get_args(Projects):
        raise ConfigError(
            f"What injection {name} projects must be change, cache, entries or memory.",
            value=projects,
            hint=suggestion(projects, get_args(Projects)),
        )

    def register(plugin: _Plugin) -> _Plugin:
        INJECTIONS.add(name, plugin, Injection(name, reference, plugin, projects, twin))
        return plugin

    return register


@injection(
    "residual",
    reference="C2C (arXiv 2510.03215), section 3.3",
    projects="change",
    twin="itself",
)
def residual(
    projected: torch.Tensor, receiver: torch.Tensor, normalisation: Normalisation
) -> torch.Tensor:
    """Added to the receiver's cache."""
    return normalisation.scale(projected)


@injection(
    "replace",
    reference="the projection in the cache's place, this project",
    projects="cache",
    twin="published",
)
def replace(
    projected: torch.Tensor, receiver: torch.Tensor, normalisation: Normalisation
) -> torch.Tensor:
    """In the place of the receiver's cache: what is added is the way there."""
    return normalisation.restore(projected) - receiver


@injection(
    "append",
    reference="Latent Cache Flow (arXiv 2605.22863)",
    projects="entries",
    twin="blanked",
)
def append(
    projected: torch.Tensor, receiver: torch.Tensor, normalisation: Normalisation
) -> torch.Tensor:
    """Beside the receiver's cache."""
    return normalisation.restore(projected)


@injection(
    "side",
    reference="side memory, Draft-KV (arXiv 2609.34754)",
    projects="memory",
    twin="blanked",
)
def side(
    projected: torch.Tensor, receiver: torch.Tensor, normalisation: Normalisation
) -> torch.Tensor:
    """In a memory of its own, which a second attention reads."""
    return normalisation.restore(projected)
