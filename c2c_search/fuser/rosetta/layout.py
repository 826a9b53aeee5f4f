"""What a published C2C checkpoint consists of, tensor by tensor.

One projector a file (``projector_{i}.pt``, a state dict; ``projector_{i}.json``, how it is built)
and a map of receiver layers to sharer layers and projectors (``projector_config.json``).

Source: the repository thu-nics/C2C, class C2CProjector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import PositiveFloat
from pydantic import PositiveInt

from c2c_search.fuser.config import DEEPEST_IMPORTED
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.config import ImportedConfig
from c2c_search.fuser.gate_config import GateConfig


MAP_NAME = "projector_config.json"
PROJECTOR_FILE = re.compile(r"projector_(\d+)\.(pt|json)")
PROJECTOR_CLASS = "C2CProjector"
KINDS = ("key", "value")
SHALLOWEST = 3
TEMPERATURE = "gate_temperature"


class Arguments(BaseModel):
    """How a projector is built; what a file leaves out has the published class's default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    source_dim: PositiveInt
    target_dim: PositiveInt
    source_num_heads: PositiveInt = 1
    target_num_heads: PositiveInt = 1
    hidden_dim: PositiveInt = 1024
    intermediate_dim: PositiveInt = 1024
    num_layers: Annotated[int, Field(ge=SHALLOWEST, le=DEEPEST_IMPORTED)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    initial_temperature: PositiveFloat = 1.0
    final_temperature: PositiveFloat = 0.001
    anneal_steps: PositiveInt = 1929
    dtype: Any = None


@dataclass(frozen=True)
class TensorPart:
    """One tensor of a projector's keys or values, there and here.

    Args:
        name: Published name, behind ``key_`` or ``value_``.
        shape: Published shape; a matrix is (out, in), ours are (in, out).
        ours: Our tensors, stacked over groups; several stand one after the other in the inputs.
    """

    name: str
    shape: tuple[int, ...]
    ours: tuple[str, ...]


def parts(arguments: Arguments) -> Iterator[TensorPart]:
    """Every tensor of a projector's keys, and likewise of its values."""
    width, depth = arguments.hidden_dim, arguments.num_layers
    sharer_size = arguments.source_dim * arguments.source_num_heads
    size = arguments.target_dim * arguments.target_num_heads

    def linear(name: str, ours: str, outputs: int) -> Iterator[TensorPart]:
        yield TensorPart(f"{name}.weight", (outputs, width), (f"{ours}.weight",))
        yield TensorPart(f"{name}.bias", (outputs,), (f"{ours}.bias",))

    def block(name: str, ours: str, inner: int) -> Iterator[TensorPart]:
        yield TensorPart(f"{name}.norm.weight", (width,), (f"{ours}.norm.weight",))
        yield TensorPart(f"{name}.w1.weight", (inner, width), (f"{ours}.w1.weight",))
        yield TensorPart(f"{name}.w2.weight", (width, inner), (f"{ours}.w2.weight",))

    entrances = ("projector.from_sharer.weight", "projector.from_receiver.weight")
    yield TensorPart("in.weight", (width, sharer_size + size), entrances)
    yield TensorPart("in.bias", (width,), ("projector.from_sharer.bias",))
    yield from block("mlp1.blocks.0", "projector.trunk", arguments.intermediate_dim)
    yield from block("scalar_mlp2.blocks.0", "projector.weight.0", width)
    yield from linear("scalar_head", "projector.weight.1", arguments.target_num_heads)
    for number in range(depth - 2):
        ours = f"projector.projection.{number}"
        yield from block(f"proj_mlp2.blocks.{number}", ours, arguments.intermediate_dim)
    yield from linear("proj_out", f"projector.projection.{depth - 2}", size)
    yield TensorPart("gate_logit", (), ("gate.logit",))


def shapes(arguments: Arguments) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a projector's state dict."""
    named = {f"{kind}_{part.name}": part.shape for kind in KINDS for part in parts(arguments)}
    return {**named, TEMPERATURE: ()}


def published(
    arguments: Arguments | None = None, alignment: str = "terminal", share: float = 1.0
) -> FuserConfig:
    """The configuration that the published class has, fed by a share of the layers."""
    arguments = arguments or Arguments(source_dim=1, target_dim=1)
    return ImportedConfig(
        projector="c2c",
        depth=arguments.num_layers,
        width=arguments.hidden_dim,
        intermediate=arguments.intermediate_dim,
        activation="gelu",
        input_activation=False,
        initialisation="random",
        dropout=arguments.dropout,
        dynamic_weight=True,
        weight_granularity="head",
        normalisation="none",
        gate=GateConfig(
            granularity="layer",
            noise="gumbel",
            rule="hard",
            temperature_start=arguments.initial_temperature,
            temperature_end=arguments.final_temperature,
        ),
        layer_alignment=alignment,
        layer_share=share,
        # What the published recipe evaluates with; the layout itself does not say it.
        token_alignment="longest",
        keys="rotated",
        injection="residual",
    ).narrowed()
