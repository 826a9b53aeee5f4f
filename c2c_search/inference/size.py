"""How big a network is, read off its files; travels with the champion."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from c2c_search.errors import IntegrityError
from c2c_search.host.tensor_file import read_header


class Size(BaseModel):
    """How big a network is.

    Args:
        parameters: Numbers stored: weights, and the calibration that goes with them.
        bytes: Of the files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    parameters: int = Field(ge=0)
    bytes: int = Field(ge=0)

    @classmethod
    def measure(cls, files: Iterable[Path]) -> Self:
        """Read the size of a network off the headers of its safetensors files.

        Raises:
            IntegrityError: A file is not a safetensors file.
        """
        parameters, size = 0, 0
        for path in files:
            try:
                size += path.stat().st_size
                tensors = read_header(path).tensors.values()
            except (OSError, ValueError) as error:
                raise IntegrityError(
                    f"{path.name} must be a safetensors file.",
                    value=str(error),
                    hint="Copy or export the champion again.",
                ) from error
            parameters += sum(math.prod(tensor.shape) for tensor in tensors)
        return cls(parameters=parameters, bytes=size)
