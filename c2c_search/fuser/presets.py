"""Fusers of published methods by name, with the settings that each of them states.

Light, so that a configuration can be checked without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import suggestion


@dataclass(frozen=True)
class Preset:
    """A method's fuser.

    Args:
        name: As in ``fuser.preset``.
        reference: Paper or repository.
        fuser: What it sets of `FuserConfig`; the rest is the default.
    """

    name: str
    reference: str
    fuser: Mapping[str, Any]


_PUBLISHED_GATE = {
    "granularity": "layer",
    "noise": "gumbel",
    "rule": "hard",
    "temperature_end": 0.001,
    "learning_rate_multiplier": 1.0,
}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "c2c",
            "C2C (arXiv 2510.03215), the published C2CProjector: hundreds of millions of numbers",
            {
                "projector": "c2c",
                "depth": 3,
                "width": 1024,
                "input_activation": False,
                "initialisation": "random",
                "dropout": 0.1,
                "normalisation": "none",
                "layer_alignment": "terminal",
                "token_alignment": "longest",
                "gate": _PUBLISHED_GATE,
            },
        ),
        Preset(
            "c2c-small",
            "C2C (arXiv 2510.03215) at a hundredth of its size, this project",
            {"projector": "c2c", "depth": 3, "width": 64, "layer_alignment": "proportional"},
        ),
    )
}


def preset(name: Any) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: There is none.
    """
    if isinstance(name, str) and name in PRESETS:
        return PRESETS[name]
    raise ConfigError(
        f"A preset must be one of {', '.join(PRESETS)}.",
        value=name,
        hint=suggestion(name, PRESETS) if isinstance(name, str) else "",
    )


def written_out(fuser: Mapping[str, Any]) -> dict[str, Any]:
    """A fuser's settings with those of its ``preset`` in the place of that name.

    What is set beside the preset goes before it; of the gate, field by field.

    Raises:
        ConfigError: There is no such preset.
    """
    own = dict(fuser)
    if (name := own.pop("preset", None)) is None:
        return own
    stated = preset(name).fuser
    gate = own.get("gate")
    if isinstance(gate, Mapping):
        own["gate"] = {**stated.get("gate", {}), **gate}
    return {**stated, **own}
