"""Which of the receiver's layers are fused, by a name or one by one, and what feeds them.

Light, so that a configuration can be checked without torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal
from typing import get_args

from pydantic import BeforeValidator

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    import torch

    from c2c_search.fuser.config import FuserConfig
    from c2c_search.fuser.layer_alignment import Sources


LayerChoice = Literal["last", "spread", "attention"]
"""Ways to take some of the layers; the others list them."""

_EXAMPLES = "'18, 20, 22, 24' or, with the sharer layers that feed them, '18:14, 20:16+17'"
_LISTED = re.compile(r"[0-9]{1,4}(:[0-9]{1,4}(\+[0-9]{1,4})*)?")

LayerMap = dict[int, list[int]]
"""The sharer layers of each receiver layer; none where the layer alignment finds them."""


def checked(layers: Any) -> Any:
    """Layers as a word: a name of `LayerChoice`, or as ``18, 20`` or ``18:14, 20:16+17``.

    Args:
        layers: Such a word, a list of layers, or a mapping of each to one of the sharer's or a
            list of them.

    Raises:
        ValueError: It is none of these, or the layers do not rise.
    """
    if isinstance(layers, str) and layers in get_args(LayerChoice):
        return layers
    words = _words(layers)
    if not words or not all(_LISTED.fullmatch(word) for word in words):
        raise ValueError(f"must be last, spread, attention, or layers as {_EXAMPLES}")
    numbers = [[int(each) for each in re.split("[:+]", word)] for word in words]
    fused = [layer for layer, *_ in numbers]
    if sorted(set(fused)) != fused:
        raise ValueError("layers must rise, with none of them twice")
    if len({len(each) for each in numbers}) > 1:
        raise ValueError("must name as many sharer layers for each layer, or none for any")
    if any(len(set(sources)) < len(sources) for _, *sources in numbers):
        raise ValueError("must name each of a layer's sharer layers once")
    return ", ".join(
        f"{layer}:{'+'.join(map(str, sources))}" if sources else str(layer)
        for layer, *sources in numbers
    )


Layers = Annotated[str, BeforeValidator(checked)]


def listed(layers: str) -> LayerMap:
    """The layers that a checked word lists, and what feeds them; empty for a name."""
    if layers in get_args(LayerChoice):
        return {}
    pairs = (word.partition(":") for word in layers.split(", "))
    return {
        int(layer): [int(each) for each in sources.split("+") if each]
        for layer, _, sources in pairs
    }


def count(config: FuserConfig, depth: int) -> int:
    """How many of a receiver's ``depth`` layers are fused; at least one."""
    if named := listed(config.layers):
        return len(named)
    if config.layer_count is not None:
        return config.layer_count
    return max(1, round(config.layer_share * depth))


def chosen(config: FuserConfig, depth: int) -> list[int]:
    """The layers of a receiver of ``depth`` that are fused, in rising order.

    Those that calibration prompts choose (``attention``) are the last ones here.

    Raises:
        ConfigError: It has no such layers.
    """
    number, named = count(config, depth), listed(config.layers)
    if number > depth or (named and max(named) >= depth):
        raise ConfigError(
            f"fuser.layers must be of the receiver's 0 to {depth - 1}."
            if named
            else f"fuser.layer_count must be at most {depth}, as many as the receiver has.",
            value=config.layers if named else number,
            hint="Name layers that it has, or set fuser.layers to spread and a layer_count.",
        )
    if named:
        return list(named)
    if config.layers == "spread":
        return [(index + 1) * depth // number - 1 for index in range(number)]
    return list(range(depth - number, depth))


def given_sources(config: FuserConfig, depth: int) -> list[list[int]] | None:
    """The layers of a sharer of ``depth`` that a fuser's own list names; None if it names none.

    A receiver that is its own sharer is not the one that they were named of.

    Raises:
        ConfigError: The sharer has no such layers.
    """
    sources = [each for each in listed(config.layers).values() if each]
    if not sources or config.sharer == "self":
        return None
    if max(map(max, sources)) >= depth:
        raise ConfigError(
            f"fuser.layers must be fed by the sharer's 0 to {depth - 1}.",
            value=config.layers,
            hint="Name layers that it has, or none: fuser.layer_alignment finds them.",
        )
    return sources


def first_sources(config: FuserConfig, layers: Sequence[int], depths: tuple[int, int]) -> Sources:
    """The sharer layers of each fused layer; the first ones until calibration measures them.

    Args:
        config: Of the fuser.
        layers: The receiver layers that are fused.
        depths: Layers of receiver and sharer.

    Raises:
        ConfigError: The sharer has no such layers as the configuration lists.
    """
    if (given := given_sources(config, depths[1])) is not None:
        return given
    if config.aligned.measured:
        return [list(range(min(_per_layer(config), depths[1])))] * len(layers)
    return aligned_sources(config, layers, depths, None)


def aligned_sources(
    config: FuserConfig,
    layers: Sequence[int],
    depths: tuple[int, int],
    similarity: torch.Tensor | None,
) -> Sources:
    """The sharer layers of each fused layer, as ``config.layer_alignment`` finds them."""
    sources = config.aligned.align(*depths, _per_layer(config), similarity)
    return [sources[layer] for layer in layers]


def weighs_sources(config: FuserConfig) -> bool:
    """Whether the weights of several sharer layers of a fused one are learned."""
    return config.aligned.learned or config.source_combination == "learned"


def concatenates_sources(config: FuserConfig) -> bool:
    """Whether several sharer layers of a fused one stand side by side."""
    return config.source_combination == "concat" and not config.aligned.learned


def _per_layer(config: FuserConfig) -> int:
    return config.alignment_window if config.aligned.learned else config.sources_per_layer


def _words(layers: Any) -> Sequence[str]:
    if isinstance(layers, str):
        return [word.strip() for word in layers.split(",")]
    if isinstance(layers, dict):
        return [
            f"{layer}:{'+'.join(map(str, each if isinstance(each, list | tuple) else [each]))}"
            for layer, each in layers.items()
        ]
    return [str(layer) for layer in layers] if isinstance(layers, list | tuple) else []
