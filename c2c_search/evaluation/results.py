"""What a system answered, item by item, so that any two can be paired."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from c2c_search.host.wording import counted
from c2c_search.host.wording import shown


_ROUNDING = 0.05  # nats; caches rounded to bf16 move a log-likelihood by about as much


class ItemResult(BaseModel):
    """One item's answer, chosen or written.

    Args:
        id: The item's id, equal across systems.
        group: What the item tests, e.g. ``country/ja``.
        cluster: The fact the item is about; items of a cluster are not independent.
        answer: Index of the right choice; -1 where the answer is written.
        chosen: Index of the choice with the highest score; -1 where the answer is written.
        scores: What is compared: log-likelihood (nats) of each choice, or the same per token.
        lengths: Tokens of each choice; with them either score follows from the other.
        text: What was written.
        parsed: The answer that was read out of it; None if none was found.
        graded: Credit of what was written, in [0, 1].
        likelihood: Mean log-probability (nats) of the tokens written.
        heard: What the system was told in words by another, as in a text relay.
        repeats: The same item answered several times over, as with several derangements; then
            credit, loss and confidence are their means, and what is chosen or written is theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    group: str
    cluster: str
    answer: int = -1
    chosen: int = -1
    scores: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    text: str | None = None
    parsed: str | None = None
    graded: float | None = None
    likelihood: float | None = None
    heard: str | None = None
    repeats: tuple[ItemResult, ...] = Field((), exclude_if=lambda repeats: not repeats)

    @property
    def credit(self) -> float:
        """What the answer is worth, in [0, 1]; 1 or 0 where it is right or wrong.

        Of several options with exactly the highest score each is as good a choice as another: if
        the right one is among them, the answer is worth what choosing by lot would be.
        """
        if self.repeats:
            return fmean(one.credit for one in self.repeats)
        if self.graded is not None:
            return self.graded
        if self.tied < 2:
            return float(self.chosen == self.answer)
        return (self.scores[self.answer] == max(self.scores)) / self.tied

    @property
    def tied(self) -> int:
        """Options that share the highest score; 1 where one of them is chosen, 0 if none is.

        Of an item answered several times over, the most of any time.
        """
        if self.repeats:
            return max(one.tied for one in self.repeats)
        return self.scores.count(max(self.scores)) if self.scores else 0

    @property
    def correct(self) -> bool:
        """Whether the answer is entirely right."""
        return self.credit == 1.0

    @property
    def loss(self) -> float:
        """Negative log-probability (nats) of the right choice, scores normalised to sum to 1."""
        if self.repeats:
            return fmean(one.loss for one in self.repeats)
        return self._log_total() - self.scores[self.answer]

    @property
    def confidence(self) -> float:
        """How sure the system was, in [0, 1], whether or not it was right.

        Probability of what it chose among the choices; geometric mean of the probabilities of
        the tokens it wrote.
        """
        if self.repeats:
            return fmean(one.confidence for one in self.repeats)
        if self.scores:
            return math.exp(max(self.scores) - self._log_total())
        return 0.0 if self.likelihood is None else math.exp(self.likelihood)

    def _log_total(self) -> float:
        highest = max(self.scores)
        return highest + math.log(sum(math.exp(score - highest) for score in self.scores))


class SystemResult(BaseModel):
    """A system's answers on a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    split: str
    items: tuple[ItemResult, ...]

    @property
    def accuracy(self) -> float:
        """Mean credit, in [0, 1]: the share of items answered rightly where credit is 0 or 1."""
        return sum(item.credit for item in self.items) / len(self.items)

    @property
    def graded(self) -> bool:
        """Whether credit comes in degrees, as of chrF or F1."""
        return any(item.credit not in (0.0, 1.0) for item in self.items)

    @property
    def averaged(self) -> bool:
        """Whether credit is a mean over several answers to an item."""
        return any(item.repeats for item in self.items)

    def accuracies(self) -> tuple[float, ...]:
        """Mean credit of each time that the items were answered, as of each derangement.

        An item that was answered once, as where nothing was heard, counts so in each of them.
        """
        count = max([1, *(len(item.repeats) for item in self.items)])
        times = zip(*(item.repeats or (item,) * count for item in self.items), strict=True)
        return tuple(fmean(item.credit for item in once) for once in times)

    @property
    def ties(self) -> int:
        """Items of which several options have exactly the highest score."""
        return sum(item.tied > 1 for item in self.items)

    @property
    def loss(self) -> float:
        """Mean negative log-probability (nats) of the right choice among the choices."""
        return sum(item.loss for item in self.items) / len(self.items)

    def accuracy_by_group(self) -> dict[str, float]:
        """Mean credit of each group, by name."""
        groups: dict[str, list[float]] = defaultdict(list)
        for item in self.items:
            groups[item.group].append(item.credit)
        return {name: sum(credit) / len(credit) for name, credit in sorted(groups.items())}


def tie_notes(results: Mapping[str, SystemResult]) -> Iterator[str]:
    """Say of each system, by name, that it could not tell options apart."""
    for name, result in results.items():
        if result.ties:
            yield (
                f"{name} finds several options of {result.ties} of {len(result.items)} items "
                "exactly equally likely: such an answer counts as one by lot."
            )


def empty_notes(results: Mapping[str, SystemResult]) -> Iterator[str]:
    """Say of each system, by name, how often it, or who spoke to it in words, wrote nothing."""
    for name, result in results.items():
        count = counted(len(result.items), "item")
        for written, what in (("text", "writes"), ("heard", "is told")):
            said = [getattr(item, written) for item in result.items]
            if empty := sum(text is not None and not text.strip() for text in said):
                yield f"{name} {what} nothing in {empty} of {count}."


def answers_differ(one: ItemResult, other: ItemResult) -> bool:
    """Whether two answers to an item differ by more than rounding.

    Two options that are as good as equally likely may change places between two batches.
    """
    if not one.scores:
        return (one.chosen, one.text) != (other.chosen, other.text)
    apart = max(abs(a - b) for a, b in zip(one.scores, other.scores, strict=True))
    return one.chosen != other.chosen and apart > _ROUNDING


def answers_table(result: SystemResult) -> str:
    """A system's answers as JSON, one row an item, in the form that MLflow shows as a table.

    Where something was written and it is blank, the table says so (`EMPTY`).
    """
    columns = [name for name in ItemResult.model_fields if name != "repeats" or result.averaged]
    dumped = (item.model_dump(mode="json") for item in result.items)
    rows = [
        [*(_legible(name, found.get(name, [])) for name in columns), item.credit]
        for found, item in zip(dumped, result.items, strict=True)
    ]
    columns.append("credit")
    return json.dumps({"columns": columns, "data": rows}, ensure_ascii=False) + "\n"


def read_answers(path: Path, split: str = "test") -> SystemResult | None:
    """What `answers_table` wrote into a file, under the file's name; None if it is not that."""
    try:
        table = json.loads(path.read_bytes())
        kept = [name for name in table["columns"] if name in ItemResult.model_fields]
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
        items = [ItemResult.model_validate({name: row[name] for name in kept}) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return SystemResult(system=path.stem, split=split, items=tuple(items)) if items else None


def _legible(column: str, value: Any) -> Any:
    return shown(value) if column in ("text", "heard") and isinstance(value, str) else value
