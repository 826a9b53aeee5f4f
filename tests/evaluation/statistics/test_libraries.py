"""Our own intervals and tests beside those of libraries, where both are defined."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from arch.bootstrap import IIDBootstrap
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from c2c_search.evaluation.statistics import mcnemar_exact
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import permutation_test
from c2c_search.evaluation.statistics import share_interval
from c2c_search.evaluation.statistics import sign_test
from tests.evaluation.answers import chosen
from tests.evaluation.answers import graded


Floats = npt.NDArray[np.float64]


def _mean(sums: Floats, sizes: Floats) -> Floats:
    return np.array([sums.sum() / sizes.sum()])


def _robust_error(pseudo: float) -> Callable[[Floats, Floats, Floats], Floats]:
    """Standard error of a mean over clusters (Cameron, Gelbach and Miller 2008), as published.

    With what is added so that a resample without any spread has an error too.
    """

    def error(mean: Floats, sums: Floats, sizes: Floats) -> Floats:
        count = len(sums)
        spread = ((sums - mean * sizes) ** 2).sum() + pseudo
        return np.array([math.sqrt(count / (count - 1) * spread) / sizes.sum()])

    return error


@pytest.mark.parametrize("size", [1, 4])
def test_cluster_bootstrap_t_is_archs_studentised_bootstrap(size: int) -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(0.1, 0.2, 40), size) + rng.normal(0, 0.1, 40 * size)
    # Uneven: the last clusters lose some of their items.
    clusters = np.repeat(np.arange(40), size)
    kept = (clusters < 30) | (np.arange(40 * size) % size == 0)
    values, clusters = np.clip(values[kept], -0.5, 0.5), clusters[kept]
    ours = paired_bootstrap(
        graded(0.5 + values / 2, list(clusters)), graded(0.5 - values / 2, list(clusters))
    )
    sums, sizes = np.bincount(clusters, weights=values), np.bincount(clusters).astype(float)
    error = _robust_error(float(np.mean(values**2)))
    (low,), (high,) = IIDBootstrap(sums, sizes, seed=0).conf_int(
        _mean, reps=10_000, method="studentized", size=0.95, std_err_func=error
    )
    # Four standard errors of a 2.5 % quantile of 10 000 resamples, and of another 10 000.
    noise = 0.15 * float(error(_mean(sums, sizes), sums, sizes)[0])
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=noise)


def test_many_clusters_have_scipys_basic_bootstrap() -> None:
    """Studentising matters less and less with more items, and BCa, basic and t then agree."""
    rng = np.random.default_rng(1)
    values = rng.uniform(-0.6, 1, 1000)
    ours = paired_bootstrap(graded(0.5 + values / 2), graded(0.5 - values / 2))
    error = values.std() / math.sqrt(len(values))
    for method in ("basic", "BCa", "percentile"):
        found = stats.bootstrap((values,), np.mean, method=method, n_resamples=5000, rng=rng)
        around = found.confidence_interval
        assert (ours.low, ours.high) == pytest.approx((around.low, around.high), abs=0.15 * error)


def test_sign_flips_are_scipys_permutation_test() -> None:
    rng = np.random.default_rng(2)
    mine, theirs = rng.random((2, 10))
    found = stats.permutation_test(
        (mine - theirs,), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert permutation_test(graded(mine), graded(theirs)) == pytest.approx(found.pvalue)


@pytest.mark.parametrize(("wins", "losses"), [(5, 1), (211, 0), (237, 4), (600, 400), (1000, 39)])
def test_small_p_values_are_those_of_whole_numbers(wins: int, losses: int) -> None:
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    assert sign_test(wins, losses) == pytest.approx(float(Fraction(2 * tail, 2**n)), rel=1e-12)
    assert sign_test(wins, losses) == sign_test(losses, wins)


@pytest.mark.parametrize(("right", "items"), [(0, 10), (3, 10), (81, 263), (10, 10)])
def test_share_of_independent_items_has_wilsons_interval(right: int, items: int) -> None:
    found = share_interval([i < right for i in range(items)], [str(i) for i in range(items)])
    # The variance between clusters divides by n - 1: n items are worth n - 1, but where all or
    # none are right.
    worth = items - 1 if 0 < right < items else items
    low, high = _wilson(right / items, worth)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def _wilson(share: float, items: int) -> tuple[float, float]:
    """The roots of ``(share - x)**2 = z**2 x (1 - x) / items`` (Wilson 1927)."""
    z = stats.norm.isf(0.025)
    high, low = np.roots([1 + z**2 / items, -2 * share - z**2 / items, share**2])
    return min(low, high), max(low, high)


def test_a_p_value_is_that_of_mcnemars_table() -> None:
    a = chosen([True] * 30 + [False] * 12 + [True] * 50 + [False] * 8)
    b = chosen([False] * 30 + [True] * 12 + [True] * 50 + [False] * 8)
    table = [[50, 30], [12, 8]]
    assert mcnemar_exact(a, b) == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-12)


def test_the_libraries_are_imported_when_they_are_needed() -> None:
    code = (
        "import sys, c2c_search.evaluation.statistics;"
        "print({'scipy.stats', 'statsmodels', 'pandas'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
