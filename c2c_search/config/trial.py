"""A trial as data, everything that is needed to run it again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Self

from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from c2c_search.config.document import Document
from c2c_search.config.document import dump
from c2c_search.config.document import parse
from c2c_search.config.document import read
from c2c_search.config.frozen import FrozenModel
from c2c_search.config.pipeline import CacheDtype
from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.problems import build
from c2c_search.config.stages import files_of
from c2c_search.config.training import TrainingConfig
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.presets import written_out
from c2c_search.host.strict_json import content_sha256
from c2c_search.models.pair import PairSpec


NO_MAP = ("fuser.layer_alignment", "explicit")
NOT_TRAINED = {
    NO_MAP: "explicit is how an imported checkpoint keeps its map of layers; choose terminal, "
    "proportional, similarity or learned"
}
"""Values that a fuser can have and a trial cannot, with the reason."""


def needs_added_entries(fuser: FuserConfig, training: TrainingConfig) -> str:
    """Why a fuser cannot be trained so; empty if it can."""
    if fuser.stands_beside or not (needs := training.needs_added_entries):
        return ""
    return (
        f"training.{needs} needs a fuser.injection that adds entries or memory, as append or "
        f"side: the receiver reads an instruction alone, and {fuser.injection} can only change "
        "what it has read; choose such an injection, or leave that out of training"
    )


def anchors_say_it(fuser: FuserConfig, training: TrainingConfig) -> str:
    """Why a fuser's anchors leave a training nothing to learn; empty if they do not."""
    if not fuser.anchored:
        return ""
    if any(stage.kind == "reconstruction" for stage in training.stages):
        return (
            f"fuser.anchors {fuser.anchors}: the receiver would read the words that a "
            "reconstruction stage has it write; leave fuser.anchors out, or that stage"
        )
    if training.receiver_sees != "always" and fuser.message != "draft":
        return (
            f"fuser.anchors {fuser.anchors}: the receiver would read the question that "
            f"training.receiver_sees {training.receiver_sees} keeps from it; leave fuser.anchors "
            "out, or receiver_sees, or set fuser.message to draft"
        )
    return ""


def canonical_hash(content: Any) -> str:
    """Hash JSON content, whatever the order of its keys: 16 hexadecimal digits of SHA-256."""
    return content_sha256(content)[:16]


class TrialConfig(FrozenModel):
    """One trial: the same configuration and seed repeat it anywhere."""

    pair: PairSpec = Field(description="The two frozen models.")
    fuser: FuserConfig = Field(description="Architecture of the fuser that is trained.")
    training: TrainingConfig = Field(description="How it is trained.")
    data: DataConfig = Field(description="On which questions it is trained and judged.")
    evaluation: EvaluationConfig = Field(description="How its answers are scored.")
    cache_dtype: CacheDtype = Field(
        "bfloat16", description="What the prompt caches that it learns and answers from are in."
    )
    seed: int = Field(ge=0, lt=2**32, description="Of weights, batches, noise and dropout.")

    @field_validator("fuser")
    @classmethod
    def _map_is_made_from_the_pair(cls, fuser: FuserConfig) -> FuserConfig:
        if fuser.layer_alignment == "explicit":
            raise ValueError(f"layer_alignment: {NOT_TRAINED[NO_MAP]}")
        return fuser

    @model_validator(mode="after")
    def _message_stands_alone(self) -> Self:
        for wrong in (
            needs_added_entries(self.fuser, self.training),
            anchors_say_it(self.fuser, self.training),
        ):
            if wrong:
                raise ValueError(wrong)
        for stage in self.training.stages:
            files_of(stage, self.data)
        return self

    def to_yaml(self) -> str:
        """Write every field, defaults included, in the order of the schema."""
        return dump(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_yaml(cls, text: str, *, name: str = "trial.yaml") -> TrialConfig:
        """Read what `to_yaml` wrote; ``fuser: {preset: NAME}`` stands for that method's fuser.

        Args:
            text: The YAML document.
            name: What errors call the document, e.g. its path.

        Raises:
            ConfigError: With every problem and its line.
        """
        return cls._of(parse(text, name))

    @classmethod
    def load(cls, path: Path) -> TrialConfig:
        """Read a file that `to_yaml` wrote, of which no more than a YAML file may hold is read.

        Raises:
            ConfigError: With every problem and its line.
        """
        return cls._of(read(path))

    @classmethod
    def _of(cls, document: Document) -> TrialConfig:
        fuser = document.data.get("fuser") if isinstance(document.data, dict) else None
        if isinstance(fuser, dict) and "preset" in fuser:
            try:
                named = written_out(fuser)
            except ConfigError as error:
                at = ("fuser", "preset")
                problem = document.problem(at, error.rule, value=error.value, hint=error.hint)
                raise ConfigError.collect([*document.problems, problem]) from None
            document = replace(document, data={**document.data, "fuser": named})
        return build(cls, document)

    def identity(self) -> dict[str, Any]:
        """What makes the trial this one, as JSON can hold it; how it is kept is no part of it."""
        how_kept = {"training": {"checkpoint_seconds"}}  # which changes no number
        return self.model_dump(mode="json", by_alias=True, exclude=how_kept)

    def hash(self) -> str:
        """Identity of the trial, equal across processes and machines: 16 hexadecimal digits."""
        return canonical_hash(self.identity())

    def with_blank_sharer(self) -> TrialConfig:
        """The no-sharer twin, trained the same way; see `FuserConfig.without_sharer`."""
        return self.model_copy(update={"fuser": self.fuser.without_sharer()})

    def with_self(self) -> TrialConfig:
        """The same training with the receiver as its own sharer: as much computed, no one else.

        What the sharer alone has read (``sharer_context``) it does not hear. The fuser is built
        for the receiver's shape, and as large as it can be made to be; see `as_large`.
        """
        own = self.fuser.model_copy(update={"sharer": "self"})
        return self.model_copy(update={"fuser": own})

    def with_ridge(self) -> TrialConfig:
        """The closed-form control (arXiv 2608.03893): a ridge map in the fuser's place.

        It hears the same layers and tokens, on the same keys, and is fitted on the same training
        caches; what only training can set falls back to the default.
        """
        own = self.fuser
        ridge = FuserConfig(
            projector="ridge",
            injection="replace" if own.injected.projects == "change" else own.injection,
            normalisation="calibrated",
            keys=own.keys,
            token_alignment=own.token_alignment,
            layer_alignment="proportional" if own.aligned.learned else own.layer_alignment,
            sources_per_layer=own.sources_per_layer,
            ridge_penalty=own.ridge_penalty,
            message=own.message,
            draft_tokens=own.draft_tokens,
            anchors=own.anchors,
            anchor_tokens=own.anchor_tokens,
            ridge_weighting=own.ridge_weighting,
        )
        return self.model_copy(update={"fuser": ridge})
