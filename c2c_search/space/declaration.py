"""What a space file declares, and the trial that a point of the space stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self
from typing import cast
from typing import get_args

from pydantic import BaseModel
from pydantic import Field
from pydantic import StringConstraints
from pydantic import model_validator

from c2c_search.config.frozen import FrozenModel
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.presets import preset
from c2c_search.host.names import NAME
from c2c_search.models.pair import PairSpec
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Scalar
from c2c_search.space.objective import ObjectiveName
from c2c_search.space.objectives import TIMED
from c2c_search.space.objectives import Choose
from c2c_search.space.objectives import Measure
from c2c_search.space.pruners import PrunerName
from c2c_search.space.samplers import SamplerName


PRESET = "fuser.preset"
"""Names a method whose fuser takes the default's place; whatever else is set changes that."""

LONGEST_NAME = 100
BYTES_PER_PARAMETER = 4  # Fusers are trained and saved in float32.

_BUDGET = "trials are compared at equal rungs of equal length; set it in the pipeline"
_MACHINE = "it says how the machine is used; set it in the pipeline"
_SEED = "a lucky seed is no discovery; set search.seed"
NOT_SEARCHED = {
    "fuser.sharer": "every finalist's no-sharer twin is trained anyway",
    "training.steps": _BUDGET,
    "training.rungs": _BUDGET,
    "training.log_every": _BUDGET,
    "training.devices_per_trial": _MACHINE,
    "training.deepspeed": _MACHINE,
    "training.checkpoint_seconds": _MACHINE,
    "seed": _SEED,
    "data": "every trial is judged on the same questions; set them in the pipeline",
    "evaluation": "every trial is judged in the same way; set it in the pipeline",
    "pair.receiver": "name the pairs under `pairs` and search or fix `pair`",
    "pair.sharer": "name the pairs under `pairs` and search or fix `pair`",
}

FORMER_NAMES = {"fuser.layer_choice": "fuser.layers"}
"""Dotted names of older spaces, and what stands there now."""


