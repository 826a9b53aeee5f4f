"""Where the sharer's cache helped, where it hurt and where it did not matter.

An item counts as right when its credit is at least `RIGHT`, also where credit comes in degrees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import share_interval
from c2c_search.evaluation.statistics.clusters import differences


RIGHT = 0.5
"""Credit from which on an answer counts as right."""

REGIONS = (
    "receiver+sharer+c2c",
    "receiver+sharer",
    "receiver+c2c",
    "sharer+c2c",
    "receiver",
    "sharer",
    "c2c",
    "none",
)
"""Who is right (and who is not named, wrong), as the parts of a Venn diagram."""

Subsets = Sequence[tuple[str, Sequence[int]]]
"""Names of parts, and the indices of each one's items."""

# Rows of a table that is read by people.
_ROWS = 30


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ItemSubset(_Stored):
    """Some of the items, e.g. those of a subject.

    Args:
        name: Which ones.
        items: How many.
        helped: Those that the receiver had wrong and C2C has right.
        harmed: Those that the receiver had right and C2C has wrong.
        receiver: Accuracy (mean credit) of the receiver alone.
        c2c: Accuracy (mean credit) of C2C.
        difference: Of C2C over the receiver; None where all items are of one cluster or all
            differ equally, from which nothing follows about others.
    """

    name: str
    items: int
    helped: int
    harmed: int
    receiver: float
    c2c: float
    difference: Interval | None

    @property
    def unchanged(self) -> int:
        """Items on which both are right or both are wrong."""
        return self.items - self.helped - self.harmed

    @property
    def gain(self) -> float:
        """Accuracy of C2C minus that of the receiver."""
        return self.c2c - self.receiver


class Analysis(_Stored):
    """What communication changed, item by item; JSON round trip.

    Args:
        split: Where it was measured.
        level: Of all intervals.
        venn: Items by who is right; see `venn`.
        transfer: See `transfer_rate`.
        harm: See `harm_rate`.
        whole: All items.
        by_group: By what the items test, in alphabetical order.
        by_length: By quarters of the prompt's length in tokens, shortest first; empty where
            lengths are not known or do not differ.
        by_confidence: By quarters of the receiver's confidence, least confident first; empty where
            it does not differ.
        helped: Ids of the items that the receiver had wrong and C2C has right.
        harmed: Ids of the items that the receiver had right and C2C has wrong.
    """

    split: str
    level: float
    venn: dict[str, int]
    transfer: Interval | None
    harm: Interval | None
    whole: ItemSubset
    by_group: tuple[ItemSubset, ...]
    by_length: tuple[ItemSubset, ...]
    by_confidence: tuple[ItemSubset, ...]
    helped: tuple[str, ...]
    harmed: tuple[str, ...]

    def sentence(self) -> str:
        """The two rates in one line."""
        transfer = "of what only the sharer knew, "
        transfer += (
            "there is nothing" if self.transfer is None else _told(self.transfer, "recovered")
        )
        harm = "of what the receiver knew, "
        harm += "there is nothing" if self.harm is None else _told(self.harm, "broken")
        return f"{transfer}; {harm}."

    def markdown(self) -> str:
        """The analysis in short tables; of the groups those that changed most."""
        share = f"{100 * (1 - self.level):.4g} % interval"
        lines = [
            f"| | share | {share} |",
            "|---|---|---|",
            "| transfer rate: C2C right where the sharer is and the receiver is not | "
            f"{_share(self.transfer)} |",
            f"| harm rate: C2C wrong where the receiver is right | {_share(self.harm)} |",
            "",
            "| right | items |",
            "|---|---|",
            *(f"| {name.replace('+', ', ')} | {self.venn[name]} |" for name in REGIONS),
        ]
        groups = sorted(self.by_group, key=lambda part: (-abs(part.gain), part.name))
        lines += ["", *_table("group", [self.whole, *groups[:_ROWS]], share)]
        if len(groups) > _ROWS:
            rest = groups[_ROWS:]
            lines += [
                "",
                f"{len(rest)} more groups, changed by {100 * abs(rest[0].gain):.1f} points at "
                "most, are in the JSON file.",
            ]
        for title, parts in (
            ("prompt length", self.by_length),
            ("receiver's confidence", self.by_confidence),
        ):
            if parts:
                lines += ["", *_table(title, parts, share)]
        return "\n".join(lines) + "\n"


