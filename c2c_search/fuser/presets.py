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
        Preset(
            "lcf",
            "Latent Cache Flow (arXiv 2605.22863): keys and values through one latent, in nine "
            "layers; published beside the cache, here read so by a second attention",
            {
                "projector": "joint",
                "rank": 64,
                "width": 128,
                "depth": 2,
                "injection": "side",
                "initialisation": "random",
                "layers": "spread",
                "layer_count": 9,
                "layer_alignment": "proportional",
                "keys": "unrotated",
            },
        ),
        Preset(
            "draft-kv",
            "Draft-KV (arXiv 2609.34754): the drafted answer, read by a second attention in four "
            "layers; published in layers counted for one pair, here evenly spread",
            {
                "projector": "linear",
                "bias": False,
                "initialisation": "random",
                "dynamic_weight": False,
                "normalisation": "none",
                "injection": "side",
                "reads_from": "all",
                "message": "draft",
                "draft_tokens": 64,
                "keys": "unrotated",
                "layers": "spread",
                "layer_count": 4,
                "layer_alignment": "proportional",
                "gate": {"granularity": "head", "rule": "tanh", "learning_rate_multiplier": 10.0},
            },
        ),
        Preset(
            "xkv",
            "XKV (arXiv 2608.20617): a message of as many entries whatever the prompt, layers "
            "matched by learning; published to pool both models' caches, here the sharer's",
            {
                "projector": "joint",
                "rank": 64,
                "width": 128,
                "depth": 2,
                "injection": "append",
                "initialisation": "random",
                "slots": 32,
                "layer_alignment": "learned",
                "keys": "unrotated",
            },
        ),
        Preset(
            "ridge",
            "closed-form ridge (arXiv 2608.03893): nothing is trained, eight sharer layers feed "
            "each of the receiver's",
            {
                "projector": "ridge",
                "injection": "replace",
                "dynamic_weight": False,
                "layer_alignment": "proportional",
                "sources_per_layer": 8,
                "keys": "unrotated",
            },
        ),
        Preset(
            "kvcomm",
            "KVComm (arXiv 2510.03346): the cache of three layers in ten, chosen by attention; "
            "published between models of one shape, here through a closed-form map",
            {
                "projector": "ridge",
                "injection": "side",
                "dynamic_weight": False,
                "layers": "attention",
                "layer_share": 0.3,
                "layer_alignment": "proportional",
                "keys": "unrotated",
            },
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