class Search(FrozenModel):
    """How the space is searched."""

    trials: int = Field(
        ge=1, le=1_000_000, description="Trials of the study, pruned ones included."
    )
    hours: float | None = Field(
        None, gt=0, description="No more trials once they have run for so long, all starts added."
    )
    steps: int | None = Field(
        None, ge=1, description="No more trials once theirs have taken so many optimizer steps."
    )
    tokens: int | None = Field(
        None,
        ge=1,
        description="No more trials once theirs have learned from so many tokens: both models' "
        "prompts, and what the receiver reads behind its own.",
    )
    flops: float | None = Field(
        None,
        gt=0,
        description="No more trials once theirs have taken so many floating-point operations, in "
        "steps and in judging at the rungs.",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="No more trials once so many in a row found nothing better.",
    )
    sampler: SamplerName = Field(
        "auto",
        description="auto: tpe_multivariate that starts to learn after the enqueued settings and "
        "a quarter of the trials, at most 10; tpe: each dimension alone; tpe_multivariate: what "
        "always applies together; tpe_hierarchical: branch by branch of a conditional space; gp; "
        "cmaes; nsga2; nsga3; random; grid; qmc: without learning; or a plug-in, by name or "
        "dotted path.",
    )
    startup_trials: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="auto, tpe, tpe_multivariate, tpe_hierarchical, gp: trials by chance before "
        "it learns.",
    )
    constant_liar: bool | None = Field(
        None,
        description="auto, tpe, tpe_multivariate, tpe_hierarchical: take trials that still run "
        "for bad, so that those that run at once differ; true unless said.",
    )
    population: int | None = Field(
        None,
        ge=4,
        le=10_000,
        description="cmaes, nsga2, nsga3: trials of a generation; null: CMA-ES's own for the "
        "number of ranges, or a fifth of the trials, 4 to 50.",
    )
    grid_points: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="grid: points of each range, its ends included; null: every integer, and no "
        "floats.",
    )
    pruner: PrunerName = Field(
        "halving",
        description="Which trials stop at a rung: halving, which is asha; hyperband; median; "
        "percentile; patient: halving, of those that do not improve; wilcoxon: those that answer "
        "blocks of validation worse than the best; none; or a plug-in, by name or dotted path.",
    )
    percentile: float | None = Field(
        None,
        gt=0,
        lt=100,
        description="percentile: the best so many percent go on; null: 75.",
    )
    patient_rungs: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="patient: rungs without improvement that are forgiven; null: none.",
    )
    wilcoxon_p: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="wilcoxon: p of the signed-rank test below which a trial stops; null: 0.05.",
    )
    reduction_factor: int = Field(
        3,
        ge=2,
        le=1000,
        description="halving (asha), hyperband and patient: one trial in this many goes on from "
        "a rung.",
    )
    objective: ObjectiveName = Field(
        "margin",
        description="What is maximised on validation. margin: accuracy above the best of what "
        "does not communicate, the same fuser with another item's message included; "
        "pairing_gain: above that fuser alone; gain: above what the receiver learns without a "
        "sharer, or answers alone; accuracy: whatever it comes from.",
    )
    objectives: tuple[Measure, ...] | None = Field(
        None,
        min_length=2,
        description="Several instead of one `objective`, the first of them one that it could be. "
        "Also parameters of the fuser, and of a trained one, asked a question at a time: "
        "latency_ms, the median time to the first token, and peak_memory_mb; these three are "
        "minimised.",
    )
    bounds: dict[Measure, float] = Field(
        {},
        description="The worst value of a measure that is accepted of a trained fuser: the "
        "sampler avoids what is beyond, and no such trial becomes a finalist.",
    )
    choose: Choose | None = Field(
        None,
        description="With `objectives`, how finalists are chosen from the Pareto front; null: by "
        "the first objective, equals by the second.",
    )
    confirm_seeds: int = Field(
        0,
        ge=0,
        le=20,
        description="Further seeds that every finalist is trained with, before they are ordered "
        "by their means.",
    )
    trials_per_device: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = Field(
        1,
        description="Trials that train at once in one process, the receiver reading for all of "
        "them in one pass; auto: as many as pay, measured when the search begins.",
    )
    trial_hours: float | None = Field(
        None,
        gt=0,
        description="Hours after which a trial has failed (`timeout`); trials that train at once "
        "share the sum of theirs.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Of the sampler, and of every trial.")

    @property
    def places(self) -> int:
        """Trials that train at once in one process; 1 where that is still to be measured."""
        return 1 if self.trials_per_device == "auto" else self.trials_per_device

    @property
    def leading(self) -> ObjectiveName:
        """The objective, of several the first: by it a training's best rung is kept."""
        return self.objective if self.objectives is None else cast("Any", self.objectives[0])

    @property
    def compared_by(self) -> tuple[Measure, ...]:
        """All objectives."""
        return self.objectives or (self.objective,)

    @property
    def timed(self) -> bool:
        """Whether trained fusers are asked questions for what they cost."""
        return any(name in TIMED for name in (*self.compared_by, *self.bounds))

    @property
    def choice(self) -> Choose:
        """How finalists are chosen from the front."""
        first, *others = self.compared_by
        return self.choose or Choose(best=first, then=others[0] if others else None)


class Limits(FrozenModel):
    """Bounds on a fuser and on its training; a candidate beyond them is never suggested."""

    max_parameters: int | None = Field(None, ge=1, description="Most parameters of a fuser.")
    max_bytes: int | None = Field(
        None, ge=1, description="Most bytes of a fuser, at 4 per parameter."
    )
    max_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Most gigabytes of the device that a trial takes at its peak: the models of "
        "all pairs, the batch's prompt caches, fuser and optimizer, activations.",
    )

    def allow_memory(self, size: int) -> bool:
        """Whether a trial of this many bytes at its peak keeps to the limits."""
        return self.max_memory_gb is None or size <= self.max_memory_gb * 1e9

    def allow(self, parameters: int) -> bool:
        """Whether a fuser of this many parameters keeps to the limits."""
        if self.max_parameters is not None and parameters > self.max_parameters:
            return False
        return self.max_bytes is None or parameters * BYTES_PER_PARAMETER <= self.max_bytes


