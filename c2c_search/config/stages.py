"""The stages of a training: what each one is on, for how many steps, at which rates."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import model_validator

from c2c_search.config.frozen import FrozenModel
from c2c_search.data.schema import Names


if TYPE_CHECKING:
    from c2c_search.data.schema import DataConfig


StageKind = Literal["reconstruction", "answer", "task"]

_TOKENS = 64
_STAGE = re.compile(r"\s*(\w+)\s+([0-9]{1,10})(?!\S)")
_SETTING = re.compile(r"\s+(\w+)=")
_ARROW = re.compile(r"\s*(?:->|→)")
_NO_STAGES = (
    "stages must be a list of such as {kind: answer, steps: 200}, or one line such as "
    "'reconstruction 200 -> task 100 replay=0.2'"
)


class StageConfig(FrozenModel):
    """One stage of a training.

    Source: the three stages of Draft-KV (arXiv 2609.34754), of which the later two repeat the
    first in every fifth update.
    """

    kind: StageKind = Field(
        description="reconstruction: the receiver writes the text that the sharer has read (of "
        "message draft, the draft), from the message and a fixed instruction; answer: the "
        "reference answer; task: the right one of a row's choices is to be the likeliest "
        "(cross-entropy over the choices)."
    )
    steps: int = Field(ge=1, le=10**9, description="Optimizer steps of the stage.")
    learning_rate: float | None = Field(
        None, gt=0, description="Its own peak rate; null: the training's."
    )
    gate_learning_rate_multiplier: float | None = Field(
        None, gt=0, description="Gates learn so many times faster; null: as the fuser's gate says."
    )
    files: Names | None = Field(
        None,
        min_length=1,
        description="Its rows are those of these files of data.files.train (reconstruction: of "
        "data.files.reconstruction), by name or the end of their path; null: of all of them. "
        "Reconstruction without any such file takes what the sharer reads of the training rows.",
    )
    replay: float = Field(
        0.0, ge=0, lt=1, description="Share of its steps that repeat the first stage."
    )
    tokens: int = Field(
        _TOKENS,
        ge=4,
        le=4096,
        description="reconstruction: a text is cut after so many of the receiver's tokens, for "
        "the sharer too.",
    )

    @model_validator(mode="after")
    def _has_what_it_reads(self) -> Self:
        if self.kind != "reconstruction" and self.tokens != _TOKENS:
            raise ValueError(
                f"tokens cuts the texts of reconstruction, and this stage is {self.kind}; drop it"
            )
        return self

    def replays(self, steps: int) -> int:
        """How many of the stage's first steps repeat the first stage; the very first one does."""
        share = steps * self.replay
        return int(share) + (share - int(share) > 1e-9)


def written(stages: Sequence[StageConfig]) -> str:
    """Stages in one line, as `as_stages` reads it: ``reconstruction 200 -> task 100 replay=0.2``.

    What is at its default is left out.
    """
    return " -> ".join(map(_written, stages))


def _written(stage: StageConfig) -> str:
    settings = stage.model_dump(mode="json", exclude_defaults=True, exclude={"kind", "steps"})
    return " ".join(
        [
            stage.kind,
            str(stage.steps),
            *(f"{name}={json.dumps(value)}" for name, value in settings.items()),
        ]
    )


def as_stages(value: Any) -> Any:
    """What a file says of stages, a list or a line of text, as what pydantic checks one by one.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, str):
        return _parsed(value)
    if not isinstance(value, list | tuple) or any(isinstance(each, str) for each in value):
        raise ValueError(_NO_STAGES)
    return tuple(value)


def _parsed(text: str) -> tuple[dict[str, Any], ...]:
    stages = []
    decoder, at = json.JSONDecoder(), 0
    while True:
        if (head := _STAGE.match(text, at)) is None:
            raise ValueError(_not_read(text, at))
        stage: dict[str, Any] = {"kind": head[1], "steps": int(head[2])}
        at = head.end()
        while setting := _SETTING.match(text, at):
            if setting[1] in stage:
                raise ValueError(
                    f"stages of a line have each setting once, and {setting[1]} of "
                    f"'{stage['kind']} {stage['steps']}' is set again; drop {setting[0].strip()}"
                )
            try:
                stage[setting[1]], at = decoder.raw_decode(text, setting.end())
            except ValueError:
                raise ValueError(_not_read(text, setting.end())) from None
        stages.append(stage)
        if not text[at:].strip():
            return tuple(stages)
        if (arrow := _ARROW.match(text, at)) is None:
            raise ValueError(_not_read(text, at))
        at = arrow.end()


def _not_read(text: str, at: int) -> str:
    return f"{_NO_STAGES}; not read: {text[at : at + 40]!r}"


def stage_at(stages: Sequence[StageConfig], step: int) -> tuple[int, int]:
    """Number of the stage that a step, counted from 0, belongs to, and its step within it.

    What comes after the end is counted to the last one.
    """
    last = len(stages) - 1
    for number, stage in enumerate(stages[:last]):
        if step < stage.steps:
            return number, step
        step -= stage.steps
    return last, step


def files_of(stage: StageConfig, data: DataConfig) -> tuple[str, ...]:
    """The files of the data that a stage names; all that it may name where it names none.

    Raises:
        ValueError: It names one that is not there, or that is several.
    """
    split = "reconstruction" if stage.kind == "reconstruction" else "train"
    paths: tuple[str, ...] = getattr(data.files, split)
    if stage.files is None:
        return paths
    found = []
    for name in stage.files:
        matches = [path for path in paths if _is_end(name, path)]
        if len(matches) != 1:
            known = ", ".join(paths) or "none"
            raise ValueError(
                f"files of training.stages must each be one of data.files.{split} ({known}), and "
                f"{name!r} is {'none' if not matches else 'several'} of them; name it there too, "
                "with as much of its path as tells it from others"
            )
        found += matches
    return tuple(found)


def _is_end(name: str, path: str) -> bool:
    parts = [part for part in PurePath(name).parts if part not in ("..", ".")]
    return path == name or list(PurePath(path).parts[-len(parts) :]) == parts
