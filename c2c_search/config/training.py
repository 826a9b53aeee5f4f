"""How a trial trains its fuser, as data."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self

from pydantic import BeforeValidator
from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from c2c_search.config.deepspeed import WHY_NOT_STAGE_3
from c2c_search.config.deepspeed import conflicts
from c2c_search.config.frozen import FrozenModel
from c2c_search.config.stages import StageConfig
from c2c_search.config.stages import as_stages
from c2c_search.data.schema import whole


Schedule = Literal["cosine", "linear", "constant"]
Sees = Literal["always", "half", "never"]
ZeroStage = Literal[0, 1, 2]

CHECKPOINT_SECONDS = 60.0
"""Between two checkpoints, where nothing else is said."""


Stages = Annotated[tuple[StageConfig, ...], BeforeValidator(as_stages)]


def _all_steps(known: dict[str, Any]) -> int:
    """Of all stages; of a training without any, the default."""
    return sum(stage.steps for stage in known.get("stages", ())) or 200


class GuardConfig(FrozenModel):
    """What keeps a fuser from harm: wrong messages, and other tasks, may cost only so much.

    The loss is that of the responses plus ``weight * relu(NLL - NLL of the receiver alone -
    tolerance)``, where NLL is of a batch's responses after another row's message and, where
    `data.files` names some, of rows of other tasks. It never rewards being worse than alone.

    Source: the third stage of Draft-KV (arXiv 2609.34754); rows of other tasks are this project's.
    """

    weight: float = Field(
        0.1, ge=0, description="Of what lies above the tolerance; 0 measures it alone."
    )
    tolerance: float = Field(
        0.1, ge=0, description="Nats per token that a fuser may cost the receiver alone."
    )
    every: int = Field(
        1, ge=1, le=10**9, description="Guarded is each step of so many, the first one included."
    )


class TrainingConfig(FrozenModel):
    """How one trial trains its fuser; receiver and sharer stay frozen.

    The defaults of ``learning_rate``, ``weight_decay``, ``warmup`` and ``schedule`` are the
    recipe that C2C (arXiv 2510.03215) published.
    """

    stages: Stages = Field(
        (),
        description="Stages, one after the other, as a list or as a line "
        "(`reconstruction 200 -> task 100 replay=0.2`); each has its own warm-up and decay. "
        "None: the reference answers, for all steps.",
        exclude_if=lambda stages: not stages,  # such a trial is what it was before there were any
    )
    steps: int = Field(
        default_factory=_all_steps,
        ge=1,
        le=10**9,
        description="Optimizer steps of a trial that is not pruned: 200, or those of all stages, "
        "which they must be where both are given.",
    )
    batch_size: int = Field(
        8, ge=1, le=2**16, description="Examples per device in one forward and backward pass."
    )
    gradient_accumulation: int = Field(
        1,
        ge=1,
        le=2**16,
        description="Passes whose gradients are averaged into one optimizer step.",
    )
    learning_rate: float = Field(1e-4, gt=0, description="Peak rate, reached after the warm-up.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled weight decay.")
    warmup: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the trial's steps, or of each stage's, that the rate rises over.",
    )
    schedule: Schedule = Field("linear", description="How the rate falls after the warm-up.")
    gradient_clipping: float = Field(
        1.0, ge=0, description="Largest norm of the gradient; 0: not clipped."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Probability taken from the right token, spread over all."
    )
    checkpoint_activations: bool = Field(
        False,
        description="The fuser's activations are computed again instead of kept: the same "
        "numbers, less memory, a slower step.",
    )
    zero_stage: ZeroStage = Field(
        0,
        description="DeepSpeed ZeRO stage; 1 and 2 split the optimizer's state among the devices "
        "of a trial, and on one device nothing.",
    )
    devices_per_trial: int = Field(
        1,
        ge=1,
        le=1024,
        description="Devices that one trial trains on, each with `batch_size` examples a pass. "
        "Where fewer are at hand, each makes as many more passes: the same training.",
        exclude_if=lambda devices: devices == 1,
    )
    deepspeed: dict[str, Any] | None = Field(
        None,
        description="Settings passed through to DeepSpeed: a mapping, or a JSON file of them, "
        "relative to the pipeline. What contradicts the training is refused.",
        exclude_if=lambda settings: settings is None,
    )
    checkpoint_seconds: float = Field(
        CHECKPOINT_SECONDS,
        ge=0,
        description="Between two checkpoints of a trial, beside those at its rungs; a killed "
        "trial goes on from the last. It changes no result.",
        exclude_if=lambda seconds: seconds == CHECKPOINT_SECONDS,
    )
    guard: GuardConfig | None = Field(
        None,
        description="Limits what a wrong message, and any message on other tasks "
        "(`data.files.guard`), may cost; null: nothing does.",
        exclude_if=lambda guard: guard is None,  # such a trial is what it was before there was one
    )
    receiver_sees: Sees = Field(
        "always",
        description="How often the receiver reads its question while it is trained; in its place "
        "it reads a fixed instruction, and the sharer alone has the question. half: in half of "
        "each batch. Where it answers, it always reads it.",
        exclude_if=lambda sees: sees == "always",
    )
    log_every: int = Field(
        10, ge=1, le=10**9, description="Steps between two logged training metrics."
    )
    rungs: tuple[float, ...] = Field(
        (1.0,),
        min_length=1,
        description="Shares of `steps` after which the trial is validated and may be pruned.",
    )

    @field_validator("zero_stage", mode="before")
    @classmethod
    def _stage_3_is_wrong(cls, value: Any) -> Any:
        if value == 3:
            raise ValueError(WHY_NOT_STAGE_3)
        return whole(value)

    @field_validator("rungs")
    @classmethod
    def _rungs_rise_to_one(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(low < high for low, high in pairwise(rungs))
        if rungs[0] <= 0 or not rising or rungs[-1] != 1.0:
            raise ValueError(
                "must be shares of the steps that rise from above 0 to 1.0 at the end"
            )
        return rungs

    @model_validator(mode="after")
    def _stages_fit_together(self) -> Self:
        if not self.stages:
            return self
        total = sum(stage.steps for stage in self.stages)
        if self.steps != total:
            raise ValueError(
                f"steps must be those of all stages, {total}, and not {self.steps}; drop steps, "
                "or change those of a stage"
            )
        if self.stages[0].replay:
            raise ValueError(
                "the first of the stages has none before it to repeat; drop its replay"
            )
        if self.guard is not None and all(s.kind == "reconstruction" for s in self.stages):
            raise ValueError(
                "guard limits harm where answers are learnt, and all stages are reconstruction; "
                "add an answer or a task stage, or drop guard"
            )
        return self

    @model_validator(mode="after")
    def _rungs_fall_on_different_steps(self) -> Self:
        if len(set(self.rung_steps)) < len(self.rungs) or self.rung_steps[0] < 1:
            raise ValueError(
                f"every rung needs a step of its own, but rungs {list(self.rungs)} of "
                f"{self.steps} steps are the steps {list(self.rung_steps)}; "
                "take more steps or fewer rungs"
            )
        return self

    @model_validator(mode="after")
    def _another_row_is_in_the_batch(self) -> Self:
        if self.guard is not None and self.batch_size < 2:
            raise ValueError(
                "guard gives a row the message of another one of its batch, so batch_size must "
                "be at least 2; raise it (and lower gradient_accumulation), or drop guard"
            )
        return self

    @model_validator(mode="after")
    def _deepspeed_contradicts_nothing(self) -> Self:
        if found := conflicts(self):
            raise ValueError("deepspeed: " + ". ".join(found))
        return self

    @property
    def passes(self) -> int:
        """Passes of all devices whose gradients make one optimizer step."""
        return self.gradient_accumulation * self.devices_per_trial

    @property
    def rung_steps(self) -> tuple[int, ...]:
        """The optimizer step after which each rung is judged; the last is ``steps``."""
        return tuple(round(share * self.steps) for share in self.rungs)

    @property
    def course(self) -> tuple[StageConfig, ...]:
        """Its stages; without any, the reference answers for all steps."""
        return self.stages or (StageConfig(kind="answer", steps=self.steps),)

    @property
    def needs_added_entries(self) -> str:
        """What of it no receiver can learn from its own entries, as ``field value``; or empty."""
        if any(stage.kind == "reconstruction" for stage in self.stages):
            return "stages reconstruction"
        return "" if self.receiver_sees == "always" else f"receiver_sees {self.receiver_sees}"
