"""Whether a finalist is better than every control, on items no trial has seen."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import ConfigError
from c2c_search.evaluation.guard import refuse_selection_split
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import minimum_detectable_difference
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import paired_sign_test


# Intervals of single accuracies describe and are not judged, hence the customary level.
DESCRIPTIVE_LEVEL = 0.05
POWER = 0.8


class Comparison(BaseModel):
    """The finalist against one other system on the same items.

    Args:
        control: Name of the other system.
        accuracy: Of the other system, at `DESCRIPTIVE_LEVEL`.
        by_group: Its accuracy in each group.
        difference: Finalist minus control, at the level that is judged.
        p: Exact two-sided McNemar p-value; where options tie, of the sign test that it is.
        detectable: Smallest difference that this test finds with `POWER`, given how often the two
            disagree; None when no difference would be found.
        beaten: Whether the finalist is better by both tests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    control: str
    accuracy: Interval
    by_group: dict[str, float]
    difference: Interval
    p: float
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
        mismatched: Against itself fed another item's sharer cache; reported, not judged.
        passed: Whether every control is beaten.
        look: Which look at its study's test split this was, from 1; 0 where none was counted.
        present: Against the study's champion before it, if there was another.
        forced: Why it takes that one's place without having beaten it; empty if it does not.
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
    mismatched: Comparison | None
    passed: bool
    look: int = 0
    present: Comparison | None = None
    forced: str = ""

    @property
    def judged_level(self) -> float:
        """Level of this finalist's tests and of its differences' intervals."""
        return judged_level(self.level, self.look, self.finalists)

    @property
    def leads(self) -> bool:
        """Whether it may be the champion: no other one is, or it is beaten, or that is forced."""
        unopposed = self.present is None or self.present.beaten or bool(self.forced)
        return self.passed and unopposed

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
        if self.mismatched is not None:
            sentences.append(self._when_mismatched(self.mismatched))
        missed = [one.control for one in self.comparisons if not one.beaten]
        if self.passed:
            sentences.append(f"It beats every control ({self.share}).")
        else:
            sentences.append(f"It is not proven better than {_listed(missed)} ({self.share}).")
        if self.present is not None:
            sentences.append(self._against(self.present))
        if self.forced:
            sentences.append(f"It takes that champion's place by force: {self.forced}")
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

    def _when_mismatched(self, other: Comparison) -> str:
        meaning = (
            "it listens to the sharer."
            if other.beaten
            else "that it listens to the sharer is not shown."
        )
        return (
            f"Fed another item's sharer cache, it answers {_percent(other.accuracy.value)} "
            f"rightly; the right one is worth {_numbers(other)} So {meaning}"
        )


