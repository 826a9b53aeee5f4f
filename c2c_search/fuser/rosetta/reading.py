"""A published C2C checkpoint read into a fuser; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt
from pydantic import TypeAdapter
from pydantic import ValidationError

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.errors import Problem
from c2c_search.errors import in_yaml
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.rosetta.layout import KINDS
from c2c_search.fuser.rosetta.layout import MAP_NAME
from c2c_search.fuser.rosetta.layout import PROJECTOR_CLASS
from c2c_search.fuser.rosetta.layout import PROJECTOR_FILE
from c2c_search.fuser.rosetta.layout import TEMPERATURE
from c2c_search.fuser.rosetta.layout import Arguments
from c2c_search.fuser.rosetta.layout import parts
from c2c_search.fuser.rosetta.layout import published
from c2c_search.fuser.rosetta.layout import shapes
from c2c_search.fuser.shapes import CacheShape
from c2c_search.host.strict_json import parse


_AGAIN = "Download the checkpoint again."
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_OTHER_MODELS = "Name the models that the checkpoint was trained between."

_LayerMap = dict[NonNegativeInt, list[tuple[NonNegativeInt, NonNegativeInt]]]
_MAP = TypeAdapter(dict[NonNegativeInt, dict[NonNegativeInt, _LayerMap]])


def files(checkpoint: Path) -> tuple[Path, ...]:
    """The files of a checkpoint that `read` looks at, in name order.

    Raises:
        IntegrityError: The folder is not in the published layout.
    """
    if not (checkpoint / MAP_NAME).is_file():
        raise IntegrityError(
            f"A published C2C checkpoint is a folder that holds {MAP_NAME}.",
            value=str(checkpoint),
            hint="Name the folder that holds it and the projector_*.pt files.",
        )
    named = [path for path in checkpoint.iterdir() if PROJECTOR_FILE.fullmatch(path.name)]
    return tuple(sorted([checkpoint / MAP_NAME, *named]))


def read(
    checkpoint: Path,
    receiver: CacheShape,
    sharer: CacheShape,
    *,
    sharer_index: int | None = None,
) -> Fuser:
    """Read a published checkpoint: a fuser of the same numbers, in float32 and evaluation mode.

    A receiver layer that the map leaves out is not fused. A projector that serves several layers
    is copied to each.

    Args:
        checkpoint: Folder in the published layout.
        receiver: Cache shape of the receiver.
        sharer: Cache shape of the sharer.
        sharer_index: Which sharer of the map; may be left out if there is only one.

    Raises:
        IntegrityError: Lists all that is missing, too much, or does not fit the two models.
        ConfigError: The map holds several sharers and none of them was chosen.

    Source: C2C (arXiv 2510.03215), repository thu-nics/C2C, class C2CProjector.
    """
    problems: list[Problem] = []
    chosen, used = _read_map(checkpoint, sharer_index, problems)
    _check_layers(chosen, receiver, sharer, problems)
    _check_files(checkpoint, used, problems)
    wanted = sorted({projector for pairs in chosen.values() for _, projector in pairs})
    arguments = _read_arguments(checkpoint, wanted, problems)
    _check_arguments(arguments, receiver, sharer, problems)
    fuser = None
    if not problems and _fits_its_size(checkpoint, arguments):
        fuser = _empty(chosen, next(iter(arguments.values())), receiver, sharer)
    temperatures = {}
    for projector, built in arguments.items():
        state = _read_state(checkpoint / f"projector_{projector}.pt", built, problems)
        if state is None:
            continue
        temperatures[projector] = float(state[TEMPERATURE])
        if fuser is not None:
            served = [
                index
                for index, layer in enumerate(fuser.layers)
                if chosen[layer][0][1] == projector
            ]
            _fill(fuser, served, state, built)
    if len(set(temperatures.values())) > 1:
        problems.append(
            Problem("projector_*.pt", "All gates must have one temperature.", temperatures, _AGAIN)
        )
    if problems or fuser is None:
        raise IntegrityError(ConfigError.collect(problems).rule)
    assert fuser.gate is not None
    fuser.gate.temperature.fill_(next(iter(temperatures.values())))
    return fuser.eval()


def _read_map(
    checkpoint: Path, sharer_index: int | None, problems: list[Problem]
) -> tuple[_LayerMap, set[int]]:
    """The chosen sharer's pairs by receiver layer, and the projectors that any sharer has."""
    path = next(path for path in files(checkpoint) if path.name == MAP_NAME)
    try:
        told = parse(path.read_bytes())
        content = _MAP.validate_json(json.dumps(told))
    except ValidationError as error:
        faults = [Problem(f"{MAP_NAME}: {_where(one)}", one["msg"]) for one in error.errors()]
        raise IntegrityError(ConfigError.collect(faults).rule) from None
    except (ValueError, RecursionError) as error:
        rule = "It must be a JSON object."
        raise IntegrityError(str(Problem(MAP_NAME, rule, str(error), _AGAIN))) from None
    if _entries(told) != _entries(content):  # "0" and "00" are one number
        problems.append(Problem(MAP_NAME, "Each number stands once in a map.", hint=_AGAIN))
    sharers = {index: layers for each in content.values() for index, layers in each.items()}
    if len(content) != 1 or not sharers:
        problems.append(
            Problem(MAP_NAME, "The map is of one receiver.", sorted(content) or "none", _AGAIN)
        )
    used = {
        projector
        for layers in sharers.values()
        for pairs in layers.values()
        for _, projector in pairs
    }
    if sharer_index is None and len(sharers) > 1:
        raise ConfigError(
            "A fuser is of one sharer, and this checkpoint holds several.",
            value=sorted(sharers),
            hint="Choose one of them (--sharer-index).",
        )
    if sharer_index is not None and sharer_index not in sharers:
        raise ConfigError(
            "The chosen sharer must be in the checkpoint.",
            value=sharer_index,
            hint=f"It holds {', '.join(map(str, sorted(sharers)))}.",
        )
    chosen = sharers.get(next(iter(sharers), 0) if sharer_index is None else sharer_index, {})
    if sharers and not chosen:
        problems.append(Problem(MAP_NAME, "The map must list at least one layer.", hint=_AGAIN))
    return dict(sorted(chosen.items())), used


