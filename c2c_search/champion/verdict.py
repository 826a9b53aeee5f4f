"""What the gate found about one finalist: numbers, and what follows in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import AliasChoices
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field

from c2c_search.config.pipeline import ChampionConfig
from c2c_search.evaluation.harm import Harm
from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.statistics import Interval


USUAL_PAIRING_SHARE: float = ChampionConfig.model_fields["min_pairing_share"].default
TESTS = {"mcnemar": "McNemar", "permutation": "permutation"}
"""What reports call the paired tests."""


class Comparison(BaseModel):
    """The finalist against one other system on the same items.

    Args:
        control: Name of the other system.
        accuracy: Of the other system, at `DESCRIPTIVE_LEVEL`.
        by_group: Its accuracy in each group.
        difference: Finalist minus control, at the level that is judged.
        p: Exact two-sided McNemar p-value; where options tie, of the sign test that it is; where
            the control's answers are means, of the permutation test.
        test: Which of them it is; the sign test goes by McNemar's name.
        detectable: Smallest difference that this test finds in four cases of five, given how often
            the two disagree; None when no difference would be found.
        beaten: Whether the finalist is better by both tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    control: str
    accuracy: Interval
    by_group: dict[str, float]
    difference: Interval
    p: float
    test: Literal["mcnemar", "permutation"] = "mcnemar"
    detectable: float | None
    beaten: bool


class Verdict(BaseModel):
    """What the gate found about one finalist; JSON round trip.

    Args:
        name: The finalist.
        split: Where it was measured.
        items: Items of the split.
        clusters: Facts that the items are about.
        level: Chance of a false promotion that the study accepts.
        finalists: How many share that level.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        accuracy: Of the finalist, at `DESCRIPTIVE_LEVEL`.
        by_group: Its accuracy in each group.
        comparisons: One for every control.
        deranged: Against itself with other items' messages, a control like the others. In
            older verdicts it is called mismatched and was reported, not judged.
        pairing: What it owes to hearing the right message; None in older verdicts.
        min_pairing_share: P/G that it had to reach; None in older verdicts.
        passed: Whether every control is beaten and enough of the gain is communication.
        look: Which look at its study's test split this was, from 1; 0 where none was counted.
        present: Against the study's champion before it, if there was another.
        forced: Why it takes that one's place without having beaten it; empty if it does not.
        harm: On every task of ``champion.harmless_on``, at its `judged_level`, where it was to
            lead without that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    split: str
    items: int
    clusters: int
    level: float
    finalists: int
    resamples: int
    seed: int
    accuracy: Interval
    by_group: dict[str, float]
    comparisons: tuple[Comparison, ...]
    deranged: Comparison | None = Field(validation_alias=AliasChoices("deranged", "mismatched"))
    pairing: Pairing | None = None
    min_pairing_share: float | None = None
    passed: bool
    look: int = 0
    present: Comparison | None = None
    forced: str = ""
    harm: tuple[Harm, ...] = ()

    @property
    def judged_level(self) -> float:
        """Level of this finalist's tests and of its differences' intervals."""
        return judged_level(self.level, self.look, self.finalists)

    @property
    def others(self) -> tuple[Comparison, ...]:
        """Every control, itself with other items' messages last."""
        return (*self.comparisons, *([] if self.deranged is None else [self.deranged]))

    @property
    def leads(self) -> bool:
        """Whether it may be the champion: it harms nobody, and no other one stands in its way.

        No other one is champion, or it is beaten, or that is forced.
        """
        unopposed = self.present is None or self.present.beaten or bool(self.forced)
        return self.passed and unopposed and not self.harmful

    @property
    def harmful(self) -> tuple[str, ...]:
        """The tasks on which it is not shown to do no harm."""
        return tuple(each.task for each in self.harm if not each.harmless)

    @property
    def share(self) -> str:
        """In words, the level and what of it this finalist's tests spend."""
        parts = [f"level {self.level:g}"]
        if self.look:
            spent = self.level / 2**self.look
            parts.append(f"of which look {self.look} at this test split spends {spent:g}")
        if self.finalists > 1:
            parts.append(f"shared by {self.finalists} finalists")
        return ", ".join(parts)

    def explain(self) -> str:
        """Say in a few plain sentences what was measured and what follows."""
        sentences = [
            f"{self.name} answers {_percent(self.accuracy.value)} of {self.items} {self.split} "
            f"items about {self.clusters} facts rightly (95 % interval "
            f"{_percent(self.accuracy.low)} to {_percent(self.accuracy.high)}).",
            *(self._against(comparison) for comparison in self.comparisons),
        ]
        if self.deranged is not None:
            sentences.append(self._when_deranged(self.deranged))
        if self.pairing is not None:
            sentences.append(self.pairing.sentence())
        sentences.append(" ".join(self._findings()))
        if self.present is not None:
            sentences.append(self._against(self.present))
        if self.forced:
            sentences.append(f"It takes that champion's place by force: {self.forced}")
        sentences += [each.sentence for each in self.harm]
        if self.harmful:
            sentences.append(
                "It is refused because it is not shown to do no harm on "
                f"{_listed(list(self.harmful))} ({self.share})."
            )
        return "\n".join(sentences)

    def _against(self, other: Comparison) -> str:
        verb = "beats" if other.beaten else "does not clearly beat"
        found = f"It {verb} {other.control} ({_percent(other.accuracy.value)}): "
        found += _numbers(other)
        if not other.beaten and other.detectable is not None:
            found += (
                f" This test finds differences from about {100 * other.detectable:.1f} points on."
            )
        return found

    def _when_deranged(self, other: Comparison) -> str:
        meaning = (
            "it listens to the sharer."
            if other.beaten
            else "that it listens to the sharer is not shown."
        )
        return (
            f"With other items' messages it answers {_percent(other.accuracy.value)} rightly; the "
            f"right ones are worth {_numbers(other)} So {meaning}"
        )

    def _findings(self) -> Iterator[str]:
        """Whether it passed, and each reason why not."""
        missed = [one.control for one in self.comparisons if not one.beaten]
        wanted = self.min_pairing_share
        if wanted is not None and self.deranged is not None and not self.deranged.beaten:
            missed.append(self.deranged.control)
        if missed:
            yield f"It is not proven better than {_listed(missed)} ({self.share})."
        else:
            yield f"It beats every control ({self.share})."
        if wanted is None or self.pairing is None:
            return
        share = self.pairing.share
        if share is not None and share.value < wanted:
            yield (
                f"It is refused because too little of its gain comes from what is said: P/G is "
                f"{share.value:.2f}, and champion.min_pairing_share wants {wanted:g}."
            )
        if wanted < USUAL_PAIRING_SHARE:
            yield (
                f"This pipeline has lowered champion.min_pairing_share from "
                f"{USUAL_PAIRING_SHARE:g} to {wanted:g}."
            )


def judged_level(level: float, look: int, finalists: int) -> float:
    """Level of one finalist's tests: its part of what its look spends."""
    return level / 2**look / finalists


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _numbers(other: Comparison) -> str:
    points = [100 * end for end in (other.difference.value, other.difference.low)]
    points.append(100 * other.difference.high)
    return (
        f"{points[0]:+.1f} points, {100 * (1 - other.difference.level):.4g} % interval "
        f"{points[1]:+.1f} to {points[2]:+.1f}, {TESTS[other.test]} p = {other.p:.2g}."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
