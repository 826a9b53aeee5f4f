"""Query-level routing, where each question goes to the model that is surer."""

from __future__ import annotations

import math
from bisect import bisect_left
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
        for ours, theirs in _paired(receiver, sharer)
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
        for ours, theirs in _paired(receiver, sharer)
    )
    behind = [lead for lead, _ in pairs]
    gains = [0.0, *accumulate(gain for _, gain in pairs)]
    # The accuracy changes at the differences alone, and there an item is no longer routed.
    leads = {-lead for lead in behind}
    margins = {0.0, *leads, *(math.nextafter(lead, -math.inf) for lead in leads)}

    def gain(margin: float) -> float:
        # Rounded, so that sums of the same credits in another order are ties.
        return round(gains[bisect_left(behind, -margin)], 9)

    return min(margins, key=lambda margin: (-gain(margin), abs(margin)))


def _paired(receiver: SystemResult, sharer: SystemResult) -> list[tuple[ItemResult, ItemResult]]:
    pairs = list(zip(receiver.items, sharer.items, strict=True))
    if any(ours.id != theirs.id for ours, theirs in pairs):
        raise ValueError("routing needs both models' answers to the same items")
    return pairs
