"""What the driver and the worker process say to each other, one JSON line each.

The driver writes requests to the worker's standard input; the worker writes events to a pipe of
its own. Both are frozen pydantic models, told apart by ``type``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from typing import Any
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import TypeAdapter
from pydantic import model_validator

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.systems.registry import Learner
from c2c_search.evaluation.systems.registry import Recipe
from c2c_search.models.pair import PairSpec
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective


Split = Literal["validation", "test"]
Dtype = Literal["float32", "bfloat16"]
Failure = Literal[
    "invalid", "diverged", "out_of_memory", "timeout", "transient", "unknown", "fatal"
]
"""What is done about a failure: ``transient`` ones (of the machine) are tried again several times,
``unknown`` ones once, ``fatal`` ones end the study; the others end what was being done."""
NOT_ITS_OWN: tuple[Failure, ...] = ("transient", "fatal")
"""Failures of the machine or the program: they say nothing about what was being trained."""
Stage = Literal[
    "download", "convert", "load", "data", "prefill", "align", "calibrate", "train", "evaluate"
]


CHECKPOINTS = "checkpoints"
"""Folder in a trial's directory from which the worker goes on; of no use once it has ended."""

DRAFTS = "drafts.jsonl"
"""File in a trial's directory of what its sharer drafts to the validation questions."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Prepare(_Message):
    """Fetch and load the pair, make the data and fill the prompt-cache store."""

    type: Literal["prepare"] = "prepare"
    pair: PairSpec


class Train(_Message):
    """Train a trial's fuser, or something else as it is trained.

    Goes on from the checkpoint in ``directory`` if there is one. ``learner`` is what learns;
    ``lora`` gets at most so many ``parameters`` as the fuser that it is compared with has,
    ``cartridge`` about as many.
    ``objective`` is what its best rung is chosen by; after ``seconds`` it has failed.
    """

    type: Literal["train"] = "train"
    config: TrialConfig
    directory: str
    learner: Learner = "fuser"
    parameters: int = 0
    objective: Objective = PLAIN_ACCURACY
    seconds: float | None = None

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        trial: TrialConfig,
        parameters: int,
        folder: Callable[[str], Path],
        objective: Objective = PLAIN_ACCURACY,
    ) -> Train:
        """How a system is trained that is compared with a trial's fuser.

        Args:
            recipe: Of the system.
            trial: Of the fuser.
            parameters: Of the fuser.
            folder: Gives the directory by the training's name.
            objective: What its best rung is chosen by.
        """
        train = cls(
            config=recipe.variant(trial),
            directory="",
            learner=recipe.learner,
            parameters=parameters,
            objective=objective,
        )
        return train.model_copy(update={"directory": str(folder(train.name))})

    @property
    def name(self) -> str:
        """What its files are called: equal trainings share them."""
        name = self.config.hash()
        return name if self.learner == "fuser" else f"{name}-{self.learner}-{self.parameters}"


class TrainTogether(_Message):
    """Train several fusers in lockstep; see `training.lockstep`.

    Their events come in `OfTrial`. The worker waits for an `Answer` after each rung of each
    trial, as in a `Train`, one at a time, and for a `Join` after each trial's end. It ends with
    `TrainedTogether`, or with `Failed` if the group could not go on: the trials that have not
    ended by then are untouched by its end.
    """

    type: Literal["train_together"] = "train_together"
    trials: tuple[Train, ...]


class Pace(_Message):
    """Measure what a pass of several equal trainings in lockstep takes; see `Paced`.

    They are taken as far as the last step of ``config`` but one, and nothing is kept of them.
    """

    type: Literal["pace"] = "pace"
    config: TrialConfig
    together: int


class Join(_Message):
    """The driver's word after a trial's end in a group: which trials join it, in its place.

    They are numbered on from those that are or were in it.
    """

    type: Literal["join"] = "join"
    trials: tuple[Train, ...]


class Evaluate(_Message):
    """Answer a split with one system, named as in the register of systems.

    ``fuser_dir`` holds the fuser that is evaluated, for a system that needs one; ``trained_dir``
    what was trained for the system itself. ``task`` is one of the pipeline's
    ``champion.harmless_on``, answered instead of the split.
    """

    type: Literal["evaluate"] = "evaluate"
    system: str
    pair: PairSpec
    split: Split
    fuser_dir: str | None = None
    trained_dir: str | None = None
    task: str | None = None


class Cost(_Message):
    """Measure what the fuser in ``fuser_dir`` costs a user between two models; see `Costs`."""

    type: Literal["cost"] = "cost"
    pair: PairSpec
    fuser_dir: str


class Answer(_Message):
    """The driver's word after a rung: go on, or stop (pruned)."""

    type: Literal["answer"] = "answer"
    go_on: bool


