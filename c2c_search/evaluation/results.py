"""Evaluation room: what a system answered, item by item, so that any two can be paired."""

from __future__ import annotations

import math
from collections import defaultdict

from pydantic import BaseModel
from pydantic import ConfigDict


class ItemResult(BaseModel):
    """One item's answer.

    Args:
        id: The item's id, equal across systems.
        group: What the item tests, e.g. ``country/ja``.
        cluster: The fact the item is about; items of a cluster are not independent.
        answer: Index of the right choice.
        chosen: Index of the choice with the highest score.
        scores: Log-likelihood (nats) of each choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    group: str
    cluster: str
    answer: int
    chosen: int
    scores: tuple[float, ...]

    @property
    def correct(self) -> bool:
        return self.chosen == self.answer

    @property
    def loss(self) -> float:
        """Negative log-probability (nats) of the right choice, scores normalised to sum to 1."""
        highest = max(self.scores)
        total = sum(math.exp(score - highest) for score in self.scores)
        return highest + math.log(total) - self.scores[self.answer]


class SystemResult(BaseModel):
    """A system's answers on a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    split: str
    items: tuple[ItemResult, ...]

    @property
    def accuracy(self) -> float:
        """Share of items answered rightly, in [0, 1]."""
        return sum(item.correct for item in self.items) / len(self.items)

    @property
    def loss(self) -> float:
        """Mean negative log-probability (nats) of the right choice among the choices."""
        return sum(item.loss for item in self.items) / len(self.items)

    def accuracy_by_group(self) -> dict[str, float]:
        """Accuracy of each group, by name."""
        groups: dict[str, list[bool]] = defaultdict(list)
        for item in self.items:
            groups[item.group].append(item.correct)
        return {name: sum(right) / len(right) for name, right in sorted(groups.items())}
