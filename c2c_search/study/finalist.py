"""A trial that is judged on the test split."""

from __future__ import annotations

from dataclasses import dataclass

from c2c_search.config.trial import TrialConfig
from c2c_search.training.protocol import Trained


@dataclass(frozen=True)
class Finalist:
    """A trial that is judged, with its twin.

    Args:
        name: Of the trial.
        number: Of the trial.
        config: Of the trial.
        trained: Its training.
        twin: Its twin's training; None if that failed, and then it cannot be judged.
    """

    name: str
    number: int
    config: TrialConfig
    trained: Trained
    twin: Trained | None
