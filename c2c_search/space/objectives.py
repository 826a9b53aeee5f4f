"""What trials may be compared by: what a fuser scores, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from typing import get_args

from pydantic import Field

from c2c_search.config.frozen import FrozenModel
from c2c_search.space.objective import ObjectiveName


Measure = Literal[
    "accuracy", "gain", "pairing_gain", "margin", "parameters", "latency_ms", "peak_memory_mb"
]
"""Scores on validation, which are maximised, and costs, which are minimised."""

SCORES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
COSTS: tuple[Measure, ...] = tuple(each for each in get_args(Measure) if each not in SCORES)
TIMED: tuple[Measure, ...] = ("latency_ms", "peak_memory_mb")
"""Known only of a trained fuser, by asking it; of a trial that was pruned they are not."""

Direction = Literal["maximize", "minimize"]


def direction(measure: str) -> Direction:
    """Which way a measure is better, as Optuna says it."""
    return "maximize" if measure in SCORES else "minimize"


def sign(measure: str) -> int:
    """What a measure is multiplied by to be maximised."""
    return 1 if measure in SCORES else -1


def violations(bounds: Mapping[Measure, float], known: Mapping[str, float]) -> dict[str, float]:
    """By how much of a bound a trial is beyond it; at most 0 where it keeps to it.

    Args:
        bounds: The worst values that are accepted.
        known: What was measured of the trial; what was not counts as beyond by as much again.
    """
    found: dict[str, float] = {}
    for name, bound in bounds.items():
        beyond = sign(name) * (bound - known[name]) if name in known else 1.0
        found[name] = beyond / abs(bound) if name in known and bound else beyond
    return found


class Choose(FrozenModel):
    """How the finalists, and with them the champion, are chosen from the Pareto front."""

    best: Measure = Field(description="What is looked at first: one of the objectives.")
    within: float = Field(
        0.0,
        ge=0,
        description="Those that are so little worse than the best count as good, in units of "
        "`best`.",
    )
    within_percent: float | None = Field(
        None,
        ge=0,
        description="The same in percent of the best, instead of `within`.",
    )
    then: Measure | None = Field(
        None, description="Of those that count as good, what the best of them is found by."
    )

    def tolerance(self, best: float) -> float:
        """How much worse than the best still counts as good."""
        if self.within_percent is None:
            return self.within
        return abs(best) * self.within_percent / 100

    def __str__(self) -> str:
        slack = f"{self.within:g}" if self.within_percent is None else f"{self.within_percent:g} %"
        least = "best" if self.best in SCORES else "smallest"
        if self.then is None:
            return f"{least} {self.best}"
        then = "best" if self.then in SCORES else "smallest"
        return f"{then} {self.then} within {slack} of the {least} {self.best}"
