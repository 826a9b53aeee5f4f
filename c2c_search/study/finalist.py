"""A trial that is judged on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.system_names import TWIN
from c2c_search.training.protocol import Trained


@dataclass(frozen=True)
class Finalist:
    """A trial that is judged, with its controls.

    Args:
        name: Of the trial.
        number: Of the trial.
        config: Of the trial.
        trained: Its training.
        controls: By system, the trainings of those controls that are trained.
        lacks: Why its twin could not be trained; empty if it was.
    """

    name: str
    number: int
    config: TrialConfig
    trained: Trained
    controls: Mapping[str, Trained] = field(default_factory=dict)
    lacks: str = ""

    @property
    def twin(self) -> Trained | None:
        """Its twin's training; None if that failed, and then it cannot be judged."""
        return self.controls.get(TWIN)

    def name_of(self, system: str) -> str:
        """What reports and runs call a system of this finalist.

        Args:
            system: As in the register.
        """
        return self.name if system == SUBJECT else f"{self.name} {SYSTEMS[system].suffix}"
