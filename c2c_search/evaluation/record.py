"""The record of an evaluation: all that it found, as data with a JSON round trip."""

from __future__ import annotations

from pydantic import AwareDatetime
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.data.contamination import Contamination
from c2c_search.evaluation.analysis import Analysis
from c2c_search.evaluation.comparison import Scored
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.latency.measure import LatencyReport
from c2c_search.evaluation.pairing import Pairing


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskRecord(_Stored):
    """What the systems scored on one task.

    Args:
        task: Its name.
        reference: The paper or page it comes from.
        source: Where its items were read from.
        split: Of that source.
        sha256: Of the items that were answered.
        items: How many.
        clusters: Facts that they are about.
        method: How they were answered; ``lm-eval`` for a task of that harness.
        metric: What credit means.
        length_normalised: How options were compared; None where answers were written.
        subject: The system that the others are compared with.
        level: Of the intervals.
        scores: Of every system.
        margin: Of routing: how much surer the sharer must be to be asked.
        corpus: By system, a score that is defined on all answers together (corpus chrF).
        pairing: What C2C owes to hearing the right message, where it was asked with others' too.
        analysis: Where communication helped and where it hurt.
        contamination: Items that the fuser was trained or selected on.
        notes: What a reader should know, e.g. that the split is small.
    """

    task: str
    reference: str
    source: str
    split: str
    sha256: str
    items: int
    clusters: int
    method: Method | str
    metric: str
    length_normalised: bool | None
    subject: str
    level: float
    scores: tuple[Scored, ...]
    margin: float | None = None
    corpus: dict[str, float] = {}
    pairing: Pairing | None = None
    analysis: Analysis | None = None
    contamination: Contamination | None = None
    notes: tuple[str, ...] = ()

    def score(self, system: str) -> Scored | None:
        """A system's score; None if it did not answer this task."""
        return next((each for each in self.scores if each.system == system), None)


class EvaluationRecord(_Stored):
    """What one evaluation found.

    Args:
        subject: What was evaluated.
        receiver: Source of the model that answers.
        sharer: Source of the model that speaks.
        parameters: Of the fuser.
        command: The command that repeats it.
        created: When it ended.
        versions: Of the libraries.
        machine: In words.
        tasks: One record a task.
        skipped: Systems that could not answer, with the reason.
        latency: Where it was asked for.
    """

    subject: str
    receiver: str
    sharer: str | None
    parameters: int | None
    command: str
    created: AwareDatetime
    versions: dict[str, str]
    machine: str
    tasks: tuple[TaskRecord, ...]
    skipped: dict[str, str] = {}
    latency: LatencyReport | None = None
