"""How a trial is trained and judged, and what its champion must prove, as data."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal
from typing import Self

from pydantic import Field
from pydantic import ValidationError
from pydantic import field_validator
from pydantic import model_validator

from c2c_search.config.deepspeed import read_settings
from c2c_search.config.document import Document
from c2c_search.config.document import is_file
from c2c_search.config.document import read
from c2c_search.config.foreign import refuse_foreign
from c2c_search.config.frozen import FrozenModel
from c2c_search.config.problems import in_order
from c2c_search.config.problems import strictly
from c2c_search.config.problems import validate
from c2c_search.config.problems import without_echoes
from c2c_search.config.stages import files_of
from c2c_search.config.training import TrainingConfig
from c2c_search.data.quiz import group_names
from c2c_search.data.schema import EVERY_SPLIT
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import suggestion
from c2c_search.host.names import REGISTERED
from c2c_search.host.wording import counted
from c2c_search.system_names import SYSTEMS


MISSING_DATA = "A data file must exist; its path is relative to the pipeline file."
"""The rule of a problem that a plan can do with, and nothing else."""

CacheDtype = Literal["bfloat16", "float16", "float32"]


class EvaluationConfig(FrozenModel):
    """How a system answers the questions of a split."""

    method: Literal["cloze"] = Field(
        "cloze", description="cloze: the choice whose text has the highest log-likelihood."
    )
    length_normalised: bool = Field(
        True, description="Divide a choice's log-likelihood by its number of tokens."
    )
    batch_size: int = Field(32, ge=1, le=2**16, description="Questions answered in one pass.")
    derangements: int = Field(
        3,
        ge=1,
        le=100,
        description="How often a fuser answers a test question with another one's message, each "
        "time another's; its deranged accuracy is their mean. At a rung it does so once.",
        exclude_if=lambda count: count == 3,  # other trials are what they were before this
    )


class CacheConfig(FrozenModel):
    """How prompt caches are kept between steps, trials and studies."""

    dtype: CacheDtype = Field(
        "bfloat16",
        description="What they are rounded to, in training as in the champion; float32 takes "
        "twice the disk and the reading.",
    )
    budget_gb: float | None = Field(
        None,
        gt=0,
        le=1e9,
        description="Gigabytes that those of all studies may take on the disk; null: half of what "
        "is free. What does not fit is computed prompt by prompt whenever it is read, with the "
        "same numbers; what trials are judged by is kept before what they learn from. "
        "C2C_SEARCH_CACHE_BUDGET overrides it.",
    )

    @property
    def budget(self) -> int | None:
        """The same in bytes."""
        return None if self.budget_gb is None else int(self.budget_gb * 1e9)


class ChampionConfig(FrozenModel):
    """What a fuser must prove on the test split before it is promoted."""

    finalists: int = Field(
        3, ge=1, le=1000, description="Best trials on validation that are measured on test, once."
    )
    level: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="Chance of a false promotion that the study accepts; the k-th look at the "
        "test split spends level / 2^k of it.",
    )
    resamples: int = Field(
        10_000, ge=1, le=10_000_000, description="Resamples of the paired bootstrap."
    )
    controls: tuple[str, ...] = Field(
        ("routing",),
        description="Systems to beat, beside every single model and the twin: routing "
        "(either model, by confidence; costs nothing), text_relay (the sharer writes, the "
        "receiver reads), zeroed, noise (in the message's place; cost nothing), ridge "
        "(closed-form map), self (the receiver as its own sharer), lora, cartridge (a low-rank "
        "update or a KV prefix of the receiver, of the fuser's size; these three take as many "
        "steps as a trial), or any other one, also by dotted path.",
    )
    min_pairing_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Least part of a champion's gain over its receiver (P/G) that it must owe to "
        "hearing the right message; a lower one is written on its card.",
    )
    harmless_on: tuple[str, ...] = Field(
        (),
        description="Tasks on which a champion must leave its receiver as good as it is alone, "
        "within `harm_margin`: names as of eval's --tasks (arc_easy, from the hub) or NAME=PATH "
        "(a local copy, its path relative to the pipeline file).",
    )
    harm_margin: float = Field(
        2.0, gt=0, lt=100, description="Points of accuracy that count as no harm."
    )
    harm_limit: int = Field(
        1000,
        ge=2,
        le=10**6,
        description="Most items of such a task. A margin of 2 points takes thousands where fuser "
        "and receiver often disagree; the verdict says how many.",
    )
    listening: Literal["always", "confident"] = Field(
        "always",
        description="confident: a finalist is judged, and ships, with its receiver answering "
        "alone where it is surer than a threshold fitted on validation, so that there the sharer "
        "need not read; always: the sharer is heard on every question.",
        exclude_if=lambda listening: listening == "always",  # as before there was a choice
    )
    registered_name: str = Field(
        "c2c-fuser",
        max_length=200,
        pattern=REGISTERED,
        description="Name in the model registry; no slash, no colon, no dot in front.",
    )

    @field_validator("controls")
    @classmethod
    def _each_control_once_and_measurable(cls, controls: tuple[str, ...]) -> tuple[str, ...]:
        # Older pipelines name so what is judged in any case today.
        controls = tuple(name for name in controls if name != "mismatched")
        if len(set(controls)) < len(controls):
            raise ValueError("must name each control once")
        for control in controls:
            reason = SYSTEMS[SYSTEMS.check(control)].no_control
            if reason is not None:
                raise ValueError(f"{control} cannot be a control: {reason}")
        return controls

    @field_validator("harmless_on")
    @classmethod
    def _each_task_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        names = [task.partition("=")[0] for task in tasks]
        if len(set(names)) < len(names):
            raise ValueError("must name each task once")
        return tasks

    @model_validator(mode="after")
    def _tails_hold_a_resample(self) -> Self:
        level = self.level / 2 / self.finalists  # of the first look at the test split
        if self.resamples * level < 2:
            raise ValueError(
                f"resamples must be at least {math.ceil(2 / level)} at level {self.level} shared "
                f"by {counted(self.finalists, 'finalist')}, of which the first look at the test "
                "split spends half: fewer leave nothing beyond the interval's ends"
            )
        return self


class Pipeline(FrozenModel):
    """What every trial of a study shares: data, training, evaluation, caches, the final proof."""

    name: str = Field(
        min_length=1, max_length=200, description="Name of the pipeline in reports and runs."
    )
    data: DataConfig = Field(default=DataConfig(), description="Questions and how they are split.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="How a trial trains.")
    evaluation: EvaluationConfig = Field(
        default=EvaluationConfig(), description="How a system answers."
    )
    caches: CacheConfig = Field(default=CacheConfig(), description="How prompt caches are kept.")
    champion: ChampionConfig = Field(
        default=ChampionConfig(), description="What a champion must prove."
    )

    @model_validator(mode="after")
    def _stages_have_their_files(self) -> Self:
        for stage in self.training.stages:
            files_of(stage, self.data)
        return self

    def on(self, date: str | None) -> Self:
        """The same with the day that dated chat templates write, if it names none itself."""
        if date is None or self.data.date is not None:
            return self
        return self.model_copy(update={"data": self.data.model_copy(update={"date": date})})


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline; its data files are named relative to it and come back absolute.

    Raises:
        ConfigError: With every problem of the file, one line each.
    """
    pipeline, problems = read_pipeline(path)
    if pipeline is None or problems:
        raise ConfigError.collect(problems)
    return pipeline


