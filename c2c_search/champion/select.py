"""Which trials of a study are worth the test split."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

import numpy as np

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.guard import SELECTION
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import shrink
from c2c_search.evaluation.statistics.optimism import FEWEST_BLOCKS
from c2c_search.evaluation.statistics.optimism import expected_drop
from c2c_search.space.front import pareto_front
from c2c_search.space.objectives import Choose
from c2c_search.space.objectives import Measure
from c2c_search.space.objectives import sign


FEWEST = 4
"""Trials of a pair from which on they are shrunk: towards a mean that is itself estimated,
shrinking lowers the squared error of all together from 4 on (Efron and Morris 1973)."""

_ROUNDING = 1e-12
"""Of sums of accuracies: what lies exactly on the limit is within it."""


@dataclass(frozen=True)
class Candidate:
    """A trial that may become a finalist.

    Args:
        number: The trial's number in its study.
        objective: Its best score; higher is better.
        parameters: Of its fuser.
        split: Where the objective was measured.
        pair: The models, whose trials are alike before anything is measured.
        blocks: Its objective on each block of items; none of a version before.
        rungs: Its objective at each rung, and on each block of items there; none of a version
            before.
        measures: All that a search may compare it by, by name.
    """

    number: int
    objective: float
    parameters: int
    split: str
    pair: str = ""
    blocks: tuple[float, ...] = ()
    rungs: tuple[tuple[float, tuple[float, ...]], ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict, compare=False)


def estimates(trials: Sequence[Candidate]) -> dict[int, float]:
    """What is believed of each trial, by its number, seeing those of the same pair.

    Those of a pair with fewer than `FEWEST`, or whose blocks are not known, are left out: what was
    measured is all there is.
    """
    by_pair: dict[str, list[Candidate]] = defaultdict(list)
    for trial in trials:
        if math.isfinite(trial.objective):
            by_pair[trial.pair].append(trial)
    found: dict[int, float] = {}
    for alike in by_pair.values():
        counts = {len(trial.blocks) for trial in alike}
        if len(alike) < FEWEST or len(counts) > 1 or min(counts) < 2:
            continue
        shrunken = shrink([one.objective for one in alike], [one.blocks for one in alike])
        found |= {one.number: each for one, each in zip(alike, shrunken, strict=True)}
    return found


def drop_of(chosen: Candidate, trials: Sequence[Candidate], level: float) -> Interval | None:
    """How much lower a trial's objective is expected on test than on validation.

    The luck of whoever is the best, of trials and of their rungs, is part of it.

    Args:
        chosen: One of the trials.
        trials: All that it was chosen among.
        level: The interval is meant to cover the drop with probability ``1 - level``.

    Returns:
        None where its blocks are not known, or are too few.
    """
    count = len(chosen.blocks)
    alike = [one for one in trials if one is chosen or len(one.blocks) == count]
    alike = [one for one in alike if math.isfinite(one.objective)]
    if count < FEWEST_BLOCKS or chosen not in alike:
        return None
    rungs = [one.rungs or ((one.objective, one.blocks),) for one in alike]
    scores = np.full((len(alike), max(map(len, rungs)), count), np.nan)
    for row, known in zip(scores, rungs, strict=True):
        for place, (objective, blocks) in zip(row, known, strict=False):
            # The objective of all items is not the mean of the blocks' objectives.
            place[:] = np.array(blocks) + objective - np.mean(blocks)
    return expected_drop(scores, alike.index(chosen), level)


def finalists(trials: Sequence[Candidate], k: int) -> list[Candidate]:
    """Choose at most ``k`` trials by validation alone, the best first.

    They are ranked by what is believed of them (`estimates`), so that a trial whose score is
    uncertain does not come before one as good that is not. Equals, as all are where nothing tells
    them apart but noise, are ranked by their scores; then come the fuser with fewer parameters and
    the earlier trial. Scores that are not finite are left out.

    Raises:
        ConfigError: ``k`` is below 1.
        DataError: An objective was measured elsewhere than on validation.
    """
    _check(trials, k)
    known = estimates(trials)

    def rank(trial: Candidate) -> tuple[float, float, int, int]:
        believed = known.get(trial.number, trial.objective)
        return -believed, -trial.objective, trial.parameters, trial.number

    return sorted((trial for trial in trials if math.isfinite(trial.objective)), key=rank)[:k]


def of_front(
    trials: Sequence[Candidate],
    k: int,
    leading: str,
    objectives: Sequence[Measure],
    choose: Choose,
) -> list[Candidate]:
    """Choose at most ``k`` trials from their Pareto front, by validation alone, the best first.

    First come those within the rule's distance of the best, the best by its second measure
    first, then the others on the front by its first one. What is believed of a trial's leading
    score (`estimates`) takes the place of what was measured, but for who is on the front.

    Args:
        trials: All that keep to the search's bounds.
        k: How many.
        leading: The objective that ``Candidate.objective`` is.
        objectives: What the search compares trials by.
        choose: The rule.

    Raises:
        ConfigError: ``k`` is below 1.
        DataError: An objective was measured elsewhere than on validation.
    """
    _check(trials, k)
    named = {str(one.number): one for one in trials if math.isfinite(one.objective)}
    known = {name: one.measures for name, one in named.items()}
    front = [named[name] for name in pareto_front(objectives, {}, known).trials]
    if not front:
        return []
    return by_rule(front, estimates(trials), leading, choose)[:k]


def by_rule(
    trials: Sequence[Candidate], believed: Mapping[int, float], leading: str, choose: Choose
) -> list[Candidate]:
    """Trials in the order in which a rule chooses them.

    Args:
        trials: One at least.
        believed: What is believed of the leading score, by number; what was measured, where not.
        leading: Its name.
        choose: The rule.
    """

    def worth(one: Candidate, measure: str) -> float:
        """The higher, the better."""
        if measure == leading:
            return believed.get(one.number, one.objective)
        return sign(measure) * one.measures[measure]

    best = max(worth(one, choose.best) for one in trials)
    least = best - choose.tolerance(best) - _ROUNDING

    def rank(one: Candidate) -> tuple[bool, float, float, int, int]:
        mine = worth(one, choose.best)
        good = mine >= least
        then = worth(one, choose.then) if choose.then is not None and good else 0.0
        return not good, -then, -mine, one.parameters, one.number

    return sorted(trials, key=rank)


def _check(trials: Sequence[Candidate], k: int) -> None:
    if k < 1:
        raise ConfigError("A study needs at least one finalist.", value=k)
    others = [trial for trial in trials if trial.split != SELECTION]
    if others:
        raise DataError(
            f"Finalists are chosen by their {SELECTION} score alone: chosen on {REPORT}, the best "
            "would look better than it is.",
            value=", ".join(f"trial {trial.number} on {trial.split}" for trial in others),
            hint="Begin another study: give the space another name under `study:`.",
        )