def _check_layers(
    chosen: _LayerMap, receiver: CacheShape, sharer: CacheShape, problems: list[Problem]
) -> None:
    for layer, pairs in chosen.items():
        where = f"{MAP_NAME}: receiver layer {layer}"
        if layer >= receiver.layers:
            rule = f"The receiver has the layers 0 to {receiver.layers - 1}."
            problems.append(Problem(where, rule, layer, _OTHER_MODELS))
        if len(pairs) != 1:
            rule = "A layer takes one pair of sharer layer and projector."
            hint = "The published code uses the first alone: leave just that one."
            problems.append(Problem(where, rule, pairs, hint))
        for source, _ in pairs:
            if source >= sharer.layers:
                rule = f"The sharer has the layers 0 to {sharer.layers - 1}."
                problems.append(Problem(where, rule, source, _OTHER_MODELS))


def _check_files(checkpoint: Path, used: set[int], problems: list[Problem]) -> None:
    there = {path.name for path in files(checkpoint)} - {MAP_NAME}
    wanted = {f"projector_{index}.{ending}" for index in used for ending in ("json", "pt")}
    problems += [
        Problem(name, "This file is missing.", hint=_AGAIN) for name in sorted(wanted - there)
    ]
    hint = "Remove it, or download the checkpoint again."
    problems += [
        Problem(name, f"{MAP_NAME} names no such projector.", hint=hint)
        for name in sorted(there - wanted)
    ]