Name = Annotated[str, StringConstraints(pattern=NAME, max_length=LONGEST_NAME)]
"""A name that becomes a file's and a key of every store."""


class Declaration(FrozenModel):
    """A space without its pipeline.

    A dotted name is ``pair`` or the path of a field into `TrialConfig`, e.g. ``fuser.depth`` or
    ``training.learning_rate``. What is neither searched nor fixed comes from the pipeline, or is
    the default of `FuserConfig`.
    """

    study: Name = Field(
        description="Name of the study: letters, digits, dot, dash and underscore.",
    )
    pairs: dict[Name, PairSpec] = Field(
        min_length=1, description="The pairs, by a short name of the same characters."
    )
    search: Search = Field(description="How the space is searched.")
    dimensions: dict[str, Dimension] = Field(description="What is searched, by dotted name.")
    fixed: dict[str, Scalar] = Field(
        default={}, description="Values that every trial has, by dotted name."
    )
    enqueue: tuple[dict[str, Scalar], ...] = Field(
        default=(), description="Settings tried first; what one leaves out is sampled."
    )
    limits: Limits = Field(default=Limits(), description="Bounds on a fuser and on its training.")

    @model_validator(mode="after")
    def _names_are_of_different_files(self) -> Self:
        if len({name.casefold() for name in self.pairs}) < len(self.pairs):
            raise ValueError("names of pairs must differ by more than capital letters")
        return self


class SpaceFile(Declaration):
    """A space as its YAML file says it."""

    pipeline: str = Field(description="Path of the pipeline, relative to the space file.")


SECTIONS: dict[str, type[BaseModel]] = {"fuser": FuserConfig, "training": TrainingConfig}


def field_names() -> list[str]:
    """Dotted names of everything that can be searched or fixed."""
    names = [path for name, model in SECTIONS.items() for path in _leaves(model, name)]
    return ["pair", PRESET, *(name for name in names if name not in NOT_SEARCHED)]


def _leaves(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        path = f"{prefix}.{name}"
        if (kind := _section(field.annotation)) is not None:
            names += _leaves(kind, path)
        else:
            names.append(path)
    return names


def _section(annotation: Any) -> type[BaseModel] | None:
    """The fields below a field, also of one that may be null; None if there are none."""
    options = {*get_args(annotation)} - {type(None)} or {annotation}
    kind = options.pop()
    nested = not options and isinstance(kind, type) and issubclass(kind, BaseModel)
    return kind if nested else None


def into(target: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The fields below a path, which is made where what may be null is null."""
    for part in path:
        target[part] = target.get(part) or {}
        target = target[part]
    return target


def settings(declaration: Declaration, pipeline: Pipeline, params: Params) -> dict[str, Any]:
    """The fields of the trial that a point of the space stands for, not validated.

    Args:
        declaration: The space.
        pipeline: Training, data and evaluation of every trial.
        params: Values by dotted name, of the dimensions that apply.

    Raises:
        ConfigError: There is no such preset.
    """
    values = {"pair": next(iter(declaration.pairs)), **declaration.fixed, **params}
    method = values.pop(PRESET, None)
    fuser = {} if method is None else preset(method).fuser
    trial: dict[str, Any] = {
        "fuser": FuserConfig.model_validate(fuser).model_dump(by_alias=False),
        "training": pipeline.training.model_dump(),
        "data": pipeline.data,
        "evaluation": pipeline.evaluation,
        "cache_dtype": pipeline.caches.dtype,
        "seed": declaration.search.seed,
    }
    for name, value in values.items():
        *path, last = FORMER_NAMES.get(name, name).split(".")
        into(trial, path)[last] = declaration.pairs[str(value)] if name == "pair" else value
    return trial


def assemble(declaration: Declaration, pipeline: Pipeline, params: Params) -> TrialConfig:
    """The trial that a point of the space stands for; see `settings`.

    Raises:
        pydantic.ValidationError: If a value, or the combination, is not a valid trial.
    """
    return TrialConfig.model_validate(settings(declaration, pipeline, params), strict=True)
