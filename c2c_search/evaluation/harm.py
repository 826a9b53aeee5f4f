"""Whether a fuser leaves its receiver as good as it is alone, on any task."""

from __future__ import annotations

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import DESCRIPTIVE_LEVEL
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import items_to_show_margin
from c2c_search.evaluation.statistics import noninferiority_test
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import paired_test


class Harm(BaseModel):
    """A fuser against its receiver alone on one task; JSON round trip.

    Args:
        task: Its name.
        items: How many were answered.
        clusters: Facts that they are about.
        level: Of the tests and of the difference's interval.
        margin: How much worse counts as no harm, in accuracy.
        fused: Accuracy with the message, at 95 %.
        receiver: Accuracy of the receiver alone, at 95 %.
        difference: The first minus the second.
        p: Of "it is worse by ``margin`` or more", one-sided; see `noninferiority_test`.
        p_worse: Of "it is not worse at all", one-sided, by `paired_test`.
        needed: Items that would show a fuser that does no harm at all to do none beyond the
            margin, if it disagrees with its receiver as often as this one; None where these never
            did.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    items: int
    clusters: int
    level: float
    margin: float
    fused: Interval
    receiver: Interval
    difference: Interval
    p: float
    p_worse: float
    needed: int | None

    @property
    def harmless(self) -> bool:
        """Whether it is shown to do no harm beyond the margin."""
        return self.p < self.level

    @property
    def harms(self) -> bool:
        """Whether it is shown to be worse, by however little."""
        return self.p_worse < self.level

    @property
    def sentence(self) -> str:
        """What was found, in one sentence."""
        margin = f"{100 * self.margin:.3g} points"
        if self.harmless:
            found = f"no harm beyond {margin}"
            found += ", although it is worse" if self.harms else ""
        elif self.harms:
            found = "it does harm"
        else:
            found = f"that it does no harm beyond {margin} is not shown"
            if self.needed is not None and self.needed > self.items:
                found += f", which takes about {self.needed:,} items where there is none"
        return (
            f"On {self.items} items of {self.task} it answers {_percent(self.fused)} rightly, its "
            f"receiver alone {_percent(self.receiver)} ({100 * self.difference.value:+.1f} "
            f"points, p = {self.p:.2g}): {found}."
        )


def measure_harm(
    task: str,
    fused: SystemResult,
    receiver: SystemResult,
    *,
    level: float,
    margin: float,
    resamples: int = 10_000,
    seed: int = 0,
) -> Harm:
    """Test a fuser against its receiver alone.

    Args:
        task: Its name.
        fused: The fuser's answers.
        receiver: The receiver's, to the same items in the same order.
        level: Of the tests, one-sided, and of the difference's interval.
        margin: How much worse counts as no harm, in accuracy.
        resamples: Of bootstrap and permutations.
        seed: Of the same.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: Level, margin and resamples do not fit.
    """
    difference = paired_bootstrap(fused, receiver, level=level, resamples=resamples, seed=seed)
    tested = paired_test(fused, receiver, resamples=resamples, seed=seed)
    return Harm(
        task=task,
        items=len(fused.items),
        clusters=len({item.cluster for item in fused.items}),
        level=level,
        margin=margin,
        fused=accuracy_interval(fused, level=DESCRIPTIVE_LEVEL),
        receiver=accuracy_interval(receiver, level=DESCRIPTIVE_LEVEL),
        difference=difference,
        p=noninferiority_test(fused, receiver, margin=margin),
        p_worse=tested.one_sided(-difference.value),
        needed=items_to_show_margin(fused, receiver, margin=margin, level=level),
    )


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.1f} %"