def analyse(
    receiver: SystemResult,
    sharer: SystemResult,
    c2c: SystemResult,
    *,
    lengths: Sequence[int] | None = None,
    level: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Compare C2C with both of its models on the same items.

    Args:
        receiver: Answers of the receiver alone.
        sharer: Answers of the sharer alone.
        c2c: Answers of C2C; of one training seed.
        lengths: Tokens of each item's prompt.
        level: Of all intervals; they describe and are not corrected for being many.
        resamples: Of each part's bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: The items are not the same, there are none, or lengths are not one for each.
        ConfigError: The resamples are too few to have a quantile at this level.
    """
    counts = venn(receiver, sharer, c2c)
    if lengths is not None and len(lengths) != len(c2c.items):
        raise DataError(
            "There must be one prompt length for every item.",
            value=f"{len(lengths)} lengths, {len(c2c.items)} items",
        )

    def split_up(parts: Subsets) -> tuple[ItemSubset, ...]:
        return breakdown(receiver, c2c, parts, level=level, resamples=resamples, seed=seed)

    pairs = list(zip(c2c.items, _right(receiver), _right(c2c), strict=True))
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(c2c.items):
        groups[item.group].append(index)
    by_length: Subsets = ()
    if lengths is not None:
        by_length = [
            (f"{low} tokens" if low == high else f"{low} to {high} tokens", indices)
            for low, high, indices in quarters(lengths)
        ]
    by_confidence = [
        (f"{low:.2f} to {high:.2f}", indices)
        for low, high, indices in quarters([item.confidence for item in receiver.items])
    ]
    return Analysis(
        split=c2c.split,
        level=level,
        venn=counts,
        transfer=transfer_rate(receiver, sharer, c2c, level=level),
        harm=harm_rate(receiver, c2c, level=level),
        whole=split_up([("all items", range(len(pairs)))])[0],
        by_group=split_up(sorted(groups.items())),
        by_length=split_up(by_length),
        by_confidence=split_up(by_confidence),
        helped=tuple(item.id for item, before, after in pairs if after and not before),
        harmed=tuple(item.id for item, before, after in pairs if before and not after),
    )


def venn(receiver: SystemResult, sharer: SystemResult, c2c: SystemResult) -> dict[str, int]:
    """Items by who is right: all eight `REGIONS`, each item in one.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    differences(receiver, c2c)
    differences(sharer, c2c)
    counts = dict.fromkeys(REGIONS, 0)
    for who in zip(_right(receiver), _right(sharer), _right(c2c), strict=True):
        named = zip(("receiver", "sharer", "c2c"), who, strict=True)
        counts["+".join(name for name, right in named if right) or "none"] += 1
    return counts


def transfer_rate(
    receiver: SystemResult, sharer: SystemResult, c2c: SystemResult, *, level: float = 0.05
) -> Interval | None:
    """Of the items that the sharer has right and the receiver wrong, the share C2C has right.

    None when there are no such items.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    differences(receiver, c2c)
    differences(sharer, c2c)
    rows = zip(_right(receiver), _right(sharer), _right(c2c), c2c.items, strict=True)
    return _rate(
        [(fused, item.cluster) for mine, theirs, fused, item in rows if theirs and not mine], level
    )


def harm_rate(
    receiver: SystemResult, c2c: SystemResult, *, level: float = 0.05
) -> Interval | None:
    """Of the items that the receiver has right, the share that C2C has wrong.

    None when there are no such items.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    differences(receiver, c2c)
    rows = zip(_right(receiver), _right(c2c), c2c.items, strict=True)
    return _rate([(not fused, item.cluster) for mine, fused, item in rows if mine], level)


def breakdown(
    receiver: SystemResult,
    c2c: SystemResult,
    parts: Subsets,
    *,
    level: float = 0.05,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[ItemSubset, ...]:
    """What C2C changed in each part of the items.

    Args:
        receiver: Answers of the receiver alone.
        c2c: Answers of C2C.
        parts: Each part's name and the indices of its items, at least one.
        level: Of the intervals.
        resamples: Of each part's bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: The resamples are too few to have a quantile at this level.
    """
    differences(receiver, c2c)
    made = []
    for name, indices in parts:
        mine, fused = (
            result.model_copy(update={"items": tuple(result.items[index] for index in indices)})
            for result in (receiver, c2c)
        )
        rows = list(zip(_right(mine), _right(fused), strict=True))
        difference = None
        several = len({item.cluster for item in fused.items}) > 1
        if several and np.ptp(differences(fused, mine)) > 0:
            difference = paired_bootstrap(fused, mine, level=level, resamples=resamples, seed=seed)
        made.append(
            ItemSubset(
                name=name,
                items=len(rows),
                helped=sum(after and not before for before, after in rows),
                harmed=sum(before and not after for before, after in rows),
                receiver=mine.accuracy,
                c2c=fused.accuracy,
                difference=difference,
            )
        )
    return tuple(made)


def quarters(values: Sequence[float]) -> list[tuple[float, float, list[int]]]:
    """Four parts of about equal size, from the smallest values to the largest.

    Items of the same value stay together, so that there may be fewer parts.

    Returns:
        Smallest and largest value of each part and its indices; nothing when all values are equal.
    """
    different = np.unique(values)
    if len(different) == 1:
        return []
    # A border at the largest value would leave nothing behind it.
    borders = np.minimum(np.quantile(values, (0.25, 0.5, 0.75)), different[-2])
    part = np.searchsorted(borders, values)
    found = [np.flatnonzero(part == which).tolist() for which in np.unique(part)]
    return [
        (min(values[index] for index in indices), max(values[index] for index in indices), indices)
        for indices in found
    ]


def _right(result: SystemResult) -> list[bool]:
    return [item.credit >= RIGHT for item in result.items]


def _rate(rows: Sequence[tuple[bool, str]], level: float) -> Interval | None:
    if not rows:
        return None
    return share_interval([row[0] for row in rows], [row[1] for row in rows], level=level)


def _table(title: str, parts: Iterable[ItemSubset], share: str) -> list[str]:
    head = (title, "items", "helped", "harmed", "unchanged", "receiver", "C2C", "gain", share)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for part in parts:
        between = "-"
        if part.difference is not None:
            between = f"{part.difference.low:+.3f} to {part.difference.high:+.3f}"
        name = part.name.replace("|", "\\|")
        cells = (name, part.items, part.helped, part.harmed, part.unchanged)
        accuracies = f"{part.receiver:.3f} | {part.c2c:.3f} | {part.gain:+.3f}"
        lines.append(f"| {' | '.join(map(str, cells))} | {accuracies} | {between} |")
    return lines


def _share(rate: Interval | None) -> str:
    if rate is None:
        return "- | no such items"
    return f"{rate.value:.3f} | {rate.low:.3f} to {rate.high:.3f}"


def _told(interval: Interval, verb: str) -> str:
    value, low, high = (100 * end for end in (interval.value, interval.low, interval.high))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}] is {verb}"
