"""Shapes that a fuser is built for: of a model's KV-cache, and of its attention's linear maps."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field


Source = Literal["kv", "hidden"]
"""What of the sharer is heard: its keys and values, or what its layers put out."""

ProjectionRole = Literal["query", "value", "qkv", "output"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AttentionMap(_Frozen):
    """A linear map of a model's attention, of one size in all layers."""

    role: ProjectionRole = Field(description="qkv: queries, keys and values at once.")
    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)


class CacheShape(_Frozen):
    """Shape of a model's KV-cache: every token has ``2 * layers * heads * head_dim`` numbers."""

    layers: int = Field(ge=1)
    heads: int = Field(ge=1, description="KV heads.")
    head_dim: int = Field(ge=1, description="Numbers per KV head.")
    projections: tuple[AttentionMap, ...] = Field(
        (), description="Maps that a LoRA adapts; only a receiver that is adapted tells them."
    )
    hidden_size: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda size: size is None,  # such a shape is what it was before
        description="Numbers of a token that a layer puts out; only a sharer that is heard by "
        "them tells it.",
    )

    @property
    def size(self) -> int:
        """Numbers per token, layer and keys or values."""
        return self.heads * self.head_dim

    def heard_size(self, source: Source) -> int:
        """Numbers of a token and layer that a fuser hears; of keys or of values, if by those.

        Raises:
            ValueError: The shape does not tell it.
        """
        if source == "kv":
            return self.size
        if self.hidden_size is None:
            raise ValueError("source hidden needs the sharer's hidden size: `cache_shape`")
        return self.hidden_size

    def without_projections(self) -> CacheShape:
        """The cache alone."""
        return self.model_copy(update={"projections": ()})
