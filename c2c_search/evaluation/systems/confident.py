"""C2C that listens when unsure: where the receiver is sure enough, the sharer is never asked."""

from __future__ import annotations

import math
from collections.abc import Callable

from c2c_search.evaluation.guard import refuse_report_split
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.routing import best_cut
from c2c_search.evaluation.systems.routing import paired
from c2c_search.inference.doubt import ALL_SKIPPED
from c2c_search.inference.doubt import doubt_of_choice
from c2c_search.inference.doubt import doubt_of_words


def doubt(item: ItemResult) -> float:
    """How unsure a system was of an answer, in [0, 1]; see `inference.doubt`."""
    if item.scores:
        return doubt_of_choice(item.scores)
    return 1.0 if item.likelihood is None else doubt_of_words(item.likelihood)


def doubt_as_written(item: ItemResult, *, length_normalised: bool) -> float:
    """The same of a chosen option's text, as if the system had written it token by token.

    Args:
        item: Chosen by log-likelihood.
        length_normalised: Whether its scores are per token.
    """
    tokens = 1 if length_normalised else item.lengths[item.chosen]
    return doubt_of_words(item.scores[item.chosen] / tokens)


def listen(receiver: SystemResult, c2c: SystemResult, limit: float) -> SystemResult:
    """The receiver's own answer where its doubt is below a limit, and C2C's elsewhere.

    It follows from what both answered, without computing anything.

    Args:
        receiver: The receiver's answers.
        c2c: C2C's, to the same items in the same order.
        limit: Of doubt; 0: the sharer is always asked.

    Raises:
        ValueError: The items are not the same.
    """
    items = tuple(
        _as_often(ours, theirs) if doubt(ours) < limit else theirs
        for ours, theirs in paired(receiver, c2c)
    )
    return SystemResult(system="c2c_confident", split=receiver.split, items=items)


def _as_often(ours: ItemResult, theirs: ItemResult) -> ItemResult:
    """The receiver's answer as many times over as C2C gave one: it hears none of the messages."""
    if not theirs.repeats:
        return ours
    return ours.model_copy(update={"repeats": (ours,) * len(theirs.repeats)})


def skipped(receiver: SystemResult, limit: float) -> float:
    """Share of questions for which the sharer, and its prefill, is not needed, in [0, 1]."""
    return sum(doubt(item) < limit for item in receiver.items) / len(receiver.items)


def saving(receiver: SystemResult, limit: float) -> str:
    """The same in words."""
    return (
        f"Listening when unsure, the receiver answers {100 * skipped(receiver, limit):.1f} % of "
        f"{len(receiver.items)} items alone (where its doubt is below {limit:.3f}); there the "
        "sharer, and its prefill, is not needed."
    )


def fit_limit(
    receiver: SystemResult, c2c: SystemResult, measure: Callable[[ItemResult], float] = doubt
) -> float:
    """The limit with which `listen` is most accurate; of equal ones that which skips most.

    It is chosen on a split on which nothing is reported. Where no item is better skipped it is 0,
    so that nothing is, however sure the receiver is later.

    Args:
        receiver: As for `listen`.
        c2c: As for `listen`.
        measure: The doubt that the limit is of.

    Raises:
        DataError: The answers are not those of the selection split.
        ValueError: The items are not the same.
    """
    refuse_report_split(receiver)
    refuse_report_split(c2c)
    gains = sorted(
        (measure(ours), ours.credit - theirs.credit) for ours, theirs in paired(receiver, c2c)
    )
    doubts = {place for place, _ in gains}
    cuts = {0.0, ALL_SKIPPED, *(doubts - {min(doubts, default=math.nan)})}
    return best_cut(gains, cuts, lambda cut: -cut)
