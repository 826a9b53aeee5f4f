"""Whether the message matters: a fuser with the right message against itself with another's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics.bootstrap import bootstrap_ratios
from c2c_search.evaluation.statistics.bootstrap import pseudo_item
from c2c_search.evaluation.statistics.bootstrap import tail_size
from c2c_search.evaluation.statistics.clusters import by_cluster
from c2c_search.evaluation.statistics.clusters import differences
from c2c_search.evaluation.statistics.clusters import names


LEGEND = (
    "A_M: accuracy with the matched message; A_D: with a deranged one, another item's; A_R: of "
    "the receiver alone. G = A_M - A_R is the system gain, P = A_M - A_D the pairing gain: only P "
    "is communication, and P/G is its share of the gain."
)
"""What the letters mean, in one place for every report."""


class Pairing(BaseModel):
    """What a system owes to hearing the right message; JSON round trip.

    Source: Draft-KV (arXiv 2609.34754).

    Args:
        matched: A_M, accuracy with the message about the same item.
        deranged: A_D, accuracy with another item's message.
        receiver: A_R, accuracy of the receiver alone.
        derangements: Accuracy with each derangement of the messages; A_D is their mean.
        gain: The system gain G = A_M - A_R.
        pairing_gain: The pairing gain P = A_M - A_D.
        share: P/G; above 1 where the wrong message is worse than none, below 0 where it is better
            than the right one; None where there is no gain to share.
        no_share: Why there is no share; empty if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    matched: Interval
    deranged: Interval
    receiver: Interval
    derangements: tuple[float, ...]
    gain: Interval
    pairing_gain: Interval
    share: Interval | None
    no_share: str = ""

    def sentence(self) -> str:
        """Every number with its interval, and what each is."""
        value = dict(self.rows())
        return (
            f"With the right messages it answers A_M = {value['A_M']} rightly, with other items' "
            f"A_D = {value['A_D']}; its receiver alone A_R = {value['A_R']}. Of the system gain "
            f"G = A_M - A_R = {value['G']} points, the pairing gain P = A_M - A_D = {value['P']} "
            f"is communication: P/G = {value['P/G']}."
        )

    def rows(self) -> Iterator[tuple[str, str]]:
        """The letters and their numbers: per cent and points, P/G as a share."""
        yield "A_M", _percent(self.matched)
        yield "A_D", _percent(self.deranged) + self._spread()
        yield "A_R", _percent(self.receiver)
        yield "G", self.gain.written("+.1f", 100)
        yield "P", self.pairing_gain.written("+.1f", 100)
        if self.share is None:
            yield "P/G", f"none: {self.no_share}"
        else:
            yield "P/G", self.share.written(".2f")

    def numbers(self) -> dict[str, float]:
        """The numbers without intervals, for a curve or a column."""
        share = {} if self.share is None else {"pairing_share": self.share.value}
        return {
            "matched": self.matched.value,
            "deranged": self.deranged.value,
            "system_gain": self.gain.value,
            "pairing_gain": self.pairing_gain.value,
            **share,
        }

    def _spread(self) -> str:
        if len(self.derangements) < 2:
            return ""
        each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in self.derangements)
        return f" (mean of {each})"


def pairing(
    matched: SystemResult,
    deranged: SystemResult,
    receiver: SystemResult,
    *,
    level: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> Pairing:
    """Set a fuser against itself with another item's message, and against the receiver alone.

    Intervals of G, P and P/G come from the same resampled clusters (bootstrap-t; see
    `paired_bootstrap`). P/G is a ratio of sums, studentised by its linearised standard error, and
    has a value only where the interval of G lies above 0: a share of what may be nothing is
    anything.

    Args:
        matched: The fuser's answers.
        deranged: Its answers to the same items in the same order with other items' messages.
        receiver: The answers of its receiver alone.
        level: Every interval covers with probability ``1 - level``.
        resamples: Bootstrap resamples.
        seed: Of the resampling; the same seed gives the same intervals.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: The resamples are too few to have a quantile at this level.
    """

    def accuracy(result: SystemResult) -> Interval:
        return accuracy_interval(result, level=level, resamples=resamples, seed=seed)

    def minus(other: SystemResult) -> Interval:
        return paired_bootstrap(matched, other, level=level, resamples=resamples, seed=seed)

    gain, no_share, share = minus(receiver), "", None
    if gain.low > 0:
        share = _share(matched, deranged, receiver, level=level, resamples=resamples, seed=seed)
    else:
        no_share = "there is no gain to share, as the interval of G does not lie above 0"
    return Pairing(
        matched=accuracy(matched),
        deranged=accuracy(deranged),
        receiver=accuracy(receiver),
        derangements=deranged.accuracies(),
        gain=gain,
        pairing_gain=minus(deranged),
        share=share,
        no_share=no_share,
    )


def _share(
    matched: SystemResult,
    deranged: SystemResult,
    receiver: SystemResult,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    """P/G with its interval, where G is above 0 and there are two clusters at least."""
    paired, gained = differences(matched, deranged), differences(matched, receiver)
    value = float(paired.sum() / gained.sum())
    pairs, _ = by_cluster(names(matched), paired)
    gains, _ = by_cluster(names(matched), gained)
    pseudo = pseudo_item(paired - value * gained)
    # A resample without any gain has no ratio; where G is above 0 there is hardly one.
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios, error = bootstrap_ratios(pairs, gains, pseudo, resamples, seed)
    ratios = np.sort(ratios[np.isfinite(ratios)])
    tail = tail_size(level, resamples)
    low = value - float(ratios[-tail]) * error
    high = value - float(ratios[tail - 1]) * error
    return Interval(value=value, low=min(low, value), high=max(high, value), level=level)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f} % [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