def _read_arguments(
    checkpoint: Path, projectors: Sequence[int], problems: list[Problem]
) -> dict[int, Arguments]:
    """How each projector is built; those that cannot be read are left out."""
    found = {}
    for index in projectors:
        path = checkpoint / f"projector_{index}.json"
        if not path.is_file():
            continue
        try:
            content = parse(path.read_bytes())
            name, given = content["class"], content["init_args"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            rule = "It must be a JSON object with class and init_args."
            problems.append(Problem(path.name, rule, f"{type(error).__name__}: {error}", _AGAIN))
            continue
        if name != PROJECTOR_CLASS:
            rule = f"Only projectors of the class {PROJECTOR_CLASS} can be read."
            problems.append(Problem(path.name, rule, name))
            continue
        try:
            found[index] = Arguments.model_validate(given)
        except ValidationError as error:
            problems += [
                Problem(f"{path.name}: {_where(one)}", f"{one['msg']}.", one["input"])
                for one in error.errors()
            ]
    return found


def _check_arguments(
    arguments: dict[int, Arguments],
    receiver: CacheShape,
    sharer: CacheShape,
    problems: list[Problem],
) -> None:
    if not arguments:
        return
    first, built = next(iter(arguments.items()))
    for index, other in arguments.items():
        for name in Arguments.model_fields:
            value, expected = getattr(other, name), getattr(built, name)
            if value != expected:
                rule = "All projectors must be built alike; "
                rule += f"projector {first} has {in_yaml(expected)}."
                problems.append(Problem(f"projector_{index}.json: {name}", rule, value, _AGAIN))
    for side, shape, prefix in (("sharer", sharer, "source"), ("receiver", receiver, "target")):
        for what, field, there in (
            ("a head size", f"{prefix}_dim", shape.head_dim),
            ("KV heads", f"{prefix}_num_heads", shape.heads),
        ):
            if (value := getattr(built, field)) != there:
                rule = f"It must be what the {side} has, {what} of {there}."
                where = f"projector_{first}.json: {field}"
                problems.append(Problem(where, rule, value, _OTHER_MODELS))


def _fits_its_size(checkpoint: Path, arguments: dict[int, Arguments]) -> bool:
    """Whether the first projector's file has tensors of the size that its description asks for.

    It can ask for any, and the fuser is allocated before the tensors are copied into it.
    """
    first, described = next(iter(arguments.items()))
    return _read_state(checkpoint / f"projector_{first}.pt", described, []) is not None


def _entries(content: dict[Any, Any]) -> int:
    """Keys of a map and of the maps in it."""
    return len(content) + sum(
        _entries(each) for each in content.values() if isinstance(each, dict)
    )


def _empty(chosen: _LayerMap, built: Arguments, receiver: CacheShape, sharer: CacheShape) -> Fuser:
    """A fuser of the right shape whose numbers are still to come."""
    layers, sources = list(chosen), [[pairs[0][0]] for pairs in chosen.values()]
    alignment = "explicit"
    known = ("terminal", "proportional")
    for name in known if layers == list(range(receiver.layers)) else ():
        if sources == LAYER_ALIGNMENTS[name].align(receiver.layers, sharer.layers, 1, None):
            alignment = name
            break
    config = published(built, alignment, len(layers) / receiver.layers)
    return Fuser(config, receiver, sharer, layers=layers, sources=sources)


def _read_state(
    path: Path, built: Arguments, problems: list[Problem]
) -> dict[str, torch.Tensor] | None:
    """A projector's tensors, if they are those that its description asks for."""
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost anything on files that are not its own
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        rule = "It must hold tensors alone and load with weights_only; nothing is ever unpickled."
        problems.append(Problem(path.name, rule, f"{type(error).__name__}: {reason}", _AGAIN))
        return None
    if not isinstance(state, dict):
        problems.append(Problem(path.name, "It must be a state dict.", type(state).__name__))
        return None
    expected, faults = shapes(built), []
    for name in sorted(expected.keys() | set(map(str, state))):
        where, tensor = f"{path.name}: {name}", state.get(name)
        if name not in expected:
            faults.append(Problem(where, f"A {PROJECTOR_CLASS} has no such tensor.", hint=_AGAIN))
        elif not isinstance(tensor, torch.Tensor) or not _plain(tensor):
            faults.append(Problem(where, "This tensor of real numbers is missing.", hint=_AGAIN))
        elif tuple(tensor.shape) != expected[name]:
            rule = f"Its shape must be {expected[name]}, as {path.stem}.json says."
            faults.append(Problem(where, rule, tuple(tensor.shape), _AGAIN))
        elif not bool(tensor.float().isfinite().all()):
            faults.append(Problem(where, "Its numbers must be finite, in float32.", hint=_AGAIN))
        elif name == TEMPERATURE and not float(tensor.float()) > 0:
            faults.append(Problem(where, "It must be above 0.", float(tensor), _AGAIN))
    problems += faults
    return None if faults else state


def _plain(tensor: torch.Tensor) -> bool:
    """Whether it is of a dtype that checkpoints are saved in, with its numbers in memory."""
    here = tensor.device.type == "cpu" and tensor.layout == torch.strided
    return here and tensor.dtype in _DTYPES


@torch.no_grad()
def _fill(
    fuser: Fuser, indices: Sequence[int], state: dict[str, torch.Tensor], built: Arguments
) -> None:
    """Copy a projector's numbers to the fused layers that it serves, turned our way round."""
    stacked = fuser.state_dict()
    for offset, kind in zip((0, len(fuser.layers)), KINDS, strict=True):
        for part in parts(built):
            tensor = state[f"{kind}_{part.name}"]
            turned = tensor.T if tensor.dim() == 2 else tensor.reshape(1, -1)
            ours = [stacked[name] for name in part.ours]
            pieces = turned.split([each.shape[1] for each in ours])
            for each, piece in zip(ours, pieces, strict=True):
                for index in indices:
                    each[offset + index].copy_(piece)


def _where(error: Any) -> str:
    """Which entry a validation error is about."""
    return ".".join(map(str, error["loc"])) or "the file"
