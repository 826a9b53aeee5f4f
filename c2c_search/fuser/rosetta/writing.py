"""The published C2C checkpoint layout: read into a fuser, written from one.

`rosetta_layout` says what the layout is, `rosetta_reading` reads it, and here it is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.errors import in_yaml
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.rosetta.layout import KINDS
from c2c_search.fuser.rosetta.layout import MAP_NAME
from c2c_search.fuser.rosetta.layout import PROJECTOR_CLASS
from c2c_search.fuser.rosetta.layout import SHALLOWEST
from c2c_search.fuser.rosetta.layout import TEMPERATURE
from c2c_search.fuser.rosetta.layout import Arguments
from c2c_search.fuser.rosetta.layout import parts
from c2c_search.fuser.rosetta.layout import published
from c2c_search.fuser.rosetta.reading import files
from c2c_search.fuser.rosetta.reading import read
from c2c_search.host.files import swapped_in


__all__ = ["LAYOUT", "files", "obstacles", "read", "write"]

LAYOUT = "rosetta"
"""What we call the layout, after the published code's own package."""

_OPEN_LOGIT = 1.0  # any number above 0 is a gate that is open in evaluation

# Fields of a fuser's configuration in which it may differ from what an import would give: the
# layout says them too, the map of layers says them, or only training looks at them.
_FREE = frozenset(
    {
        *("depth", "width", "intermediate", "dropout"),
        *("gate.temperature_start", "gate.temperature_end"),
        *("layer_alignment", "alignment_window", "layer_share", "layer_count"),
        "layer_choice",  # as `layers` is written
        "source_combination",  # there is one source to combine
        *(
            "initialisation",
            "ridge_penalty",
            "ridge_weighting",
            "gate.initial_logit",
            "gate.noise",
        ),
        *("gate.sparsity", "gate.learning_rate_multiplier", "lora_learning_rate_multiplier"),
    }
)


def write(fuser: Fuser, directory: Path) -> None:
    """Write a fuser in the published layout, whole or not at all, in float32.

    A fuser without a gate gets gates that are open in evaluation.

    Args:
        fuser: On any device.
        directory: Folder to write; absent or empty.

    Raises:
        ConfigError: Lists everything that the layout cannot say.
        StoreError: ``directory`` holds something.
    """
    reasons = obstacles(fuser.config, fuser.sources.tolist())
    config = fuser.config
    tensors = {name: tensor.detach() for name, tensor in fuser.state_dict().items()}
    if not reasons:
        arguments = _arguments_of(fuser)
        written = {name for part in parts(arguments) for name in part.ours}
        extra = sorted(tensors.keys() - written - {"gate.temperature", "sources"})
        reasons += [f"it has no place for the tensor {name}" for name in extra]
    if reasons:
        raise ConfigError(
            "The published C2C layout cannot say all of this fuser:\n"
            + "\n".join(f"  {reason}" for reason in reasons)
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise StoreError(
            "A checkpoint is written into an empty folder.",
            value=str(directory),
            hint="Name another folder, or remove this one yourself.",
        )
    if fuser.gate is None:
        tensors["gate.logit"] = torch.full((2 * len(fuser.layers), 1, 1), _OPEN_LOGIT)
        tensors["gate.temperature"] = torch.tensor(config.gate.temperature_end)
    with swapped_in(directory) as folder:
        _write_files(fuser, tensors, arguments, folder)


def obstacles(config: FuserConfig, sources: Sequence[Sequence[int]] = ()) -> list[str]:
    """Every reason why a fuser cannot be written in the published layout; none: it can.

    Args:
        config: The fuser's.
        sources: Sharer layers of each fused receiver layer.
    """
    reasons = []
    if config.depth < SHALLOWEST:
        reasons.append(f"depth is {config.depth}, and the layout begins at {SHALLOWEST}")
    if config.layer_alignment == "learned":
        reasons.append("layer_alignment is 'learned', and the layout weighs no layers")
    if any(len(layers) != 1 for layers in sources):
        reasons.append("several sharer layers feed a layer, and the layout takes one each")
    known = _flat(published().model_dump())
    ungated = config.gate.granularity == "none"
    for name, value in _flat(config.model_dump()).items():
        free = name in _FREE or (ungated and name.startswith("gate."))
        # Some fields are not written at their default.
        only = known[name] if name in known else FuserConfig.model_fields[name].default
        if not free and value != only:
            reasons.append(
                f"{name} is {in_yaml(value)}, and the layout knows only {in_yaml(only)}"
            )
    return reasons


def _arguments_of(fuser: Fuser) -> Arguments:
    """How the published class would be built to be this fuser's projectors."""
    config, receiver, sharer = fuser.config, fuser.receiver_shape, fuser.sharer_shape
    return Arguments(
        source_dim=sharer.head_dim,
        target_dim=receiver.head_dim,
        source_num_heads=sharer.heads,
        target_num_heads=receiver.heads,
        hidden_dim=config.width,
        intermediate_dim=config.intermediate or config.width,
        num_layers=config.depth,
        dropout=config.dropout,
        initial_temperature=config.gate.temperature_start,
        final_temperature=config.gate.temperature_end,
    )


def _write_files(
    fuser: Fuser, tensors: dict[str, torch.Tensor], arguments: Arguments, folder: Path
) -> None:
    count = len(fuser.layers)
    # Neither is ours to tell: our budgets are no typed number of steps, and all is float32.
    stated = arguments.model_dump(exclude={"anneal_steps", "dtype"})
    for index in range(count):
        state = {TEMPERATURE: tensors["gate.temperature"].float().cpu().clone()}
        for group, kind in zip((index, count + index), KINDS, strict=True):
            for part in parts(arguments):
                joined = torch.cat([tensors[name][group] for name in part.ours]).float().cpu()
                turned = joined.T if len(part.shape) == 2 else joined.reshape(part.shape)
                # A copy: saving a view would save all layers with it.
                state[f"{kind}_{part.name}"] = turned.clone(memory_format=torch.contiguous_format)
        torch.save(state, folder / f"projector_{index}.pt")
        _write_json(
            folder / f"projector_{index}.json", {"class": PROJECTOR_CLASS, "init_args": stated}
        )
    sources = fuser.sources[:, 0].tolist()
    layers = {str(layer): [[sources[index], index]] for index, layer in enumerate(fuser.layers)}
    _write_json(folder / MAP_NAME, {"0": {"1": layers}})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat = {}
    for key, value in content.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        flat.update({prefix + key: value} if nested is None else nested)
    return flat
