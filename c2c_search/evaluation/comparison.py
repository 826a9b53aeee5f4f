"""What every system scored on a task, and what sets C2C apart from each."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from statistics import fmean

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_differ
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import detectable
from c2c_search.evaluation.statistics import hierarchical_bootstrap
from c2c_search.evaluation.statistics import holm
from c2c_search.evaluation.statistics import mean_interval
from c2c_search.evaluation.statistics import paired_test
from c2c_search.evaluation.statistics import split_warning


SELF_CHECK = "shut"
"""The system that must equal the receiver: a check of the plumbing, not a comparison."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Compared(_Stored):
    """The subject against one other system on the same items.

    Args:
        difference: The subject's mean credit minus the other's.
        test: ``mcnemar`` where every item is a fact of its own and right or wrong, else
            ``permutation`` of whole facts.
        p: Of that test, two-sided, between the first trainings of both.
        p_holm: The same, corrected for all the comparisons of the task (Holm 1979).
        detectable: Smallest difference that would be found in four cases of five, given how
            often the two disagree; None where there is none.
    """

    difference: Interval
    test: str
    p: float
    p_holm: float
    detectable: float | None


class Scored(_Stored):
    """What one system scored on a task.

    Args:
        system: Its name.
        score: Mean credit, with an interval.
        seeds: Trainings that the score is the mean of; 1 for what is not trained.
        other: Accuracy by the other reading of the same likelihoods (raw where the score is
            length-normalised, length-normalised where it is raw), mean over trainings; None for
            written answers.
        by_group: Mean credit of each group, over trainings too.
        against: The subject against this system; None for the subject itself.
        unequal: Of the shut gate: items on which it chose otherwise than the receiver.
    """

    system: str
    score: Interval
    seeds: int
    other: float | None
    by_group: dict[str, float]
    against: Compared | None
    unequal: int | None = None


def compare(
    results: Mapping[str, Sequence[SystemResult]],
    subject: str,
    *,
    level: float,
    length_normalised: bool | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[Scored, ...]:
    """Set a system beside all others on one task.

    Args:
        results: Answers to the same items in the same order, by system: one result for every
            training seed.
        subject: The system that all others are compared with.
        level: Of the intervals.
        length_normalised: How options were compared; None where answers were written.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        DataError: The systems did not answer the same items in the same order.
    """
    mine = results[subject]
    others = {
        name: theirs for name, theirs in results.items() if name not in (subject, SELF_CHECK)
    }
    tests = {name: paired_test(mine[0], theirs[0], seed=seed) for name, theirs in others.items()}
    corrected = holm({name: test.p for name, test in tests.items()})

    def against(name: str) -> Compared | None:
        if name not in others:
            return None
        theirs = others[name]
        difference = hierarchical_bootstrap(
            mine, theirs, level=level, resamples=resamples, seed=seed
        )
        return Compared(
            difference=difference,
            test=tests[name].name,
            p=tests[name].p,
            p_holm=corrected[name],
            detectable=detectable(mine[0], theirs[0], level=level),
        )

    return tuple(
        Scored(
            system=name,
            score=mean_interval(each, level=level, resamples=resamples, seed=seed),
            seeds=len(each),
            other=_other_reading(each, length_normalised),
            by_group=_by_group(each),
            against=against(name),
            unequal=_unequal(each[0], results) if name == SELF_CHECK else None,
        )
        for name, each in results.items()
    )


def too_small(result: SystemResult, *, level: float, wished: float) -> str | None:
    """A warning where a split cannot show a difference of ``wished``; see `split_warning`."""
    facts = len({item.cluster for item in result.items})
    return split_warning(len(result.items), facts, level=level, wished=wished)


def read_otherwise(item: ItemResult, *, length_normalised: bool) -> ItemResult:
    """The same likelihoods, compared whole or per token.

    Args:
        item: Chosen among options, with their lengths.
        length_normalised: Whether ``item`` was; the result is the opposite.
    """
    if item.repeats:
        again = (read_otherwise(one, length_normalised=length_normalised) for one in item.repeats)
        return item.model_copy(update={"repeats": tuple(again)})
    pairs = zip(item.scores, item.lengths, strict=True)
    scores = tuple(s * n if length_normalised else s / n for s, n in pairs)
    chosen = max(range(len(scores)), key=scores.__getitem__)
    return item.model_copy(update={"scores": scores, "chosen": chosen})


def _other_reading(
    results: Sequence[SystemResult], length_normalised: bool | None
) -> float | None:
    if length_normalised is None:
        return None
    return fmean(
        read_otherwise(item, length_normalised=length_normalised).credit
        for result in results
        for item in result.items
    )


def _by_group(results: Sequence[SystemResult]) -> dict[str, float]:
    found = [result.accuracy_by_group() for result in results]
    return {group: fmean(each[group] for each in found) for group in found[0]}


def _unequal(shut: SystemResult, results: Mapping[str, Sequence[SystemResult]]) -> int | None:
    if "receiver" not in results:
        return None
    pairs = zip(shut.items, results["receiver"][0].items, strict=True)
    return sum(answers_differ(a, b) for a, b in pairs)
