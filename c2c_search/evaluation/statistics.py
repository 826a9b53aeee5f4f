"""Evaluation room: how sure a number is, and whether two systems really differ; numpy only.

Items about the same fact (a *cluster*) are not independent, so intervals are made from clusters.
``level`` is the significance level throughout: an interval at level 0.01 is meant to cover the
truth in 99 of 100 studies.
"""

from __future__ import annotations

import math
from operator import index
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult


Floats = npt.NDArray[np.float64]

# Resamples drawn at once, times clusters: 16 MB of counts.
_CELLS_AT_ONCE = 2_000_000
# Half an item each way (Agresti and Min 2005), as a sum of squares: a resample in which no item
# disagrees still has a standard error.
_PSEUDO_ITEM = 1.0


class Interval(BaseModel):
    """A number and the interval around it; ``low <= value <= high``.

    Args:
        value: The point estimate.
        low: Lower end.
        high: Upper end.
        level: The interval covers the truth with probability ``1 - level``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def accuracy_interval(result: SystemResult, *, level: float = 0.05) -> Interval:
    """Accuracy with a Wilson interval whose sample size is what the clusters are worth.

    The effective sample size is ``p (1 - p)`` over the variance between clusters (Kish 1965), at
    most the number of items. Where that variance says nothing (all or no answers right, a single
    cluster), a cluster counts as one item.

    Source: Franco et al. 2019, Comparative study of confidence intervals for proportions in
    complex sample surveys (J. Survey Statistics and Methodology 7, 334-364).

    Raises:
        DataError: There are no items.
    """
    _check_level(level)
    _check_items(result)
    sums, sizes = _by_cluster(result, np.array([item.correct for item in result.items], float))
    items, clusters = sizes.sum(), len(sizes)
    p = float(sums.sum() / items)
    effective = float(clusters)
    if 0 < p < 1 and clusters > 1:
        between = _sum_of_squares(sums, sizes, p) * clusters / (clusters - 1) / items**2
        effective = float(p * (1 - p) / max(between, p * (1 - p) / items))
    z = NormalDist().inv_cdf(1 - level / 2)
    centre = (p + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective)
    half *= math.sqrt(p * (1 - p) / effective + z**2 / (4 * effective**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(value=p, low=min(low, p), high=max(high, p), level=level)


def paired_bootstrap(
    a: SystemResult,
    b: SystemResult,
    *,
    level: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Accuracy of ``a`` minus that of ``b`` with a cluster bootstrap-t interval.

    Whole clusters are resampled with replacement. Each resample's deviation from the observed
    difference is divided by its own cluster-robust standard error, and the quantiles of that
    ratio make the interval. At level 0.01 with 10 clusters the percentile and BCa bootstraps
    miss three to four times as often as they say, this one as often as it says; the difference
    fades beyond 50 clusters.

    Source: Cameron, Gelbach and Miller 2008, Bootstrap-based improvements for inference with
    clustered errors (Review of Economics and Statistics 90, 414-427).

    Args:
        a: One system's answers.
        b: Another's, to the same items in the same order.
        level: The interval covers with probability ``1 - level``.
        resamples: Bootstrap resamples.
        seed: Of the resampling; the same seed gives the same interval.

    Returns:
        The interval, within [-1, 1]; all of it when there is a single cluster, which says nothing
        about others.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: The resamples are too few to have a quantile at this level.
    """
    _check_level(level)
    tail = int((resamples + 1) * level / 2)
    if tail < 1:
        raise ConfigError(
            f"An interval at level {level:g} needs at least {math.ceil(2 / level)} resamples.",
            value=resamples,
            hint="Take more resamples or a larger level.",
        )
    sums, sizes = _by_cluster(a, _differences(a, b))
    value = float(sums.sum() / sizes.sum())
    if len(sizes) == 1:
        return Interval(value=value, low=-1.0, high=1.0, level=level)
    ratios = np.sort(_bootstrap_ratios(sums, sizes, resamples, seed))
    error = float(_standard_error(_sum_of_squares(sums, sizes, value), len(sizes), sizes.sum()))
    low = value - float(ratios[-tail]) * error
    high = value - float(ratios[tail - 1]) * error
    return Interval(
        value=value,
        low=max(-1.0, min(low, value)),
        high=min(1.0, max(high, value)),
        level=level,
    )


def mcnemar_exact(a: SystemResult, b: SystemResult) -> float:
    """Two-sided p-value of "``a`` and ``b`` are equally accurate", given the same items.

    Counts items, not clusters: read it beside `paired_bootstrap`.

    Source: McNemar 1947 (Psychometrika 12, 153-157), in its exact binomial form.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    differences = _differences(a, b)
    return sign_test(int((differences > 0).sum()), int((differences < 0).sum()))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact binomial p-value of ``wins`` against ``losses`` at even odds; in (0, 1]."""
    # Whole numbers of Python to the end: 2**n overflows NumPy's from 64 disagreements on, and a
    # float from 1024 on.
    wins, losses = index(wins), index(losses)
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**n)


