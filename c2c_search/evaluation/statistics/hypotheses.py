"""Tests: how likely a difference is between systems that are equally good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics.clusters import Floats
from c2c_search.evaluation.statistics.clusters import by_cluster
from c2c_search.evaluation.statistics.clusters import differences
from c2c_search.evaluation.statistics.clusters import names


# Sign flips drawn at once, times clusters: 16 MB as numbers.
_CELLS_AT_ONCE = 2_000_000
# Sums that differ by less, relative to all that is summed, are equal.
_ROUNDING = 1e-9


class PairedTest(BaseModel):
    """A test of two systems on the same items.

    Args:
        name: Of the test.
        p: Its two-sided p-value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["mcnemar", "permutation"]
    p: float

    def one_sided(self, difference: float) -> float:
        """P-value of "it is not above 0", of the difference that was found."""
        return self.p / 2 if difference > 0 else 1.0


def paired_test(
    a: SystemResult, b: SystemResult, *, resamples: int = 10_000, seed: int = 0
) -> PairedTest:
    """Test whether ``a`` and ``b`` are equally accurate, by the exact test where it holds.

    That is McNemar's where answers are right or wrong and every item is a cluster of its own, and
    the permutation test otherwise, which becomes McNemar's under those conditions.

    Args:
        a: One system's answers.
        b: Another's, to the same items in the same order.
        resamples: Of the permutation test.
        seed: Of the permutation test.

    Raises:
        DataError: The items are not the same, or there are none.
    """
    clusters = names(a)
    if a.graded or b.graded or len(set(clusters)) < len(clusters):
        return PairedTest(
            name="permutation", p=permutation_test(a, b, resamples=resamples, seed=seed)
        )
    return PairedTest(name="mcnemar", p=mcnemar_exact(a, b))


def mcnemar_exact(a: SystemResult, b: SystemResult) -> float:
    """Two-sided p-value of "``a`` and ``b`` are equally accurate", given the same items.

    Counts items, not clusters: read it beside `paired_bootstrap`.

    Source: McNemar 1947 (Psychometrika 12, 153-157), in its exact binomial form.

    Raises:
        DataError: The items are not the same, there are none, or credit comes in degrees.
    """
    for result in (a, b):
        if result.graded:
            raise DataError(
                "McNemar's test compares answers that are right or wrong, not graded ones.",
                value=f"{result.system} on {result.split}",
                hint="Use paired_test, which takes a permutation test there.",
            )
    return paired_sign_test(a, b)


def paired_sign_test(a: SystemResult, b: SystemResult) -> float:
    """Two-sided exact p-value of "either is as often the better one", given the same items.

    It is McNemar's test where answers are right or wrong, and holds where some are worth a part,
    as of options that tie. Counts items, not clusters: read it beside `paired_bootstrap`.

    Source: Dixon and Mood 1946 (J. American Statistical Association 41, 557-566).

    Raises:
        DataError: The items are not the same, or there are none.
    """
    apart = differences(a, b)
    return sign_test(int((apart > 0).sum()), int((apart < 0).sum()))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact binomial p-value of ``wins`` against ``losses`` at even odds, in (0, 1].

    Below 1e-299 it may be given as 0.
    """
    from scipy.stats import binomtest  # late: it takes most of a second

    if not wins + losses:
        return 1.0
    # The smaller first, so that both orders are equal to the last digit.
    return float(binomtest(min(wins, losses), wins + losses).pvalue)


def permutation_test(
    a: SystemResult, b: SystemResult, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p-value of "it does not matter which system is called ``a``", in (0, 1].

    Under that hypothesis a whole cluster's difference in credit is as likely to have the other
    sign. The p-value is the share of sign flips whose total lies as far from 0 as the observed
    one: of all flips where they are no more than ``resamples``, otherwise of random ones with the
    observed one among them (Phipson and Smyth 2010, Statistical Applications in Genetics and
    Molecular Biology 9, 39), so that it is never 0 and never too small.

    Source: Fisher 1935, The Design of Experiments, section 21.

    Args:
        a: One system's answers.
        b: Another's, to the same items in the same order.
        resamples: Random flips.
        seed: Of the random flips; the same seed gives the same p-value.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: There are no resamples.
    """
    if resamples < 1:
        raise ConfigError("A permutation test needs at least one resample.", value=resamples)
    sums, _ = by_cluster(names(a), differences(a, b))
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    far = abs(float(sums.sum())) - _ROUNDING * float(np.abs(sums).sum())
    if 2 ** len(sums) <= resamples:
        bits = np.arange(len(sums))
        flipped = np.arange(2 ** len(sums))[:, None] >> bits & 1
        return _as_far(sums, flipped, far) / len(flipped)
    rng = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(sums))
    found = 1
    for start in range(0, resamples, at_once):
        shape = min(at_once, resamples - start), len(sums)
        found += _as_far(sums, rng.integers(0, 2, size=shape, dtype=np.int8), far)
    return found / (resamples + 1)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: rejecting those below a level makes any false rejection that unlikely.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is smaller than the
    one before it, nor larger than 1.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure (Scandinavian J.
    Statistics 6, 65-70).

    Args:
        p: P-values by the name of the comparison.

    Returns:
        The adjusted ones, in the same order.

    Raises:
        ConfigError: One is not a probability.
    """
    for name, value in p.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"The p-value of {name} must be a probability.", value=value)
    # Late: statsmodels imports pandas.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests(list(p.values()), method="holm")[1]
    return dict(zip(p, adjusted.tolist(), strict=True))


def _as_far(sums: Floats, flipped: np.ndarray, far: float) -> int:
    """How many rows of flips (1 where a cluster's sign is turned) give a total that far off."""
    totals = sums.sum() - 2 * (flipped @ sums)
    return int((np.abs(totals) >= far).sum())
