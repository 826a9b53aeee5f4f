"""The record of an audit: one finding, and the page of numbers that it rests on."""

from __future__ import annotations

from pydantic import AwareDatetime
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.harm import Harm
from c2c_search.evaluation.judgement import Judgement
from c2c_search.evaluation.statistics import Interval


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AuditedSystem(_Stored):
    """One system beside the fuser on the audit's own task.

    Args:
        system: Its name.
        accuracy: With its interval.
        difference: The fuser's accuracy minus its own; None for the fuser itself.
        p: Of "both are equally accurate", two-sided (`paired_test`); not corrected.
        same: Of "they differ by the margin or more" (`equivalence_test`); not corrected.
    """

    system: str
    accuracy: Interval
    difference: Interval | None = None
    p: float | None = None
    same: float | None = None


class AuditedTask(_Stored):
    """What the fuser does to its receiver on one task.

    Args:
        source: Where its items were read from.
        split: Of that source.
        sha256: Of the items that were answered.
        harm: The fuser against its receiver alone.
        transfer: Of what only the sharer knew, the share that the fuser recovers.
        broken: Of what the receiver knew, the share that the fuser breaks.
        notes: What a reader should know of its answers.
    """

    source: str
    split: str
    sha256: str
    harm: Harm
    transfer: Interval | None
    broken: Interval | None
    notes: tuple[str, ...] = ()


class AuditRecord(_Stored):
    """What one audit found; JSON round trip.

    Args:
        subject: What was audited.
        receiver: Source of the model that answers.
        sharer: Source of the model that speaks.
        parameters: Of the fuser.
        judgement: Of the audit's own task.
        own: That task.
        systems: All that answered it.
        elsewhere: Other tasks; they share the level evenly.
        left_out: Systems that could not answer, with the reason.
        command: The command that repeats it.
        created: When it ended.
        versions: Of the libraries.
        machine: In words.
    """

    subject: str
    receiver: str
    sharer: str | None
    parameters: int | None
    judgement: Judgement
    own: AuditedTask
    systems: tuple[AuditedSystem, ...]
    elsewhere: tuple[AuditedTask, ...]
    left_out: dict[str, str]
    command: str
    created: AwareDatetime
    versions: dict[str, str]
    machine: str

    @property
    def headline(self) -> str:
        """The whole audit in one sentence."""
        parts = [self.judgement.sentence]
        found = [each.harm for each in self.elsewhere]
        harmed = [
            f"{one.task} ({100 * one.difference.value:+.1f} points)" for one in found if one.harms
        ]
        spared = [one.task for one in found if one.harmless and not one.harms]
        untold = [one.task for one in found if not one.harmless and not one.harms]
        if harmed:
            parts.append(f"it does harm on {', '.join(harmed)}")
        if spared:
            margin = 100 * self.judgement.margin
            parts.append(f"no harm beyond {margin:.3g} points on {', '.join(spared)}")
        if untold:
            parts.append(f"harm on {', '.join(untold)} cannot be told")
        return "; ".join(parts) + "."
