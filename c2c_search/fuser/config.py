"""The frozen configuration that is the single truth of a fuser's architecture."""

from __future__ import annotations

from typing import Annotated
from typing import Literal
from typing import Self

from pydantic import AfterValidator
from pydantic import AliasChoices
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import model_validator

from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.families import ProjectorFamily
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.injections import Injection
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.fuser.layer_alignment import LayerAlignment
from c2c_search.fuser.layers import Layers
from c2c_search.fuser.layers import listed
from c2c_search.fuser.rules import ANCHOR_TOKENS
from c2c_search.fuser.rules import DRAFT_TOKENS
from c2c_search.fuser.rules import faults
from c2c_search.fuser.shapes import Source
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS


# Each is a built-in name, one of an installed package, or a dotted path; see `plugins`.
ProjectorName = Annotated[str, AfterValidator(PROJECTORS.check)]
LayerAlignmentName = Annotated[str, AfterValidator(LAYER_ALIGNMENTS.check)]
InjectionName = Annotated[str, AfterValidator(INJECTIONS.check)]

Activation = Literal["gelu", "relu", "silu"]
Initialisation = Literal["zero", "random", "ridge"]
RidgeWeighting = Literal["none", "attention"]
WeightGranularity = Literal["token", "head", "value"]
Normalisation = Literal["none", "rms", "calibrated"]
Combination = Literal["concat", "mean", "learned"]
TokenAlignmentName = Annotated[str, AfterValidator(TOKEN_ALIGNMENTS.check)]
Keys = Literal["rotated", "unrotated"]
SharerMode = Literal["real", "blank", "mismatched", "self"]
ReadsFrom = Literal["all", "last"]
Message = Literal["prompt", "draft", "both"]
Anchors = Literal["none", "first", "last"]

DEEPEST = 8
"""Residual blocks, +2, of the deepest fuser that is searched."""


