"""The frozen configuration that is the single truth of a fuser's architecture."""

from __future__ import annotations

from typing import Literal
from typing import Self

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import model_validator


ProjectorFamily = Literal["c2c", "joint", "linear", "ridge"]
Activation = Literal["gelu", "relu", "silu"]
Initialisation = Literal["zero", "random", "ridge"]
Granularity = Literal["none", "layer", "head", "token", "value"]
WeightGranularity = Literal["token", "head", "value"]
Noise = Literal["gumbel", "logistic", "none"]
Rule = Literal["hard", "soft"]
Normalisation = Literal["none", "rms", "calibrated"]
Alignment = Literal["terminal", "proportional", "similarity", "learned", "explicit"]
Combination = Literal["concat", "mean", "learned"]
LayerChoice = Literal["last", "attention"]
TokenAlignment = Literal["span", "first", "longest"]
Keys = Literal["rotated", "unrotated"]
Injection = Literal["residual", "replace", "append"]
SharerMode = Literal["real", "blank", "mismatched"]
ProjectionRole = Literal["query", "value", "qkv", "output"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class GateConfig(_Frozen):
    """The learned gate in front of what the projector adds; keys and values have their own.

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
    sparsity: float = Field(
        0.0,
        ge=0,
        description="Nats that a wholly open fuser adds to the loss: closes useless layers.",
    )


class FuserConfig(_Frozen):
    """Architecture of a fuser, without the geometry of the two models (that is measured).

    ``fused = receiver + gate * weight * projected``, for keys and for values, each with its own
    network unless the family is ``joint`` (C2C, arXiv 2510.03215, section 3.3).
    """

    projector: ProjectorFamily = Field("c2c", description="Projector family.")
    depth: int = Field(
        3, ge=1, le=8, description="c2c, joint: residual blocks on the projection path, +2."
    )
    width: int = Field(
        128, ge=1, le=2**16, description="c2c, joint: hidden size of a layer's projector."
    )
    intermediate: int | None = Field(
        None,
        ge=1,
        le=2**18,
        description="Inner size of a residual block; the width when left out.",
    )
    rank: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="joint: size of the latent that a sharer token becomes (the width when left "
        "out); linear: rank of the map (full when left out).",
    )
    activation: Activation = Field("gelu", description="Inside a residual block.")
    input_activation: bool = Field(
        True, description="The activation follows the compression too; published: not."
    )
    dropout: float = Field(0.0, ge=0, lt=1)
    initialisation: Initialisation = Field(
        "zero",
        description="Of the output map. zero: an untrained fuser changes nothing; random: as "
        "published; ridge: the closed-form map of calibration prompts.",
    )
    ridge_penalty: float = Field(
        0.1, gt=0, description="Of ridge fits, relative to the mean variance of a feature."
    )
    dynamic_weight: bool = Field(True, description="Sigmoid weight from the input.")
    weight_granularity: WeightGranularity = Field(
        "head", description="One dynamic weight per token, per KV head (published) or per value."
    )
    normalisation: Normalisation = Field("calibrated", description="Of the projector's input.")
    gate: GateConfig = GateConfig()
    layer_alignment: Alignment = Field("terminal", description="Which sharer layer feeds which.")
    alignment_window: int = Field(
        3,
        ge=1,
        le=1000,
        description="Sharer layers that `learned` alignment weighs per receiver layer.",
    )
    sources_per_layer: int = Field(
        1, ge=1, le=4, description="Sharer layers that feed each receiver layer."
    )
    source_combination: Combination = Field(
        "concat", description="How several sharer layers become one input."
    )
    layer_share: float = Field(
        1.0, gt=0, le=1, description="Share of the receiver's layers that are fused."
    )
    layer_choice: LayerChoice = Field(
        "last",
        description="Which layers a share takes: the last, or those whose attention output a "
        "linear map of the sharer keeps best (cosine on calibration prompts).",
    )
    token_alignment: TokenAlignment = Field(
        "span", description="Which sharer token stands for each receiver token."
    )
    keys: Keys = Field(
        "rotated", description="unrotated: RoPE is stripped before projecting, put back after."
    )
    injection: Injection = Field(
        "residual",
        description="residual: added to the receiver's cache; replace: in its place; append: "
        "as further cache entries, for a sharer that read something else.",
    )
    fuse_response: bool = Field(
        False, description="The response's tokens are fused too, as they are written."
    )
    sharer: SharerMode = Field("real", description="blank: the no-sharer twin, features zeroed.")
    lora_rank: int = Field(
        0,
        ge=0,
        le=2**16,
        description="Rank of a LoRA on the receiver's attention, trained with the fuser and "
        "active where the receiver reads and writes on the fused cache; 0: none.",
    )
    lora_learning_rate_multiplier: float = Field(
        0.1, gt=0, description="At the projector's rate, a LoRA learns by heart."
    )

    @property
    def weighted(self) -> bool:
        """Whether there is a dynamic weight; a fitted map and appended entries have none."""
        return self.dynamic_weight and self.projector != "ridge" and self.injection != "append"

    @property
    def reads_receiver(self) -> bool:
        """Whether the projector sees the receiver's token: an appended entry belongs to none."""
        return self.injection != "append" and self.projector != "ridge"

    @property
    def fitted(self) -> bool:
        """Whether calibration prompts give it a map in closed form."""
        return self.projector == "ridge" or self.initialisation == "ridge"

    @property
    def calibrates(self) -> bool:
        """Whether calibration prompts give it any numbers."""
        return self.fitted or self.normalisation == "calibrated"

    def without_sharer(self) -> FuserConfig:
        """Its no-sharer twin: what can be adapted in the receiver without hearing anything.

        A fuser whose output is made of the sharer alone (``linear``, ``ridge``, or any that
        replaces or appends) would be left with a constant, and beating that proves nothing. Its
        twin is the published kind, which reads and keeps the receiver's own cache. A LoRA stays:
        it adapts the receiver of both alike.
        """
        if self.projector in ("c2c", "joint") and self.injection == "residual":
            return self.model_copy(update={"sharer": "blank"})
        return FuserConfig(
            depth=self.depth,
            width=self.width,
            intermediate=self.intermediate,
            dropout=self.dropout,
            normalisation=self.normalisation,
            sharer="blank",
            lora_rank=self.lora_rank,
            lora_learning_rate_multiplier=self.lora_learning_rate_multiplier,
        )

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        wrong = [*self._gate_faults(), *self._family_faults(), *self._injection_faults()]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _gate_faults(self) -> list[str]:
        if self.gate.granularity != "none":
            return []
        set_for_nothing = {
            "noise": self.gate.noise != "none",
            "sparsity": self.gate.sparsity > 0,
            "input_dependent": self.gate.input_dependent,
        }
        return [
            f"gate.{name} needs a gate: set gate.granularity to layer, head, token or value, "
            f"or leave gate.{name} out"
            for name, given in set_for_nothing.items()
            if given
        ]

    def _family_faults(self) -> list[str]:
        wrong = []
        if self.rank is not None and self.projector not in ("joint", "linear"):
            wrong.append("rank belongs to projector joint or linear; leave rank out")
        fitted = self.projector == "ridge" or self.initialisation == "ridge"
        if self.initialisation == "ridge" and self.projector not in ("joint", "linear"):
            wrong.append("initialisation ridge needs projector joint or linear")
        if fitted and self.injection == "residual":
            wrong.append(
                "a ridge map predicts the receiver's cache itself: it needs injection replace or "
                "append (residual would add the cache to itself)"
            )
        if self.projector == "ridge":
            if self.gate.granularity != "none":
                wrong.append(
                    "projector ridge is fitted, not trained: set gate.granularity to none"
                )
            if self.layer_alignment == "learned" or self.source_combination == "learned":
                wrong.append(
                    "projector ridge is fitted, not trained: layer_alignment and "
                    "source_combination cannot be learned"
                )
        return wrong

    def _injection_faults(self) -> list[str]:
        wrong = []
        if self.layer_alignment == "learned" and self.sources_per_layer > 1:
            wrong.append(
                "layer_alignment learned weighs its own window: set sources_per_layer to 1 and "
                "alignment_window to the number of layers"
            )
        if self.injection == "append":
            if self.gate.granularity != "none":
                wrong.append(
                    "injection append has no gate to shut, attention always sees its entries: set "
                    "gate.granularity to none"
                )
            if self.layer_share < 1:
                wrong.append("injection append adds entries to every layer: set layer_share to 1")
            if self.fuse_response:
                wrong.append("injection append has no response to fuse: leave fuse_response out")
        return wrong


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

    @property
    def size(self) -> int:
        """Numbers per token, layer and keys or values."""
        return self.heads * self.head_dim

    def without_projections(self) -> CacheShape:
        """The cache alone."""
        return self.model_copy(update={"projections": ()})

    def last_layers(self, share: float) -> int:
        """How many layers a share of them is, rounded, at least one."""
        return max(1, round(share * self.layers))
