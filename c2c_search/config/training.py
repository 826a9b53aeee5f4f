"""How a trial trains its fuser, as data."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from c2c_search.config.frozen import FrozenModel
from c2c_search.data.schema import whole


Schedule = Literal["cosine", "linear", "constant"]
ZeroStage = Literal[0, 1, 2]

_WHY_NOT_STAGE_3 = (
    "must be 0, 1 or 2: DeepSpeed's stage 3 computes wrong gradients when a step leaves a "
    "parameter unused, and leaks memory from trial to trial; the engine wraps the fuser alone, "
    "which fits without it"
)


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

    steps: int = Field(
        200, ge=1, le=10**9, description="Optimizer steps of a trial that is not pruned."
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
        0.1, ge=0, lt=1, description="Share of the trial's steps that the rate rises over."
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
        description="DeepSpeed ZeRO stage; on one device, where a trial trains, 1 and 2 split "
        "nothing.",
    )
    guard: GuardConfig | None = Field(
        None,
        description="Limits what a wrong message, and any message on other tasks "
        "(`data.files.guard`), may cost; null: nothing does.",
        exclude_if=lambda guard: guard is None,  # such a trial is what it was before there was one
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
            raise ValueError(_WHY_NOT_STAGE_3)
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

    @property
    def rung_steps(self) -> tuple[int, ...]:
        """The optimizer step after which each rung is judged; the last is ``steps``."""
        return tuple(round(share * self.steps) for share in self.rungs)
