"""What replays on the table of fusers say of samplers and pruners, in numbers with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from replay import Lookup
from replay import Replayed
from replay import false_kills
from replay import regrets

from c2c_search.evaluation.statistics import Interval
from c2c_search.space.reference import PAIR


Method = tuple[str, str]
"""Names of a sampler and a pruner."""
Found = dict[Method, list[Replayed]]
PLAIN: Method = ("random", "none")
"""What the others are measured against."""

RESAMPLES = 1000
LEVEL = 0.05
"""Of the intervals, over replays."""


@dataclass(frozen=True)
class Line:
    """What a method did at a budget of trials.

    Args:
        method: Sampler and pruner.
        steps: Mean optimizer steps.
        regret: Mean over the replays.
        beyond: How much higher it is than that of `PLAIN` with the same seeds.
        share: Of the steps of `PLAIN`, those after which the mean regret is what `PLAIN`'s is at
            its end, and its interval; None where it never is.
        killed: Of the trials of the best twentieth, those that were stopped.
    """

    method: Method
    steps: float
    regret: Interval
    beyond: Interval
    share: tuple[float | None, float | None, float | None]
    killed: float


@dataclass(frozen=True)
class Signal:
    """Whether validation tells the table's fusers apart.

    Args:
        correlation: Between fusers' margins on validation and on test, within pairs; with its
            interval over fusers.
        spread: Standard deviation of fusers' margins on test, within pairs.
        seeds: The same between the seeds of a fuser; None where none has several.
    """

    correlation: Interval
    spread: float
    seeds: float | None


def compare(found: Found, lookup: Lookup, last: int) -> list[Line]:
    """A line a method, the lowest regret first.

    Args:
        found: Replays by method, those of `PLAIN` among them, all of the same seeds.
        lookup: The table.
        last: Steps of a whole training.
    """
    ends = {method: regrets(each, lookup.best)[:, -1] for method, each in found.items()}
    goal, plain = float(ends[PLAIN].mean()), found[PLAIN][0].steps[-1]
    lines = [
        Line(
            method,
            steps=fmean(one.steps[-1] for one in each),
            regret=_with_interval(ends[method]),
            beyond=_with_interval(ends[method] - ends[PLAIN]),
            share=_share(over_steps(each, lookup.best, last, plain), goal),
            killed=false_kills(each, lookup.top),
        )
        for method, each in found.items()
    ]
    return sorted(lines, key=lambda line: line.regret.value)


def mean_regret(replays: Sequence[Replayed], best: float) -> float:
    """At the end."""
    return float(regrets(replays, best)[:, -1].mean())


def over_steps(replays: Sequence[Replayed], best: float, last: int, most: int) -> np.ndarray:
    """``(repeats, most // last)`` regret after each training's worth of steps."""
    known = regrets(replays, best)
    grid = np.arange(last, most + 1, last)
    rows = []
    for each, regret in zip(replays, known, strict=True):
        at = np.searchsorted(each.steps, grid, side="right") - 1
        rows.append(np.where(at < 0, best, regret[np.maximum(at, 0)]))
    return np.array(rows)


def signal(lookup: Lookup) -> Signal:
    """How much of what a search maximises on the table is there on test, too."""
    fusers = lookup.fusers
    first = np.array([max(_margins(lookup, index)) for index in range(len(fusers))])
    pairs = [str(each.params.get(PAIR, "")) for each in fusers]
    on_validation, on_test = (_within(values, pairs) for values in (first, lookup.worth))
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(fusers), size=(RESAMPLES, len(fusers)))
    found = [_correlation(on_validation[rows], on_test[rows]) for rows in drawn]
    low, high = np.quantile(found, [LEVEL / 2, 1 - LEVEL / 2])
    value = _correlation(on_validation, on_test)
    several = [of for of in map(lookup.worths, range(len(fusers))) if len(of) > 1]
    seeds = float(np.sqrt(np.mean([np.var(of, ddof=1) for of in several]))) if several else None
    return Signal(
        Interval(value=value, low=float(low), high=float(high), level=LEVEL),
        float(on_test.std(ddof=1)),
        seeds,
    )


def _margins(lookup: Lookup, index: int) -> list[float]:
    """Of a fuser's first training, at its rungs, on all of validation."""
    objective, training = lookup.objectives[index], lookup.fusers[index].trainings[0]
    return [objective.value(rung.accuracy, rung.deranged) for rung in training.rungs]


def _within(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Values less their group's mean."""
    found = values.astype(float)
    for group in set(groups):
        rows = np.array([each == group for each in groups])
        found[rows] -= found[rows].mean()
    return found


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; 0 where either is constant."""
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _resampled(values: np.ndarray) -> np.ndarray:
    """``(RESAMPLES, ...)`` means over replays drawn with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(values), size=(RESAMPLES, len(values)))
    return np.stack([values[each].mean(axis=0) for each in drawn])


def _with_interval(values: np.ndarray) -> Interval:
    low, high = np.quantile(_resampled(values), [LEVEL / 2, 1 - LEVEL / 2])
    return Interval(value=float(values.mean()), low=float(low), high=float(high), level=LEVEL)


def _share(curves: np.ndarray, goal: float) -> tuple[float | None, float | None, float | None]:
    """When a mean curve has come down to the goal, as a share of its length."""
    resampled = [_reached(curve, goal) for curve in _resampled(curves)]
    quantiles = [LEVEL / 2, 1 - LEVEL / 2]
    low, high = np.quantile([2.0 if one is None else one for one in resampled], quantiles)
    ends = [None if one > 1 else float(one) for one in (low, high)]
    return _reached(curves.mean(axis=0), goal), ends[0], ends[1]


def _reached(curve: np.ndarray, goal: float) -> float | None:
    below = np.flatnonzero(curve <= goal + 1e-9)
    return None if not len(below) else (int(below[0]) + 1) / len(curve)
