"""What a search maximises, one number of what a fuser and what does not communicate answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import Literal
from typing import get_args

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from c2c_search.errors import StoreError
from c2c_search.host.files import write_text


OBJECTIVE_FILE = "objective.json"
"""Beside a study's ``trial.yaml``: what that trial's best rung was chosen by."""

ObjectiveName = Literal["accuracy", "gain", "pairing_gain", "margin"]


def objective_before(identity: Mapping[str, Any]) -> ObjectiveName:
    """What a study maximises whose space says nothing of it, which began before it could be said.

    Args:
        identity: Of its space; see `Space.identity`.
    """
    return "gain" if len(identity["pairs"]) > 1 else "accuracy"


class Objective(BaseModel):
    """The objective of a pair's trials, with what they are measured against.

    The worker chooses a training's best rung by it, and Optuna is told the same number. All
    accuracies are of validation, in [0, 1].

    Args:
        kind: ``accuracy``: with the right message; ``gain``: above the pair's no-sharer
            reference, or the receiver alone where there is none; ``pairing_gain``: above the same
            fuser with another item's message (deranged); ``margin``: above the best of what does
            not communicate, which is all of these and the sharer alone.
        receiver: Accuracy of the receiver alone; None where it is not known, as for the others.
        sharer: Of the sharer alone, reading what the sharer reads.
        reference: Of the pair's no-sharer reference; None in a study of one pair.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ObjectiveName = "accuracy"
    receiver: float | None = None
    sharer: float | None = None
    reference: float | None = None

    @property
    def by_accuracy(self) -> Objective:
        """The same for what does not communicate, whose best is what answers best."""
        return self.model_copy(update={"kind": "accuracy"})

    def value(self, accuracy: float, deranged: float | None) -> float:
        """What is maximised.

        Without a deranged answer ``margin`` is above the rest, and ``pairing_gain`` the accuracy.

        Args:
            accuracy: With the right message (matched).
            deranged: With another item's; None where no other could be drawn. What hears no
                message answers any as it answers the right one.
        """
        if self.kind == "accuracy":
            return accuracy
        if self.kind == "gain":
            learned = self.receiver if self.reference is None else self.reference
            return accuracy - _highest(learned)
        if self.kind == "pairing_gain":
            return accuracy - _highest(deranged)
        return accuracy - _highest(self.receiver, self.sharer, self.reference, deranged)

    def scores(self, accuracy: float, deranged: float | None) -> dict[str, float]:
        """The value of every objective that there is, by name; arguments as for `value`."""
        kinds: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
        return {
            kind: self.model_copy(update={"kind": kind}).value(accuracy, deranged)
            for kind in kinds
        }

    def metrics(self, accuracy: float, deranged: float | None) -> dict[str, float]:
        """All that is known of a fuser's answers, by name; arguments as for `value`.

        ``pairing_gain`` P is matched minus deranged, ``system_gain`` G matched minus the receiver
        alone, ``pairing_share`` P/G, where there is a gain to have a share in (arXiv 2609.34754).
        """
        found = {"accuracy": accuracy}
        if deranged is not None:
            found |= {"deranged": deranged, "pairing_gain": accuracy - deranged}
        if self.receiver is not None:
            found["system_gain"] = accuracy - self.receiver
        if "pairing_gain" in found and found.get("system_gain", 0.0) > 0:
            found["pairing_share"] = found["pairing_gain"] / found["system_gain"]
        return found

    def write(self, folder: Path) -> None:
        """Write it beside the trial of this folder, for `objective_in`."""
        write_text(folder / OBJECTIVE_FILE, f"{self.model_dump_json()}\n")


PLAIN_ACCURACY = Objective()
"""Of a training that is no trial of a search."""


def objective_in(folder: Path) -> Objective:
    """What a study chose the best rung of the trial in this folder by; accuracy where none did.

    Raises:
        StoreError: Its file cannot be read.
    """
    path = folder / OBJECTIVE_FILE
    try:
        return Objective.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return PLAIN_ACCURACY
    except (OSError, ValidationError) as error:
        raise StoreError(
            "The objective of a trial must be as its study wrote it.",
            value=str(path),
            hint="Remove this file to choose the best rung by accuracy.",
        ) from error


def _highest(*accuracies: float | None) -> float:
    return max((one for one in accuracies if one is not None), default=0.0)
