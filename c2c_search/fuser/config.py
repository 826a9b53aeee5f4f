"""Fuser room: the frozen configuration that is the single truth of a fuser's architecture."""

from __future__ import annotations

from typing import Literal
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import model_validator


ProjectorFamily = Literal["c2c"]
Granularity = Literal["none", "layer", "head", "token", "value"]
Noise = Literal["gumbel", "logistic", "none"]
Rule = Literal["hard", "soft"]
Normalisation = Literal["none", "rms", "calibrated"]
Alignment = Literal["terminal", "proportional", "similarity", "learned"]
SharerMode = Literal["real", "blank", "mismatched"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GateConfig(_Frozen):
    """The learned gate in front of what the projector adds.

    A gate logit x opens by ``sigmoid(x / temperature)`` (rule ``soft``) or by ``x > 0`` (rule
    ``hard``). With noise, training samples the gate and ``temperature`` anneals from
    ``temperature_start`` to ``temperature_end`` over the trial's own budget.

    Source: C2C (arXiv 2510.03215), section 3.3; the published code uses ``layer``, ``gumbel``,
    ``hard``, logit 0.
    """

    granularity: Granularity = Field(
        "none", description="One gate per layer, KV head, token or value; none: always open."
    )
    input_dependent: bool = Field(
        False, description="Compute the logit from the input; token gates always are."
    )
    noise: Noise = Field("none", description="Noise on the logit while training.")
    rule: Rule = Field("soft", description="How the gate is read in evaluation.")
    initial_logit: float = Field(0.0, description="Gate logit before training.")
    temperature_start: float = Field(1.0, gt=0)
    temperature_end: float = Field(1.0, gt=0)
    learning_rate_multiplier: float = Field(
        10.0, gt=0, description="Gate logits barely move at the projector's rate."
    )


class FuserConfig(_Frozen):
    """Architecture of a fuser, without the geometry of the two models (that is measured).

    ``fused = receiver + gate * weight * projected``, for keys and for values, each with its own
    network (C2C, arXiv 2510.03215, section 3.3).
    """

    projector: ProjectorFamily = Field("c2c", description="Projector family.")
    depth: int = Field(3, ge=1, le=8, description="Residual blocks on the projection path, +2.")
    width: int = Field(128, ge=1, description="Hidden size of each layer's projector.")
    intermediate: int | None = Field(
        None, ge=1, description="Inner size of a residual block; the width when left out."
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    dynamic_weight: bool = Field(True, description="Per-head sigmoid weight from the input.")
    normalisation: Normalisation = Field("calibrated", description="Of the projector's input.")
    gate: GateConfig = GateConfig()
    layer_alignment: Alignment = Field("terminal", description="Which sharer layer feeds which.")
    layer_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the receiver's layers that are fused, the last ones.",
    )
    alignment_window: int = Field(
        3, ge=1, description="Sharer layers that `learned` alignment weighs per receiver layer."
    )
    sharer: SharerMode = Field("real", description="blank: the no-sharer twin, features zeroed.")

    @model_validator(mode="after")
    def _gate_fields_apply(self) -> Self:
        if self.gate.granularity == "none" and self.gate.noise != "none":
            raise ValueError(
                "gate.noise needs a gate: set gate.granularity to layer, head, token or value, "
                "or gate.noise to none"
            )
        return self


class CacheShape(_Frozen):
    """Shape of a model's KV-cache: every token has ``2 * layers * heads * head_dim`` numbers."""

    layers: int = Field(ge=1)
    heads: int = Field(ge=1, description="KV heads.")
    head_dim: int = Field(ge=1, description="Numbers per KV head.")

    @property
    def size(self) -> int:
        """Numbers per token, layer and keys or values."""
        return self.heads * self.head_dim

    def last_layers(self, share: float) -> int:
        """How many layers a share of them is, rounded, at least one."""
        return max(1, round(share * self.layers))
