"""What many measurements of the same items say of each, once the best is not taken at its word.

The highest of many noisy numbers is high partly by luck. A normal hierarchical model gives back
how much: true values spread around a mean by a variance of their own, measured ones by that of
the items as well. Each is drawn towards the mean by the share of what spreads it that is noise.

Source: empirical Bayes with unequal variances, Morris 1983 (JASA 78, 47-55); the variance between
is Hedges' moment estimator (Hedges and Olkin 1985, ch. 9).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from c2c_search.evaluation.statistics.clusters import Floats


def shrink(values: Sequence[float], blocks: Sequence[Sequence[float]]) -> list[float]:
    """Estimate what is true of each.

    Sampling variances come from blocks of items, each some whole clusters: what a block makes
    easy or hard for all is left out (two-way layout without interaction), for those who answer
    the same items are only compared by what they answer differently.

    Args:
        values: ``(n,)`` what was measured, n at least 2.
        blocks: ``(n, blocks)`` the same on each block, at least 2.
    """
    measured, scores = np.asarray(values, dtype=np.float64), np.asarray(blocks, dtype=np.float64)
    own = _own_variances(scores)
    between = max(0.0, float(measured.var(ddof=1)) - float(own.mean()))
    total = between + own
    weights = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    mean = float(np.average(measured, weights=weights if weights.any() else None))
    # What nothing spreads is as it was measured.
    kept = np.divide(between, total, out=np.ones_like(total), where=own > 0)
    found: Floats = np.where(kept == 1, measured, mean + kept * (measured - mean))
    return [*map(float, found)]


def _own_variances(scores: Floats) -> Floats:
    """``(n,)`` variance of each mean over blocks that the blocks themselves do not explain."""
    number, count = scores.shape
    centred = scores - scores.mean(axis=0)
    residuals = centred - centred.mean(axis=1, keepdims=True)
    # Each column's mean, taken off, has a share 1/n of the residual's own variance.
    spread: Floats = (residuals**2).sum(axis=1) / (count - 1) * number / (number - 1)
    return spread / count
