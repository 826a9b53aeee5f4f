"""The two frozen models of a pair, named."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field


class PairSpec(BaseModel):
    """Which model speaks (sharer) and which one listens and answers (receiver).

    Both are model sources: ``pypi:NAME``, ``hf:REPO[@REVISION]``, ``path:DIR`` or ``gguf:FILE``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    receiver: str = Field(description="Source of the model that answers.")
    sharer: str = Field(description="Source of the model that speaks.")

    def __str__(self) -> str:
        return f"{self.receiver} <- {self.sharer}"
