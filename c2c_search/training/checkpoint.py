"""A training's state on disk: tensors as safetensors, all else as JSON; nothing is unpickled."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import NonNegativeInt
from pydantic import StringConstraints
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.host.files import sync
from c2c_search.host.files import write_text


POINTER = "latest.json"
STATE = "state.json"
TENSORS = "state.safetensors"

Tensors = dict[str, torch.Tensor]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Pointer(_Stored):
    """Which checkpoint of a folder is whole: ``latest.json``, moved into place last."""

    tag: Annotated[str, StringConstraints(pattern=r"^step-[0-9]{1,12}(-b)?$")]


class Position(_Stored):
    """Where a training stands, as its loop counts it.

    Args:
        step: Optimizer steps made.
        seconds: Spent so far, by stage.
        rungs: Judged so far, each as JSON.
        reports: Of steps since the last rung that the driver answered, each as JSON. It may have
            been ended before it read them, and they are told again.
    """

    step: NonNegativeInt
    seconds: dict[str, _Finite] = {}
    rungs: list[str] = []
    reports: list[str] = Field(default=[], exclude_if=lambda reports: not reports)


class EngineState(_Stored):
    """What an engine knows beside its tensors.

    Args:
        global_steps: Optimizer steps that DeepSpeed has counted.
        micro_steps: Passes that it has counted.
        scheduled: Steps that the learning-rate schedule has made.
        learning_rates: Of each optimizer group, now.
        loss_scale: Of a training in float16: the scale, and what its next change follows from.
    """

    global_steps: NonNegativeInt
    micro_steps: NonNegativeInt
    scheduled: NonNegativeInt
    learning_rates: list[_Finite]
    loss_scale: dict[str, _Finite] = Field(default={}, exclude_if=lambda scale: not scale)


class State(_Stored):
    """``state.json``.

    Args:
        trained: What it is of: no training goes on from another one's checkpoint.
        engine: The engine's counters.
        position: The loop's.
    """

    trained: str
    engine: EngineState
    position: Position


def write(directory: Path, state: State, tensors: Tensors) -> None:
    """Write a checkpoint; the one before it goes once this one stands.

    Args:
        directory: Of all checkpoints of a training.
        state: The numbers.
        tensors: May be views of one another; each is written whole.
    """
    tag = f"step-{state.position.step}"
    if _pointed_to(directory) == tag:  # at a rung's step, and then with the rung
        tag = f"{tag}-b"
    folder = directory / tag
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A ZeRO group's tensors are views of one buffer, which safetensors refuses to write.
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()},
        folder / TENSORS,
    )
    (folder / STATE).write_text(state.model_dump_json(), encoding="utf-8")
    sync(folder)
    write_text(directory / POINTER, Pointer(tag=tag).model_dump_json())
    for old in directory.glob("step-*"):
        if old.name != tag:
            shutil.rmtree(old, ignore_errors=True)


def _pointed_to(directory: Path) -> str | None:
    """Tag of the checkpoint that stands; None if there is none."""
    try:
        return Pointer.model_validate_json((directory / POINTER).read_bytes()).tag
    except (OSError, ValidationError):
        return None


def read(directory: Path, trained: str) -> tuple[State, Tensors, Path] | None:
    """The checkpoint to go on from, and the file of its tensors; None if there is none.

    Args:
        directory: As for `write`.
        trained: What is to go on; see `State`.

    Raises:
        IntegrityError: A file is missing, damaged, of another training, or no checkpoint of this
            version.
    """
    path = directory / POINTER
    if not path.is_file():
        return None
    try:
        folder = directory / Pointer.model_validate_json(path.read_bytes()).tag
        path = folder / STATE
        state = State.model_validate_json(path.read_bytes())
        path = folder / TENSORS
        tensors = load_file(path)
    except (OSError, ValidationError, SafetensorError) as error:
        raise refused(path, _reason(error)) from None
    if state.trained != trained:
        raise refused(folder / STATE, f"it is of {state.trained!r} and not of {trained!r}")
    return state, tensors, path


def refused(path: Path, reason: str) -> IntegrityError:
    """The error about a checkpoint that cannot be gone on from."""
    folder = path.parent if path.name == POINTER else path.parent.parent
    return IntegrityError(
        f"{path.name} must be of a checkpoint that this training wrote, in this version's format.",
        value=reason,
        hint=f"Remove {folder} to train from the first step.",
    )


def require_tensors(found: Tensors, expected: Tensors, path: Path) -> None:
    """Check that a checkpoint holds just the tensors that a training has.

    Raises:
        IntegrityError: Names the first that is missing, too much, or of another kind.
    """
    for name in sorted(found.keys() | expected.keys()):
        if name not in found or name not in expected:
            lack = "lacks" if name not in found else "has besides"
            raise refused(path, f"it {lack} {name}")
        kinds = [f"{each.dtype} {tuple(each.shape)}" for each in (found[name], expected[name])]
        if kinds[0] != kinds[1]:
            raise refused(path, f"{name} is {kinds[0]} and not {kinds[1]}")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"
    return str(error)
