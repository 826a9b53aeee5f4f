"""How sure the accuracy of a single system is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics.bootstrap import bootstrap_t
from c2c_search.evaluation.statistics.clusters import by_cluster
from c2c_search.evaluation.statistics.clusters import credit_of
from c2c_search.evaluation.statistics.clusters import names
from c2c_search.evaluation.statistics.clusters import sum_of_squares
from c2c_search.evaluation.statistics.interval import Interval
from c2c_search.evaluation.statistics.interval import check_level


def accuracy_interval(
    result: SystemResult, *, level: float = 0.05, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Accuracy (mean credit) of a system, with an interval made from clusters.

    Where items are right or wrong it is that of `share_interval`. Where credit comes in degrees
    it is the cluster bootstrap-t interval of the mean, as in `paired_bootstrap`; if all clusters
    have the same mean, or there is only one, resampling changes nothing, and it is Wilson's with
    a cluster as one item, which is wide enough for anything in [0, 1].

    Args:
        result: The system's answers.
        level: The interval covers with probability ``1 - level``.
        resamples: Bootstrap resamples, of graded credit.
        seed: Of the resampling.

    Raises:
        DataError: There are no items.
        ConfigError: The resamples are too few to have a quantile at this level.
    """
    check_level(level)
    values, clusters = credit_of(result), names(result)
    if not result.graded:
        return share_interval(values == 1, clusters, level=level)
    mean = float(values.mean())
    sums, _ = by_cluster(clusters, values - mean)
    if np.allclose(sums, 0, atol=1e-9):
        return wilson(mean, len(set(clusters)), level)
    around = bootstrap_t(clusters, values - mean, level=level, resamples=resamples, seed=seed)
    low, high = max(0.0, mean + around.low), min(1.0, mean + around.high)
    return Interval(value=mean, low=min(low, mean), high=max(high, mean), level=level)


def share_interval(
    right: Sequence[bool], clusters: Sequence[str], *, level: float = 0.05
) -> Interval:
    """Share of items that are right, with a Wilson interval that knows what clusters are worth.

    The effective sample size is ``p (1 - p)`` over the variance between clusters (Kish 1965), at
    most the number of items. Where that variance says nothing (all or no answers right, a single
    cluster), a cluster counts as one item.

    Source: Franco et al. 2019, Comparative study of confidence intervals for proportions in
    complex sample surveys (J. Survey Statistics and Methodology 7, 334-364).

    Args:
        right: Of each item, whether it counts.
        clusters: The cluster of each.
        level: The interval covers with probability ``1 - level``.

    Raises:
        DataError: There are no items.
    """
    check_level(level)
    if not len(right):
        raise DataError("A share needs at least one item.", value=0)
    sums, sizes = by_cluster(clusters, np.asarray(right, dtype=np.float64))
    items, count = sizes.sum(), len(sizes)
    p = float(sums.sum() / items)
    effective = float(count)
    if 0 < p < 1 and count > 1:
        between = sum_of_squares(sums, sizes, p) * count / (count - 1) / items**2
        effective = float(p * (1 - p) / max(between, p * (1 - p) / items))
    return wilson(p, effective, level)


def wilson(p: float, effective: float, level: float) -> Interval:
    """The interval of a share ``p`` of ``effective`` independent items.

    Source: Wilson 1927 (J. American Statistical Association 22, 209-212).
    """
    # Late: statsmodels imports pandas.
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(p * effective, effective, alpha=level, method="wilson")
    return Interval(value=p, low=min(low, p), high=max(high, p), level=level)
