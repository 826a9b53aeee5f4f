"""What ``fuser_config.json`` says of a fuser, checked before any number of it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError
from pydantic import field_validator
from pydantic import model_validator
from pydantic_core import ErrorDetails

from c2c_search.errors import IntegrityError
from c2c_search.fuser import layers
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.config import ImportedConfig
from c2c_search.fuser.shapes import CacheShape
from c2c_search.host.strict_json import content_sha256
from c2c_search.host.strict_json import read_object


CONFIG_NAME = "fuser_config.json"
WEIGHTS_NAME = "fuser.safetensors"
CONFIG_SHA256 = "config_sha256"
"""Entry of the weights' metadata that says which configuration they are of."""

AGAIN = "Export or download the folder again."


class StoredConfig(BaseModel):
    """The architecture, the geometry it was built for, and which layers feed which.

    Args:
        fuser: The architecture.
        receiver: Cache shape of the receiver.
        sharer: Cache shape of the sharer.
        layers: Receiver layers that are fused, in rising order.
        sources: Sharer layers that feed each of them.
        contexts_only: See `Fuser`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fuser: FuserConfig
    receiver: CacheShape
    sharer: CacheShape
    layers: list[int]
    sources: list[list[int]]
    contexts_only: bool = False

    @field_validator("fuser", mode="before")
    @classmethod
    def _may_be_deep(cls, fuser: Any) -> Any:
        if not isinstance(fuser, dict):
            return fuser
        # As JSON: only there is a list a tuple and nothing else coerced.
        return ImportedConfig.model_validate_json(json.dumps(fuser), strict=True).narrowed()

    @model_validator(mode="after")
    def _knows_what_is_adapted(self) -> Self:
        if self.fuser.lora_rank and not self.receiver.projections:
            raise ValueError("fuser.lora_rank needs receiver.projections")
        if self.fuser.source == "hidden" and self.sharer.hidden_size is None:
            raise ValueError("fuser.source hidden needs sharer.hidden_size")
        return self

    @model_validator(mode="after")
    def _can_be_silent(self) -> Self:
        if self.contexts_only and not self.fuser.can_be_silent:
            raise ValueError("contexts_only needs a fuser that leaves its receiver as it is")
        return self

    @model_validator(mode="after")
    def _layers_are_the_models(self) -> Self:
        most = layers.count(self.fuser, self.receiver.layers)
        if not self.layers or sorted(set(self.layers)) != self.layers:
            raise ValueError("layers must rise, with none of them twice")
        if self.layers[0] < 0 or self.layers[-1] >= self.receiver.layers:
            raise ValueError(f"layers must be of the receiver's 0 to {self.receiver.layers - 1}")
        if len(self.layers) > most:
            raise ValueError(f"layers must be at most {most}, as fuser says of the receiver's")
        if len(self.sources) != len(self.layers):
            raise ValueError("sources must be as many as layers")
        counts = {len(own) for own in self.sources}
        if len(counts) > 1 or 0 in counts:
            raise ValueError("sources must be as many for each layer, and at least one")
        for own in self.sources:
            if len(set(own)) < len(own) or not all(0 <= each < self.sharer.layers for each in own):
                raise ValueError(
                    f"sources must be of the sharer's 0 to {self.sharer.layers - 1}, none of a "
                    f"layer's twice, and not {own}"
                )
        return self


def read_config(directory: Path) -> StoredConfig:
    """Read ``fuser_config.json``.

    Raises:
        IntegrityError: It is missing, or a value is not one that a fuser can have.
    """
    return read_with_hash(directory)[0]


def read_with_hash(directory: Path) -> tuple[StoredConfig, str]:
    """Read ``fuser_config.json``; with the SHA-256 of its content, however it is written.

    Raises:
        IntegrityError: As `read_config`.
    """
    try:
        content = read_object(directory / CONFIG_NAME, hint=AGAIN)
    except FileNotFoundError:
        raise missing(directory / CONFIG_NAME) from None
    try:
        stored = StoredConfig.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise IntegrityError(
            f"{CONFIG_NAME} must be a fuser's configuration as this version writes it.",
            value="; ".join(map(_said, error.errors())),
            hint="Load it with the version of c2c-search that its manifest names.",
        ) from None
    return stored, content_sha256(content)


def _said(error: ErrorDetails) -> str:
    """What is wrong, behind the name of its field where it is of one."""
    name = ".".join(map(str, error["loc"]))
    said = error["msg"].removeprefix("Value error, ")
    return f"{name}: {said}" if name else said


def missing(path: Path) -> IntegrityError:
    """The error about a file that a fuser's folder lacks."""
    return IntegrityError(
        f"A fuser folder holds {CONFIG_NAME} and {WEIGHTS_NAME}.",
        value=str(path),
        hint="This file is missing: export or download the folder again.",
    )
