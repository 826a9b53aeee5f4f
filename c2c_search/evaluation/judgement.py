"""Whether a fuser listens, adapts or harms: one word, at the level that it claims."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import equivalence_test
from c2c_search.evaluation.statistics import holm
from c2c_search.evaluation.statistics import items_to_find
from c2c_search.evaluation.statistics import one_sided_test
from c2c_search.evaluation.statistics import paired_test
from c2c_search.evaluation.statistics.clusters import differences
from c2c_search.evaluation.statistics.clusters import names


Finding = Literal["does harm", "listens", "adapts without listening", "cannot be told"]
"""What can be found; exactly one of them is."""

HARMS: Finding = "does harm"
LISTENS: Finding = "listens"
ADAPTS: Finding = "adapts without listening"
UNTOLD: Finding = "cannot be told"

HALF = 0.5
"""The share P/G from which on a gain counts as communication."""


class ListeningTests(BaseModel):
    """The tests of the four findings.

    Args:
        finding: One of the four.
        lean: P - G/2, above 0 where more than half of the gain is communication.
        p: By finding but the last, the one-sided p-value of its test.
        p_holm: The same, corrected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: Finding
    lean: float
    p: dict[str, float]
    p_holm: dict[str, float]


class Judgement(ListeningTests):
    """What a fuser does with its message, by a rule; JSON round trip.

    Args:
        items: How many were answered.
        clusters: Facts that they are about.
        level: Chance that the finding is wrong, shared by its three tests (Holm 1979).
        pairing: A_M, A_D, A_R, G, P and P/G, with intervals of their own at that level.
        margin: Of ``unheard``, in accuracy.
        unheard: P-value of "the right message is worth ``margin`` or more, or as much less"; see
            `statistics.equivalence_test`.
        wished: The difference that ``needed`` is about, in accuracy.
        needed: Items that would find it in both P and G; None where too few answers differ to
            tell.
    """

    items: int
    clusters: int
    level: float
    pairing: Pairing
    margin: float
    unheard: float
    wished: float
    needed: int | None

    @property
    def listens(self) -> bool:
        """Whether the message is shown to be worth something, whatever else is found."""
        return self.p_holm[LISTENS] < self.level

    @property
    def sentence(self) -> str:
        """The finding, and what it rests on, in one sentence without its full stop."""
        told = self.pairing
        right, gain = _points(told.pairing_gain.value), _points(told.gain.value)
        if self.finding == HARMS:
            heard = f"although the right message is worth {right} points more than another's"
            return (
                f"Does harm: with its message the receiver answers {gain} points worse than alone"
                + (f", {heard}" if self.listens else "")
            )
        if self.finding == LISTENS:
            return (
                f"Listens: the right message is worth {right} points more than another's, "
                f"{self._share()}"
            )
        if self.finding == ADAPTS:
            less = "less than half of it" if self.listens else "no shown part of it"
            return (
                f"Adapts without listening: it gains {gain} points, and {less} is owed to hearing "
                f"the right message ({right} points, {self._share()})"
            )
        return self._untold(right, gain)

    def _untold(self, right: str, gain: str) -> str:
        size = f"{self.items} items"
        if self.clusters < self.items:
            size += f" about {self.clusters} facts"
        what = (
            f"the right message is worth {right} points of a gain of {gain}, less than half, and "
            "not shown to be"
            if self.listens
            else f"the right message is worth {right} points and the gain is {gain}, neither shown"
        )
        wished = 100 * self.wished
        more = (
            f"too few answers differ to say how many would show {wished:.3g} points"
            if self.needed is None
            else f"it takes about {self.needed:,} of them to show {wished:.3g} points"
        )
        return f"Cannot be told from {size}: {what}; {more}"

    def _share(self) -> str:
        share = self.pairing.share
        if share is None:
            return "no gain over the receiver alone is shown"
        return f"P/G {share.written('.2f')}"


def judge_listening(
    matched: SystemResult,
    deranged: SystemResult,
    receiver: SystemResult,
    *,
    level: float = 0.05,
    margin: float = 0.02,
    wished: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> Judgement:
    """Say whether a fuser listens, adapts without listening, or does harm.

    Three claims share the level by Holm's correction, so that the chance of any false one is at
    most ``level``, whatever is true:

    - *does harm*: G < 0, by the exact paired test (`paired_test`, one-sided);
    - *listens*: P > 0, by the same test;
    - *adapts*: G > 0 by that test, and P < G/2 by `one_sided_test` of P - G/2, item by item. Both
      must hold, so neither is corrected for the other.

    The first that stands, in this order, is the finding; *listens* also asks that P is G/2 or
    more as it was found, which excludes *adapts*. Where none stands it cannot be told.

    Args:
        matched: The fuser's answers.
        deranged: Its answers to the same items with other items' messages.
        receiver: The answers of its receiver alone.
        level: Chance of a wrong finding.
        margin: Within which P counts as nothing, in accuracy.
        wished: Difference that should be found, in accuracy, for the number of items needed.
        resamples: Of permutations and bootstrap.
        seed: Of the same.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: Level, margin and resamples do not fit.
    """
    tested = listening_tests(
        matched, deranged, receiver, level=level, resamples=resamples, seed=seed
    )
    # The strictest level that Holm may ask for, of tests in one direction.
    each = 2 * level / len(tested.p)
    needed = [
        items_to_find(matched, other, wished, level=min(each, 0.999))
        for other in (deranged, receiver)
    ]
    return Judgement(
        **dict(tested),
        items=len(matched.items),
        clusters=len(set(names(matched))),
        level=level,
        pairing=pairing(matched, deranged, receiver, level=level, resamples=resamples, seed=seed),
        margin=margin,
        unheard=equivalence_test(matched, deranged, margin=margin),
        wished=wished,
        needed=max((each for each in needed if each is not None), default=None),
    )


def listening_tests(
    matched: SystemResult,
    deranged: SystemResult,
    receiver: SystemResult,
    *,
    level: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> ListeningTests:
    """The finding alone; see `judge_listening`."""
    lean = differences(matched, deranged) - HALF * differences(matched, receiver)

    def better(other: SystemResult, sign: int = 1) -> float:
        """One-sided p-value of "matched is no better" (``sign`` -1: no worse)."""
        value = sign * float(differences(matched, other).mean())
        return paired_test(matched, other, resamples=resamples, seed=seed).one_sided(value)

    p: dict[str, float] = {
        HARMS: better(receiver, -1),
        LISTENS: better(deranged),
        ADAPTS: max(better(receiver), one_sided_test(-lean, names(matched), 0.0)),
    }
    corrected = holm(p)
    stands = {finding: corrected[finding] < level for finding in (HARMS, LISTENS, ADAPTS)}
    stands[LISTENS] &= float(lean.mean()) >= 0
    finding = next((each for each, found in stands.items() if found), UNTOLD)
    return ListeningTests(finding=finding, lean=float(lean.mean()), p=p, p_holm=corrected)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
