"""Which trials of a study are worth the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.guard import SELECTION


@dataclass(frozen=True)
class Candidate:
    """A trial that may become a finalist.

    Args:
        number: The trial's number in its study.
        objective: Its best score; higher is better.
        parameters: Of its fuser.
        split: Where the objective was measured.
    """

    number: int
    objective: float
    parameters: int
    split: str


def finalists(trials: Sequence[Candidate], k: int) -> list[Candidate]:
    """Choose at most ``k`` trials by validation alone, the best first.

    Equal scores go to the fuser with fewer parameters, then to the earlier trial. Scores that are
    not finite are left out.

    Raises:
        ConfigError: ``k`` is below 1.
        DataError: An objective was measured elsewhere than on validation.
    """
    if k < 1:
        raise ConfigError("A study needs at least one finalist.", value=k)
    others = [trial for trial in trials if trial.split != SELECTION]
    if others:
        raise DataError(
            f"Finalists are chosen by their {SELECTION} score alone: chosen on {REPORT}, the best "
            "would look better than it is.",
            value=", ".join(f"trial {trial.number} on {trial.split}" for trial in others),
            hint="Begin another study: give the space another name under `study:`.",
        )
    ranked = sorted(
        (trial for trial in trials if math.isfinite(trial.objective)),
        key=lambda trial: (-trial.objective, trial.parameters, trial.number),
    )
    return ranked[:k]