def judge(
    name: str,
    candidate: SystemResult,
    controls: Mapping[str, SystemResult],
    *,
    level: float,
    resamples: int,
    seed: int,
    finalists: int = 1,
    look: int = 0,
    mismatched: SystemResult | None = None,
) -> Verdict:
    """Judge one finalist: it passes only if it beats every control.

    A control is beaten when the difference in accuracy is above 0, the exact McNemar p-value is
    below the level, and the cluster bootstrap's interval at that level lies above 0. McNemar is
    exact but takes items for independent; the bootstrap is approximate but resamples whole
    clusters. Each guards where the other is weak.

    "Beats all controls" is an intersection-union test: every one of its tests must reject, so
    together they keep the level of each without correction (Berger 1982, Technometrics 24,
    295-300). "One of k finalists passes" is a union, and every one of them is measured on the
    same split: each is judged at ``level / k`` (Bonferroni; Dunn 1961, J. American Statistical
    Association 56, 52-64), so that the chance that any is promoted by luck stays below ``level``.
    Holm's procedure would begin with the same bound and gain only for a second champion, of which
    there is none.

    Args:
        name: What the verdict calls the finalist.
        candidate: Its answers on the test split.
        controls: Answers of every single model of the study and of the finalist's own no-sharer
            twin, by name.
        level: Chance of a false promotion that the study accepts.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        finalists: How many finalists are tried in this look at the split.
        look: Which look at the split it is, from 1: it spends ``level / 2**look``. 0 spends all.
        mismatched: Answers of the finalist fed another item's sharer cache; reported only.

    Raises:
        DataError: The systems did not answer the same items in the same order, or not those of
            the test split.
        ConfigError: There is no control, or level and resamples do not fit.
    """
    if not controls or finalists < 1:
        raise ConfigError(
            "A verdict needs at least one control and one finalist.",
            value=f"{len(controls)} controls, {finalists} finalists",
        )
    others = [*controls.values(), *([] if mismatched is None else [mismatched])]
    refuse_selection_split(candidate, *others)

    def against(control: str, other: SystemResult) -> Comparison:
        at = judged_level(level, look, finalists)
        return paired_comparison(
            candidate, control, other, level=at, resamples=resamples, seed=seed
        )

    comparisons = tuple(against(*control) for control in controls.items())
    return Verdict(
        name=name,
        split=candidate.split,
        items=len(candidate.items),
        clusters=len({item.cluster for item in candidate.items}),
        level=level,
        finalists=finalists,
        resamples=resamples,
        seed=seed,
        accuracy=accuracy_interval(candidate, level=DESCRIPTIVE_LEVEL),
        by_group=candidate.accuracy_by_group(),
        comparisons=comparisons,
        mismatched=None if mismatched is None else against("mismatched sharer", mismatched),
        passed=all(comparison.beaten for comparison in comparisons),
        look=look,
    )


def judged_level(level: float, look: int, finalists: int) -> float:
    """Level of one finalist's tests: its part of what its look spends."""
    return level / 2**look / finalists


def oppose(
    verdict: Verdict,
    candidate: SystemResult,
    present: str,
    answers: SystemResult,
    forced: str = "",
) -> Verdict:
    """Set a finalist that passed against the champion that its study has.

    Args:
        verdict: On the finalist.
        candidate: Its answers on the test split.
        present: Name of the champion.
        answers: The champion's, to the same items.
        forced: Why the finalist takes its place even if it does not beat it.
    """
    found = paired_comparison(
        candidate,
        f"the present champion, {present}",
        answers,
        level=verdict.judged_level,
        resamples=verdict.resamples,
        seed=verdict.seed,
    )
    return verdict.model_copy(update={"present": found, "forced": "" if found.beaten else forced})


def first_passing(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The champion's verdict: the first that passed and may lead; None when none does.

    Verdicts come in the order of `finalists`, best on validation first. Taking the highest test
    score instead would choose on test, and the champion's own number would look better than it is.
    """
    return next((verdict for verdict in verdicts if verdict.leads), None)


def paired_comparison(
    candidate: SystemResult,
    control: str,
    other: SystemResult,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Set a finalist against another system; it is beaten as `judge` says.

    Raises:
        DataError: They did not answer the same items in the same order.
    """
    difference = paired_bootstrap(candidate, other, level=level, resamples=resamples, seed=seed)
    p = paired_sign_test(candidate, other)
    pairs = zip(candidate.items, other.items, strict=True)
    discordant = sum(mine.correct != theirs.correct for mine, theirs in pairs)
    items = len(candidate.items)
    detectable = minimum_detectable_difference(items, discordant / items, level=level, power=POWER)
    return Comparison(
        control=control,
        accuracy=accuracy_interval(other, level=DESCRIPTIVE_LEVEL),
        by_group=other.accuracy_by_group(),
        difference=difference,
        p=p,
        detectable=detectable if detectable <= 1 else None,
        beaten=difference.value > 0 and p < level and difference.low > 0,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _numbers(other: Comparison) -> str:
    points = [100 * end for end in (other.difference.value, other.difference.low)]
    points.append(100 * other.difference.high)
    return (
        f"{points[0]:+.1f} points, {100 * (1 - other.difference.level):.4g} % interval "
        f"{points[1]:+.1f} to {points[2]:+.1f}, McNemar p = {other.p:.2g}."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
