"""Query-level routing, where each question goes to the model that is surer."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from itertools import accumulate

from c2c_search.evaluation.guard import refuse_report_split
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


def route(receiver: SystemResult, sharer: SystemResult, margin: float = 0.0) -> SystemResult:
    """The sharer's answer where it is surer than the receiver by more than a margin.

    It follows from what both answered alone, without computing anything.

    Args:
        receiver: The receiver's answers.
        sharer: The sharer's, to the same items in the same order.
        margin: Of their confidences, in [-1, 1].

    Raises:
        ValueError: The items are not the same.

    Source: C2C (arXiv 2510.03215) compares itself with query-level routing; the rule is ours.
    """
    items = tuple(
        theirs if theirs.confidence - ours.confidence > margin else ours
        for ours, theirs in paired(receiver, sharer)
    )
    return SystemResult(system="routing", split=receiver.split, items=items)


def fit_margin(receiver: SystemResult, sharer: SystemResult) -> float:
    """The margin with which `route` is most accurate; the nearest to 0 if there are several.

    It is chosen on a split on which nothing is reported.

    Args:
        receiver: As for `route`.
        sharer: As for `route`.

    Raises:
        DataError: The answers are not those of the selection split.
        ValueError: The items are not the same.
    """
    refuse_report_split(receiver)
    refuse_report_split(sharer)
    # From the item for which the sharer is surest downwards: what each routed item brings.
    pairs = sorted(
        (ours.confidence - theirs.confidence, theirs.credit - ours.credit)
        for ours, theirs in paired(receiver, sharer)
    )
    # The accuracy changes at the differences alone, and there an item is no longer routed.
    leads = {lead for lead, _ in pairs}
    return -best_cut(pairs, {0.0, *leads, *(math.nextafter(lead, math.inf) for lead in leads)})


def best_cut(
    gains: Sequence[tuple[float, float]],
    cuts: Iterable[float],
    preferred: Callable[[float], float] = abs,
) -> float:
    """The cut for which it gains most to give the items below it another system's answer.

    Args:
        gains: Of each item what is cut by, in rising order, and what the other answer brings.
        cuts: Those to choose from.
        preferred: Of several that gain as much, that for which this is least is chosen.
    """
    places = [place for place, _ in gains]
    total = [0.0, *accumulate(gain for _, gain in gains)]

    def gain(cut: float) -> float:
        # Rounded, so that sums of the same credits in another order are ties.
        return round(total[bisect_left(places, cut)], 9)

    return min(cuts, key=lambda cut: (-gain(cut), preferred(cut)))


def paired(receiver: SystemResult, sharer: SystemResult) -> list[tuple[ItemResult, ItemResult]]:
    """Both systems' answers to each item.

    Raises:
        ValueError: The items are not the same.
    """
    pairs = list(zip(receiver.items, sharer.items, strict=True))
    if any(ours.id != theirs.id for ours, theirs in pairs):
        raise ValueError("routing needs both systems' answers to the same items")
    return pairs