class FuserConfig(BaseModel, serialize_by_alias=True):
    """Architecture of a fuser, without the geometry of the two models (that is measured).

    ``fused = receiver + gate * weight * projected``, for keys and for values, each with its own
    network unless the family is ``joint`` (C2C, arXiv 2510.03215, section 3.3).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    projector: ProjectorName = Field("c2c", description="Projector family.")
    depth: int = Field(
        3, ge=1, le=DEEPEST, description="c2c, joint: residual blocks on the projection path, +2."
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
    bias: bool = Field(
        True,
        description="linear: whether the map adds a constant, which is said whatever the message.",
        exclude_if=lambda bias: bias,  # other fusers are what they were before this
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
    ridge_weighting: RidgeWeighting = Field(
        "none",
        description="Of calibration tokens in ridge fits. attention: by what each receives from "
        "later tokens in the receiver, for each KV head a map of its own.",
        exclude_if=lambda weighting: weighting == "none",  # hashes are what they were before it
    )
    dynamic_weight: bool = Field(True, description="Sigmoid weight from the input.")
    weight_granularity: WeightGranularity = Field(
        "head", description="One dynamic weight per token, per KV head (published) or per value."
    )
    normalisation: Normalisation = Field("calibrated", description="Of the projector's input.")
    gate: GateConfig = GateConfig()
    layer_alignment: LayerAlignmentName = Field(
        "terminal", description="Which sharer layer feeds which."
    )
    alignment_window: int = Field(
        3,
        ge=1,
        le=1000,
        description="Sharer layers that `learned` alignment weighs per receiver layer.",
    )
    sources_per_layer: int = Field(
        1, ge=1, le=8, description="Sharer layers that feed each receiver layer."
    )
    source_combination: Combination = Field(
        "concat", description="How several sharer layers become one input."
    )
    layer_share: float = Field(
        1.0, gt=0, le=1, description="Share of the receiver's layers that are fused."
    )
    layer_count: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="How many of the receiver's layers are fused; layer_share says it when left "
        "out.",
        exclude_if=lambda count: count is None,  # hashes are what they were before it
    )
    # Studies and champions know it by its former name.
    layers: Layers = Field(
        "last",
        validation_alias=AliasChoices("layers", "layer_choice"),
        serialization_alias="layer_choice",
        description="Which layers a share or a count takes: the last; spread, evenly over the "
        "depth; attention, those whose attention output a linear map of the sharer keeps best "
        "(cosine on calibration prompts). Or these layers, as `18, 20, 22, 24`, with their "
        "sharer layers as `18:14, 20:16`.",
    )
    token_alignment: TokenAlignmentName = Field(
        "span", description="Which sharer token stands for each receiver token."
    )
    source: Source = Field(
        "kv",
        exclude_if=lambda source: source == "kv",  # such a fuser is what it was before
        description="kv: the sharer's keys and values are projected; hidden: what its layers put "
        "out, from which keys and values are both made.",
    )
    keys: Keys = Field(
        "rotated", description="unrotated: RoPE is stripped before projecting, put back after."
    )
    injection: InjectionName = Field(
        "residual",
        description="residual: added to the receiver's cache; replace: in its place; append: "
        "as further cache entries, for a sharer that read something else; side: read by a second "
        "attention beside the receiver's own.",
    )
    reads_from: ReadsFrom = Field(
        "last",
        description="side: which of the prompt's tokens read it beside the answer's. last: the "
        "last one, so that stored prompt caches serve; all: every one, so that the receiver reads "
        "its prompt anew.",
        exclude_if=lambda reads_from: reads_from == "last",
    )
    slots: int | None = Field(
        None,
        ge=1,
        le=1024,
        exclude_if=lambda slots: (
            slots is None
        ),  # such a fuser is what it was before there were any
        description="Entries of a message, whatever its length, by learned pooling over its "
        "tokens; as many as tokens when left out.",
    )
    refresh: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Every so many tokens of the answer the sharer reads what the receiver has "
        "written, and its message grows by that; never when left out.",
        exclude_if=lambda refresh: refresh is None,  # such a fuser is what it was before this
    )
    fuse_response: bool = Field(
        False, description="The response's tokens are fused too, as they are written."
    )
    sharer: SharerMode = Field(
        "real",
        description="blank: the no-sharer twin, features zeroed; self: the receiver is its own "
        "sharer, and reads what it reads itself; mismatched: while it trains, each row hears its "
        "neighbour's message.",
    )
    message: Message = Field(
        "prompt",
        description="What the sharer sends: the cache of its prompt, of the answer that it drafts "
        "to it (greedily, Draft-KV), or of both.",
        exclude_if=lambda message: message == "prompt",  # such a trial is what it was before
    )
    draft_tokens: int = Field(
        DRAFT_TOKENS,
        ge=4,
        le=256,
        description="draft, both: where a draft is cut that has not ended by itself.",
        exclude_if=lambda tokens: tokens == DRAFT_TOKENS,
    )
    anchors: Anchors = Field(
        "none",
        description="Words of the message that the receiver reads in front of its question: the "
        "first or last ones of what the sharer alone has read, and of its draft. They cross as "
        "text.",
        exclude_if=lambda anchors: anchors == "none",  # such a trial is what it was before
    )
    anchor_tokens: int = Field(
        ANCHOR_TOKENS,
        ge=1,
        le=1024,
        description="first, last: how many of them at most, in tokens of the receiver.",
        exclude_if=lambda tokens: tokens == ANCHOR_TOKENS,
    )
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
    def family(self) -> ProjectorFamily:
        """What the projector family declares."""
        return PROJECTORS[self.projector]

    @property
    def injected(self) -> Injection:
        """What the injection declares."""
        return INJECTIONS[self.injection]

    @property
    def aligned(self) -> LayerAlignment:
        """What the layer alignment declares."""
        return LAYER_ALIGNMENTS[self.layer_alignment]

    @property
    def packages(self) -> set[str]:
        """Packages beside this one that its plug-ins come from; it cannot be built without."""
        modules = (
            PROJECTORS.module(self.projector),
            GATES.module(self.gate.granularity),
            LAYER_ALIGNMENTS.module(self.layer_alignment),
            TOKEN_ALIGNMENTS.module(self.token_alignment),
            INJECTIONS.module(self.injection),
        )
        return {module.partition(".")[0] for module in modules} - {__name__.partition(".")[0]}

    @property
    def all_layers(self) -> bool:
        """Whether every layer of the receiver is fused, however many it has."""
        one_by_one = bool(listed(self.layers))
        return self.layer_share == 1 and self.layer_count is None and not one_by_one

    @property
    def scores_layers(self) -> bool:
        """Whether calibration prompts choose which layers are fused."""
        return self.layers == "attention" and not self.all_layers

    @property
    def adds_entries(self) -> bool:
        """Whether entries are added beside the receiver's, of whatever the sharer has read."""
        return self.injected.projects == "entries"

    @property
    def adds_memory(self) -> bool:
        """Whether a second attention reads what is projected, beside the receiver's own."""
        return self.injected.projects == "memory"

    @property
    def stands_beside(self) -> bool:
        """Whether what is projected belongs to none of the receiver's tokens."""
        return self.injected.stands_beside

    @property
    def can_be_silent(self) -> bool:
        """Whether its receiver answers as it does alone where nothing is added."""
        itself = self.sharer == "self" or self.anchored or self.lora_rank > 0
        return self.stands_beside and not itself

    @property
    def drafts(self) -> bool:
        """Whether the sharer drafts an answer before the receiver hears it."""
        return self.message != "prompt"

    @property
    def anchored(self) -> bool:
        """Whether the receiver reads words of the sharer's message as its own tokens."""
        return self.anchors != "none"

    def without_anchors(self) -> FuserConfig:
        """The same where no word of the message is read; itself where none is."""
        if not self.anchored:
            return self
        return self.model_copy(update={"anchors": "none", "anchor_tokens": ANCHOR_TOKENS})

    @property
    def weighted(self) -> bool:
        """Whether there is a dynamic weight; what is fitted or stands beside has none."""
        return self.dynamic_weight and not self.family.closed_form and not self.stands_beside

    @property
    def reads_receiver(self) -> bool:
        """Whether the projector sees the receiver's token, which belongs to the sharer's."""
        return self.family.reads_receiver and not self.stands_beside

    @property
    def fitted(self) -> bool:
        """Whether calibration prompts give it a map in closed form."""
        return self.family.closed_form or self.initialisation == "ridge"

    @property
    def calibrates(self) -> bool:
        """Whether calibration prompts give it any numbers."""
        return self.fitted or self.normalisation == "calibrated"

    def without_sharer(self) -> FuserConfig:
        """Its no-sharer twin: what can be adapted in the receiver without hearing anything.

        As the injection and the projector family declare it. A fuser whose output is made of the
        sharer alone (``linear``, ``ridge``, or any that replaces) would be left with a constant,
        and beating that proves nothing. Its twin is the published kind, which reads and keeps the
        receiver's own cache. One that stands beside keeps its kind: blanked, it is a learned
        prefix or memory, and no other kind can stand where the sharer has read something else;
        it has no anchors, which are the sharer's words. A LoRA stays: it adapts the receiver of
        both alike.
        """
        declared = (self.injected.twin, self.family.twin)
        twin = next((each for each in declared if each != "itself"), "itself")
        if twin in ("itself", "blanked"):
            # A map without a constant would have nothing to make of zeros.
            silent = self.without_anchors()
            return silent.model_copy(update={"sharer": "blank", "bias": True})
        return self._published_twin() if isinstance(twin, str) else twin(self)

    def _published_twin(self) -> FuserConfig:
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
        if wrong := faults(self):
            raise ValueError("; ".join(wrong))
        return self


DEEPEST_IMPORTED = 64
"""Residual blocks, +2, of the deepest published checkpoint that is read."""


class ImportedConfig(FuserConfig):
    """As a published checkpoint may have it: deeper than is searched."""

    depth: int = Field(3, ge=1, le=DEEPEST_IMPORTED)

    def narrowed(self) -> FuserConfig:
        """The configuration that is searched, where this is one."""
        if self.depth > DEEPEST:
            return self
        return FuserConfig.model_validate(self.model_dump())