def read_pipeline(path: Path) -> tuple[Pipeline | None, list[Problem]]:
    """Read a pipeline without raising; it is None when its shape is wrong."""
    document = _with_deepspeed(refuse_foreign(read(path)), path.parent)
    pipeline, problems = validate(Pipeline, document)
    problems += _missing_data(document, path.parent)
    problems = in_order(without_echoes(document, problems))
    if pipeline is None:
        return None, problems
    files = {
        split: tuple(str((path.parent / name).resolve()) for name in names)
        for split, names in pipeline.data.files
    }
    data = pipeline.data.model_copy(update={"files": pipeline.data.files.model_copy(update=files)})
    tasks = tuple(_beside(path.parent, spec) for spec in pipeline.champion.harmless_on)
    champion = pipeline.champion.model_copy(update={"harmless_on": tasks})
    return pipeline.model_copy(update={"data": data, "champion": champion}), problems


def _with_deepspeed(document: Document, folder: Path) -> Document:
    """The document with DeepSpeed's settings in place of the file that it names."""
    training = document.data.get("training") if isinstance(document.data, dict) else None
    if not isinstance(training, dict) or not isinstance(training.get("deepspeed"), str):
        return document
    named = training["deepspeed"]
    settings, problems = None, document.problems
    try:
        settings = read_settings(folder / named)
    except ValueError as error:
        rule = f"A file of DeepSpeed's settings {error}."
        problems += (document.problem(("training", "deepspeed"), rule, value=named),)
    data = {**document.data, "training": {**training, "deepspeed": settings}}
    return replace(document, data=data, problems=problems)


def _beside(folder: Path, spec: str) -> str:
    """A task's ``NAME=PATH`` with the path absolute."""
    name, equals, path = spec.partition("=")
    return f"{name}={(folder / path).resolve()}" if equals else spec


def _missing_data(document: Document, folder: Path) -> Iterator[Problem]:
    """Data files and quiz groups that the pipeline names and that are not there."""
    try:
        data = strictly(DataConfig, (document.data or {}).get("data") or {})
    except ValidationError:
        return
    for split in EVERY_SPLIT:
        for name in getattr(data.files, split):
            if not is_file(folder / name):
                yield document.problem(("data", "files", split), MISSING_DATA, value=name)
    for of_split, patterns in data.groups:
        for pattern in patterns:
            if not fnmatch.filter(group_names(), pattern):
                rule = "A pattern must match a group of the quiz."
                hint = suggestion(pattern, group_names())
                yield document.problem(
                    ("data", "groups", of_split), rule, value=pattern, hint=hint
                )