Request = Annotated[
    Prepare | Train | TrainTogether | Pace | Join | Evaluate | Cost | Answer,
    Field(discriminator="type"),
]


class Progress(_Message):
    """How far a stage is; ``total`` 0 when unknown."""

    type: Literal["progress"] = "progress"
    stage: Stage
    done: int
    total: int
    message: str = ""


class Notice(_Message):
    """Something the user should read once, e.g. a model's licence."""

    type: Literal["notice"] = "notice"
    message: str


class Prepared(_Message):
    """The pair stands ready.

    ``models`` is each model's identity (source, revision, hashes, licence) under ``receiver`` and
    ``sharer``; ``data`` each split's hash; ``seconds`` the wall time by stage; ``dtype`` what
    both models compute in (None in a record of a version that did not say); ``date`` the day that
    dated chat templates write; ``prompts`` a hash of all prompts' tokens (empty in such a record);
    ``private`` whether the sharer reads what the receiver does not.
    """

    type: Literal["prepared"] = "prepared"
    models: dict[str, dict[str, str | None]]
    data: dict[str, str]
    seconds: dict[str, float]
    dtype: Dtype | None = None
    date: str | None = None
    prompts: str = ""
    private: bool = False


class Step(_Message):
    """One logged training step."""

    type: Literal["step"] = "step"
    step: int
    steps: int
    loss: float
    metrics: dict[str, float]


class _Measured(_Message):
    """What was measured on ``split``.

    ``accuracy`` is with the right message, ``deranged`` with another item's (None where nothing is
    heard, or no other could be drawn), ``objective`` what follows by the training's `Objective`,
    ``blocks`` the same on each of some blocks of items (none where there is one cluster only).
    ``tokens`` and ``flops`` are what a fuser's training had taken until then; see `training.work`.
    """

    split: Split
    objective: float
    accuracy: float
    deranged: float | None = None
    blocks: tuple[float, ...] = Field((), exclude_if=lambda blocks: not blocks)
    tokens: int = Field(0, exclude_if=lambda tokens: not tokens)
    flops: float = Field(0.0, exclude_if=lambda flops: not flops)

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, content: Any) -> Any:
        """A record that knows no accuracy is of a version whose objective it was."""
        if isinstance(content, dict) and "objective" in content:
            return {"accuracy": content["objective"], **content}
        return content


class Rung(_Measured):
    """Validation at a rung; the worker waits for an `Answer` before it goes on.

    ``parameters`` are those of what learns, by then; None in what is no fuser's.
    """

    type: Literal["rung"] = "rung"
    rung: int
    step: int
    metrics: dict[str, float]
    parameters: int | None = None


class Trained(_Measured):
    """A training's end, complete or pruned; ``best_dir`` holds what its best rung had learned."""

    type: Literal["trained"] = "trained"
    step: int
    pruned: bool
    best_rung: int
    best_dir: str
    parameters: int
    bytes: int
    seconds: dict[str, float]
    metrics: dict[str, float]


class OfTrial(_Message):
    """An event of one trial of a `TrainTogether`, by its index there; see `Join`."""

    type: Literal["of_trial"] = "of_trial"
    index: int
    event: Annotated[Progress | Notice | Step | Rung | Trained, Field(discriminator="type")]


class TrainedTogether(_Message):
    """Every trial of a `TrainTogether` has ended, and of those that joined it."""

    type: Literal["trained_together"] = "trained_together"


class Paced(_Message):
    """What a pass of trainings in lockstep takes on the first rank's device.

    ``seconds`` of a pass, in which each of them takes one; ``taken`` bytes by all of them, and
    ``free`` bytes beside them.
    """

    type: Literal["paced"] = "paced"
    seconds: float
    taken: int
    free: int


class Result(_Message):
    """A system's answers on a split, one row an item."""

    type: Literal["result"] = "result"
    system: str
    split: Split
    items: tuple[ItemResult, ...]


class Costs(_Message):
    """What a fuser costs a user who asks a question at a time, on the machine that measured it.

    ``latency_ms`` is the median time from a question's text to the answer's first token, nothing
    kept from before; ``peak_memory_mb`` what the longest of the questions takes at its peak, above
    the models and the fuser.
    """

    type: Literal["costs"] = "costs"
    latency_ms: float
    peak_memory_mb: float


class Failed(_Message):
    """The request failed; the worker is ready for another unless it was ``fatal``."""

    type: Literal["failed"] = "failed"
    failure: Failure
    message: str
    exit_code: int = 2


Event = Annotated[
    Progress
    | Notice
    | Prepared
    | Step
    | Rung
    | Trained
    | OfTrial
    | TrainedTogether
    | Paced
    | Result
    | Costs
    | Failed,
    Field(discriminator="type"),
]

LAST = (Prepared, Trained, TrainedTogether, Paced, Result, Costs, Failed)
"""Events that end a request, outside of an `OfTrial`."""

REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
