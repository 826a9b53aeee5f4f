"""A fuser on disk, as JSON and safetensors; nothing is ever unpickled."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError
from pydantic import model_validator
from safetensors.torch import load_file
from safetensors.torch import save_file

from c2c_search.errors import IntegrityError
from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.host.files import replacing
from c2c_search.host.files import write_text
from c2c_search.plugins import foreign_file


CONFIG_NAME = "fuser_config.json"
WEIGHTS_NAME = "fuser.safetensors"


class StoredConfig(BaseModel):
    """What ``fuser_config.json`` says: the architecture and the geometry it was built for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fuser: FuserConfig
    receiver: CacheShape
    sharer: CacheShape
    layers: list[int]
    sources: list[list[int]]

    @model_validator(mode="after")
    def _knows_what_is_adapted(self) -> Self:
        if self.fuser.lora_rank and not self.receiver.projections:
            raise ValueError("fuser.lora_rank needs receiver.projections")
        return self


def save(fuser: Fuser, directory: Path) -> None:
    """Write ``fuser_config.json`` and ``fuser.safetensors`` into ``directory`` (made if absent).

    Each file is written whole or not at all.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stored = StoredConfig(
        fuser=fuser.config,
        receiver=fuser.receiver_shape,
        sharer=fuser.sharer_shape,
        layers=fuser.layers,
        sources=fuser.sources.tolist(),
    )
    tensors = {name: t.detach().cpu().contiguous() for name, t in fuser.state_dict().items()}
    with replacing(directory / WEIGHTS_NAME) as weights:
        save_file(tensors, weights, metadata={"format": "pt"})
    text = json.dumps(stored.model_dump(mode="json"), indent=2) + "\n"
    write_text(directory / CONFIG_NAME, text)


def load(directory: Path, *, device: torch.device | str = "cpu", foreign: bool = True) -> Fuser:
    """Read a fuser, in evaluation mode.

    Args:
        directory: Of the two files.
        device: Where the fuser is to be.
        foreign: Whether anybody may have written them: nothing is then imported for a plug-in
            that they name, unless this process has done so already or the user has allowed it
            (see `plugins.foreign_file`).

    Raises:
        IntegrityError: A file is missing, or a tensor is missing, extra or of another shape; or
            it names a plug-in that is not allowed.
    """
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        if not (directory / name).is_file():
            raise IntegrityError(
                f"A fuser folder holds {CONFIG_NAME} and {WEIGHTS_NAME}.",
                value=str(directory / name),
                hint="This file is missing: export or download the folder again.",
            )
    try:
        with foreign_file() if foreign else nullcontext():
            stored = StoredConfig.model_validate_json((directory / CONFIG_NAME).read_text())
    except ValidationError as error:
        raise IntegrityError(
            f"{CONFIG_NAME} must be a fuser's configuration as this version writes it.",
            value="; ".join(
                f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
            ),
            hint="Load it with the version of c2c-search that its manifest names, and with the "
            "packages of the plug-ins that it names.",
        ) from None
    fuser = Fuser(
        stored.fuser,
        stored.receiver,
        stored.sharer,
        layers=stored.layers,
        sources=stored.sources,
    )
    tensors = load_file(directory / WEIGHTS_NAME)
    try:
        fuser.load_state_dict(tensors)
    except RuntimeError as error:
        raise IntegrityError(
            f"{WEIGHTS_NAME} must hold exactly the tensors that {CONFIG_NAME} describes.",
            value=str(error),
            hint="The two files are not of one fuser: export or download the folder again.",
        ) from None
    return fuser.to(device).eval()
