"""Gates by granularity: how finely what the projector adds can be let through.

Light, so that a configuration can be checked without torch; the network is in `gates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import TypeVar

from c2c_search.plugins import Register


if TYPE_CHECKING:
    from c2c_search.fuser.gate_config import GateConfig
    from c2c_search.fuser.gates import Gate
    from c2c_search.fuser.projectors import Shape


BuildGate = Callable[["GateConfig", "Shape", int], "Gate | None"]
"""A class that is a `Gate`, or a function that makes one; the number is the projector's
``hidden_size``. None stands for a gate that is always open."""

_Plugin = TypeVar("_Plugin", bound=BuildGate)


@dataclass(frozen=True)
class Granularity:
    """A gate's granularity; see `gate` for what is declared."""

    name: str
    reference: str
    build: BuildGate


GATES: Register[Granularity] = Register("gate granularity", {})


def gate(name: str, *, reference: str) -> Callable[[_Plugin], _Plugin]:
    """Declare a gate.

    Args:
        name: As in ``fuser.gate.granularity``.
        reference: Where it comes from: a paper, or whose idea it is.

    Raises:
        ConfigError: The name is taken.
    """

    def register(plugin: _Plugin) -> _Plugin:
        GATES.add(name, plugin, Granularity(name, reference, plugin))
        return plugin

    return register


@gate("none", reference="no gate: what C2C is without one")
def none(config: GateConfig, shape: Shape, hidden_size: int) -> None:
    """No gate."""


@gate("layer", reference="C2C (arXiv 2510.03215), section 3.3; the published code")
def layer(config: GateConfig, shape: Shape, hidden_size: int) -> Gate:
    """One a layer, with noise for every KV head, as published."""
    from c2c_search.fuser.gates import Gate

    return Gate(config, shape, hidden_size, logits=1, noises=shape.receiver_heads)


@gate("head", reference="after C2C (arXiv 2510.03215), section 3.3; one a KV head")
def head(config: GateConfig, shape: Shape, hidden_size: int) -> Gate:
    """One a KV head."""
    from c2c_search.fuser.gates import Gate

    return Gate(config, shape, hidden_size, logits=shape.receiver_heads)


@gate("token", reference="after C2C (arXiv 2510.03215), section 3.3; one a token")
def token(config: GateConfig, shape: Shape, hidden_size: int) -> Gate:
    """One a token and layer, always computed from the input."""
    from c2c_search.fuser.gates import Gate

    return Gate(config, shape, hidden_size, logits=1, from_input=True)


@gate("value", reference="after C2C (arXiv 2510.03215), section 3.3; one a value")
def value(config: GateConfig, shape: Shape, hidden_size: int) -> Gate:
    """One for every number of a layer's keys and values."""
    from c2c_search.fuser.gates import Gate

    return Gate(config, shape, hidden_size, logits=shape.receiver_size)