def minimum_detectable_difference(
    n: int, discordant_rate: float, *, level: float = 0.05, power: float = 0.8
) -> float:
    """Smallest difference in accuracy that a two-sided McNemar test would find.

    Source: Connor 1987, Sample size for testing differences in proportions for the paired-sample
    design (Biometrics 43, 207-211), solved for the difference. Items count as independent, so
    clusters make it optimistic.

    Args:
        n: Items.
        discordant_rate: Share of items that exactly one of the two systems answers rightly.
        level: Of the test.
        power: Probability with which the difference is to be found.

    Returns:
        The difference, in (0, ``discordant_rate``]; infinity when even the largest would not be
        found.

    Raises:
        ConfigError: A number is outside its range.
    """
    _check_level(level)
    for name, number in (("discordant_rate", discordant_rate), ("power", power)):
        if not 0 <= number <= 1 or (name == "power" and number in (0, 1)):
            raise ConfigError(f"{name} must be a probability.", value=number)
    if n < 1:
        raise ConfigError("A test needs at least one item.", value=n)
    alpha = NormalDist().inv_cdf(1 - level / 2)
    beta = NormalDist().inv_cdf(power)
    # Connor's condition, sqrt(n) d = alpha sqrt(rate) + beta sqrt(rate - d^2), is quadratic in d.
    if n < alpha**2 or discordant_rate == 0:
        return math.inf
    spread = alpha * math.sqrt(n) + beta * math.sqrt(n + beta**2 - alpha**2)
    difference = math.sqrt(discordant_rate) * spread / (n + beta**2)
    return difference if difference <= discordant_rate else math.inf


def _bootstrap_ratios(sums: Floats, sizes: Floats, resamples: int, seed: int) -> Floats:
    """``(resamples,)`` deviations from the observed difference in resampled standard errors."""
    rng = np.random.default_rng(seed)
    clusters = len(sizes)
    observed = sums.sum() / sizes.sum()
    moments = np.stack([sums, sizes, sums**2, sums * sizes, sizes**2], axis=1)
    odds = np.full(clusters, 1 / clusters)
    ratios = np.empty(resamples)
    at_once = max(1, _CELLS_AT_ONCE // clusters)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = rng.multinomial(clusters, odds, size=count) @ moments
        total, items, squares, cross, sizes_squared = drawn.T
        mean = total / items
        spread = np.maximum(squares - 2 * mean * cross + mean**2 * sizes_squared, 0.0)
        error = _standard_error(spread, clusters, items)
        ratios[start : start + count] = (mean - observed) / error
    return ratios


def _standard_error(
    sum_of_squares: float | Floats, clusters: int, items: float | Floats
) -> float | Floats:
    """Cluster-robust standard error of a ratio of sums (linearised)."""
    return np.sqrt(clusters / (clusters - 1) * (sum_of_squares + _PSEUDO_ITEM)) / items


def _sum_of_squares(sums: Floats, sizes: Floats, mean: float) -> float:
    """Spread of the clusters' sums around what ``mean`` says they are."""
    return float(((sums - mean * sizes) ** 2).sum())


def _by_cluster(result: SystemResult, values: Floats) -> tuple[Floats, Floats]:
    """Sum of ``values`` and number of items of each cluster, both ``(clusters,)``."""
    names = [item.cluster for item in result.items]
    _, cluster = np.unique(names, return_inverse=True)
    sums: Floats = np.bincount(cluster, weights=values).astype(np.float64)
    return sums, np.bincount(cluster).astype(np.float64)


def _differences(a: SystemResult, b: SystemResult) -> Floats:
    """For each item 1 where only ``a`` is right, -1 where only ``b`` is, else 0."""
    _check_items(a)
    _check_items(b)
    asked = [[(i.id, i.cluster, i.answer) for i in result.items] for result in (a, b)]
    if a.split != b.split or asked[0] != asked[1]:
        raise DataError(
            "Two systems can be paired only on the same items in the same order.",
            value=f"{a.system} on {a.split} ({len(a.items)} items), "
            f"{b.system} on {b.split} ({len(b.items)} items)",
            hint="Evaluate both on the same split of the same data.",
        )
    return np.array(
        [x.correct - y.correct for x, y in zip(a.items, b.items, strict=True)], dtype=float
    )


def _check_items(result: SystemResult) -> None:
    if not result.items:
        raise DataError(
            "A system must have answered at least one item.",
            value=f"{result.system} on {result.split}",
            hint="The split is empty: check the data section of the pipeline.",
        )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ConfigError("level must lie between 0 and 1, e.g. 0.01.", value=level)
