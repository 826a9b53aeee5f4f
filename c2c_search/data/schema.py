"""What a pipeline may ask of the data, and the canonical columns of every split."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal
from typing import NotRequired
from typing import Self
from typing import TypedDict
from typing import get_args

from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import Field
from pydantic import field_validator
from pydantic import model_validator

from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import PairTemplate


if TYPE_CHECKING:
    from datasets import Features


SplitName = Literal["train", "validation", "test", "guard", "reconstruction"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
"""What all data has. Beside them, ``guard`` holds rows that a fuser must not spoil."""
WITH_GUARD: tuple[SplitName, ...] = (*SPLITS, "guard")
EVERY_SPLIT: tuple[SplitName, ...] = (*WITH_GUARD, "reconstruction")
"""``reconstruction`` holds texts that a fuser learns to hand on, of which nothing is asked."""

InventedKind = Literal["company", "country", "event", "person", "town"]
"""What passages of the private quiz are about; see `invented.KINDS`."""

ContaminationRule = Literal["report", "exclude", "refuse"]
"""What becomes of examples that overlap with what is judged: kept and told, left out, refused."""

# Scripts that a small English model barely reads, which is where another model can help it.
_SCRIPTS = ("ar", "el", "he", "hi", "ja", "ko", "ru", "th", "uk", "zh")
_SCRIPT_GROUPS = tuple(f"country/{code}" for code in _SCRIPTS)


class Row(TypedDict):
    """One example, in the canonical columns.

    ``choices`` is empty and ``answer`` is -1 when the example is open (no options to score).
    ``sharer_messages`` is empty where the sharer reads what the receiver reads. ``draft`` is what
    a sharer that drafts is taken to have written; it is left out, or empty, where it writes it.
    """

    id: str
    group: str
    cluster: str
    messages: list[Message]
    sharer_messages: list[Message]
    response: str
    choices: list[str]
    answer: int
    draft: NotRequired[str]


def features() -> Features:
    """The canonical columns (see `Row`) as `datasets.Features`."""
    # Imported late: a pipeline is validated, and a trial travels, without `datasets`.
    from datasets import Features
    from datasets import List
    from datasets import Value

    text = Value("string")
    return Features(
        {
            "id": text,
            "group": text,
            "cluster": text,
            "messages": List({"role": text, "content": text}),
            "sharer_messages": List({"role": text, "content": text}),
            "response": text,
            "choices": List(text),
            "answer": Value("int32"),
            "draft": text,
        }
    )


def _as_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def whole(value: Any) -> Any:
    """Nothing but a whole number, for pydantic, to whose `Literal` True and 1.0 are 1."""
    if type(value) is not int:
        raise ValueError("must be a whole number")
    return value


Names = Annotated[
    tuple[str, ...], BeforeValidator(_as_tuple, json_schema_input_type=str | tuple[str, ...])
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SplitGroups(_Frozen):
    """Quiz groups of each split, as fnmatch patterns (``country/*``, ``capital/of``)."""

    train: Names = Field(default=_SCRIPT_GROUPS, min_length=1, description="Groups trained on.")
    validation: Names = Field(
        default=_SCRIPT_GROUPS, min_length=1, description="Groups that trials are compared on."
    )
    test: Names = Field(
        default=_SCRIPT_GROUPS, min_length=1, description="Groups that the champion is proven on."
    )


class SplitFiles(_Frozen):
    """JSONL files of each split, one path or several; one without files is held out of train.

    Those of ``guard`` and ``reconstruction`` go with any source, and nothing is held out for them.
    """

    train: Names = Field(default=(), description="Files trained on.")
    validation: Names = Field(default=(), description="Files that trials are compared on.")
    test: Names = Field(default=(), description="Files that the champion is proven on.")
    guard: Names = Field(
        default=(),
        description="Files of other tasks, in any of the shapes, that `training.guard` keeps the "
        "receiver's own answers to.",
        exclude_if=lambda names: not names,  # data without is what it was before there were any
    )
    reconstruction: Names = Field(
        default=(),
        description="Files of texts that a `reconstruction` stage hands on, without any labels: "
        "rows with a text, a sharer_context or a passage, or else a question.",
        exclude_if=lambda names: not names,
    )


class SplitLimits(_Frozen):
    """At most this many examples per split, spread evenly over its groups; null: all."""

    train: int | None = Field(default=None, ge=1, description="Examples to train on.")
    validation: int | None = Field(default=None, ge=1, description="Examples to validate on.")
    test: int | None = Field(default=None, ge=1, description="Examples to test on.")
    guard: int | None = Field(
        default=None,
        ge=1,
        description="Examples of other tasks to guard.",
        exclude_if=lambda limit: limit is None,
    )
    reconstruction: int | None = Field(
        default=None,
        ge=1,
        description="Texts to reconstruct.",
        exclude_if=lambda limit: limit is None,
    )


class Holdout(_Frozen):
    """Shares of the train files' multiple-choice examples held out for splits without files."""

    validation: float = Field(
        default=0.1, gt=0, lt=1, description="Share held out for validation."
    )
    test: float = Field(default=0.2, gt=0, lt=1, description="Share held out for test.")

    @model_validator(mode="after")
    def _leaves_train(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                "validation and test shares must leave examples to train on (sum < 1)"
            )
        return self


class Passages(_Frozen):
    """Invented passages of each split; one question is asked about each."""

    train: int = Field(default=1200, ge=1, le=100_000, description="Passages to train on.")
    validation: int = Field(default=200, ge=1, le=100_000, description="To validate on.")
    test: int = Field(default=300, ge=1, le=100_000, description="To test on.")


class PrivateQuiz(_Frozen):
    """The built-in private quiz: the sharer reads an invented passage, the receiver does not."""

    passages: Passages = Field(default=Passages(), description="Passages of each split.")
    sentences: int = Field(
        default=5, ge=4, le=60, description="Of a passage; 5 are about 35 words."
    )
    hops: Annotated[Literal[1, 2], BeforeValidator(whole)] = Field(
        default=1, description="2: the answer is told of something that another sentence leads to."
    )
    wrong_choices: Literal["same_passage", "other_passages"] = Field(
        default="same_passage",
        description="same_passage: names that the passage says too, of other things; "
        "other_passages: names that it does not say, which is easier.",
    )
    # What came later is left out where it changes nothing: hashes are what they were before.
    wordings: int = Field(
        default=2,
        ge=1,
        le=8,
        description="Ways in which each thing is said, and asked; more of them: more like "
        "people's texts, and more to learn before anything is said.",
        exclude_if=lambda wordings: wordings == 2,
    )
    kinds: tuple[InventedKind, ...] = Field(
        default=get_args(InventedKind),
        min_length=1,
        description="What passages are about: company, country, event, person, town; fewer of "
        "them: fewer questions to learn.",
        exclude_if=lambda kinds: set(kinds) == set(get_args(InventedKind)),
    )
    bystanders: int = Field(
        default=0,
        ge=0,
        le=58,
        description="Of the sentences, at least so many are about others of the same kind, so "
        "that what is asked must be told apart.",
        exclude_if=lambda bystanders: bystanders == 0,
    )
    asides: bool = Field(
        default=False,
        description="true: sentences have asides, which say nothing that is asked.",
        exclude_if=lambda asides: not asides,
    )
    seed: int = Field(default=0, description="Another one invents another world.")

    @field_validator("kinds")
    @classmethod
    def _each_kind_once(cls, kinds: tuple[InventedKind, ...]) -> tuple[InventedKind, ...]:
        if len(set(kinds)) < len(kinds):
            raise ValueError("must name each kind once")
        return kinds

    @model_validator(mode="after")
    def _says_what_is_asked(self) -> Self:
        if self.bystanders > (most := self.sentences - self.hops):
            raise ValueError(
                f"bystanders must leave a sentence for each hop: at most {most} of "
                f"{self.sentences} sentences, not {self.bystanders}"
            )
        return self


class DataConfig(_Frozen):
    """The examples of a pipeline, in three splits that share no fact."""

    source: Literal["quiz", "private_quiz", "jsonl"] = Field(
        default="quiz",
        description="quiz: built in, no download; private_quiz: built in, the sharer alone has "
        "read what is asked; jsonl: the files below.",
    )
    groups: SplitGroups = Field(default=SplitGroups(), description="Quiz groups (source quiz).")
    private_quiz: PrivateQuiz = Field(
        default=PrivateQuiz(),
        description="Its passages (source private_quiz).",
        exclude_if=lambda quiz: quiz == PrivateQuiz(),  # other data is what it was before this
    )
    files: SplitFiles = Field(default=SplitFiles(), description="JSONL files (source jsonl).")
    template: PairTemplate = Field(
        default="plain",
        description="plain: 'Question: ...\\nAnswer:'; chat: the model's chat template; or one "
        "for each role, as {receiver: chat, sharer: plain}.",
    )
    draft_template: Literal["plain", "chat"] | None = Field(
        default=None,
        description="In which a sharer that drafts reads its prompt; null: as template.",
        exclude_if=lambda template: template is None,
    )
    date: str | None = Field(
        default=None,
        description="Day that a chat template with a date writes, as 2026-07-31; null: the day on "
        "which the study begins.",
        exclude_if=lambda date: date is None,  # what has none is what it was before there was one
    )
    limit: SplitLimits = Field(default=SplitLimits(), description="Most examples per split.")
    seed: int = Field(default=0, description="Decides which examples a limit or a holdout takes.")
    holdout: Holdout = Field(
        default=Holdout(), description="Shares held out of train (source jsonl)."
    )
    contamination: ContaminationRule = Field(
        default="exclude",
        description="Training examples that ask a validation or test question, share 13 words in "
        "a row with one or are of its cluster, and validation examples that do with test: exclude "
        "leaves them out, report keeps and tells them, refuse stops.",
    )

    @field_validator("date")
    @classmethod
    def _is_a_day(cls, value: str | None) -> str | None:
        try:
            return None if value is None else datetime.date.fromisoformat(value).isoformat()
        except ValueError:
            raise ValueError("must be a day, as 2026-07-31") from None

    @model_validator(mode="after")
    def _source_has_its_input(self) -> Self:
        if self.source == "jsonl" and not self.files.train:
            raise ValueError("source jsonl needs files.train")
        if self.source != "jsonl" and any(getattr(self.files, split) for split in SPLITS):
            raise ValueError(
                "files belong to source jsonl (those of guard and reconstruction to any); set "
                "source: jsonl or drop files"
            )
        for split in EVERY_SPLIT[len(SPLITS) :]:
            if getattr(self.limit, split) is not None and not getattr(self.files, split):
                raise ValueError(
                    f"limit.{split} limits the rows of files.{split}; name some, or drop it"
                )
        if self.source != "private_quiz" and self.private_quiz != PrivateQuiz():
            raise ValueError(
                "private_quiz belongs to source private_quiz; set it, or drop private_quiz"
            )
        return self
