"""What every configuration is."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic import ConfigDict


class FrozenModel(BaseModel):
    """A configuration: immutable, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
