"""Champion room: which trials of a study are worth the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from c2c_search.errors import ConfigError


@dataclass(frozen=True)
class Candidate:
    """A trial that may become a finalist.

    Args:
        number: The trial's number in its study.
        objective: Best score on validation; higher is better.
        parameters: Of its fuser.
    """

    number: int
    objective: float
    parameters: int


def finalists(trials: Sequence[Candidate], k: int) -> list[Candidate]:
    """Choose at most ``k`` trials by validation alone, the best first.

    Equal scores go to the fuser with fewer parameters, then to the earlier trial. Scores that are
    not finite are left out.

    Raises:
        ConfigError: ``k`` is below 1.
    """
    if k < 1:
        raise ConfigError("A study needs at least one finalist.", value=k)
    ranked = sorted(
        (trial for trial in trials if math.isfinite(trial.objective)),
        key=lambda trial: (-trial.objective, trial.parameters, trial.number),
    )
    return ranked[:k]
