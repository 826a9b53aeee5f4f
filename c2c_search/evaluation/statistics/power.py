"""Power: which differences a split is large enough to find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from c2c_search.errors import ConfigError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics.clusters import Floats
from c2c_search.evaluation.statistics.clusters import by_cluster
from c2c_search.evaluation.statistics.clusters import differences
from c2c_search.evaluation.statistics.clusters import names
from c2c_search.evaluation.statistics.interval import check_level


POWER = 0.8
"""The customary probability with which a difference is to be found."""

FAVOURABLE_DISCORDANCE = 0.2
"""Systems that work rarely disagree on fewer items; the fewer, the fewer items a proof takes."""


def minimum_detectable_difference(
    n: int, discordant_rate: float, *, level: float = 0.05, power: float = POWER
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
    _check(discordant_rate, level, power)
    if n < 1:
        raise ConfigError("A test needs at least one item.", value=n)
    difference = _connor(n, discordant_rate, level, power)
    return difference if difference <= discordant_rate else math.inf


def detectable(
    a: SystemResult, b: SystemResult, *, level: float = 0.05, power: float = POWER
) -> float | None:
    """Smallest difference in accuracy that the test of these two systems would find.

    Connor's formula as in `minimum_detectable_difference`, from what was found: the discordance
    is the mean square of the items' differences in credit (where answers are right or wrong, the
    share of items on which the two disagree), and the items count as many as they are worth, given
    how differences of one cluster agree, at most as many as they are.

    Args:
        a: One system's answers.
        b: Another's, to the same items in the same order.
        level: Of the test.
        power: Probability with which the difference is to be found.

    Returns:
        The difference, in (0, 1]; None when no difference would be found, or the two never
        disagree, so that nothing is known of how they would.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: A number is outside its range.
    """
    _check(0.0, level, power)
    values = differences(a, b)
    rate = float((values**2).mean())
    worth = len(values) / design_effect(values, names(a))
    difference = _connor(worth, rate, level, power)
    largest = 1.0 if a.graded or b.graded else rate
    return difference if difference <= largest else None


def items_to_find(
    a: SystemResult,
    b: SystemResult,
    difference: float,
    *,
    level: float = 0.05,
    power: float = POWER,
) -> int | None:
    """How many items, clustered as these are, would find a difference between these systems.

    `items_needed` at the discordance that was found, times what it takes because items of a
    cluster agree. It is `detectable`, asked the other way round.

    Args:
        a: One system's answers.
        b: Another's, to the same items in the same order.
        difference: In accuracy.
        level: Of the test.
        power: Probability with which the difference is to be found.

    Returns:
        The number; None where the two disagree on less than the difference, so that it cannot
        be theirs.

    Raises:
        DataError: The items are not the same, or there are none.
        ConfigError: A number is outside its range.
    """
    values = differences(a, b)
    rate = float((values**2).mean())
    if not 0 < difference <= rate:
        return None
    needed = items_needed(difference, rate, level=level, power=power)
    return math.ceil(needed * design_effect(values, names(a)))


def design_effect(values: Floats, clusters: Sequence[str]) -> float:
    """How many times the variance of the mean is what it would be if items were independent.

    Source: Kish 1965, Survey Sampling, with deviations around 0.

    Args:
        values: ``(items,)`` differences in credit.
        clusters: The cluster of each.

    Returns:
        1 at least, also where differences cancel within clusters; 1 where nothing differs.
    """
    sums, _ = by_cluster(clusters, values)
    squares = float((values**2).sum())
    return max(1.0, float((sums**2).sum()) / squares) if squares else 1.0


def items_needed(
    difference: float, discordant_rate: float, *, level: float = 0.05, power: float = POWER
) -> int:
    """How many independent items a two-sided McNemar test needs to find a difference.

    Source: Connor 1987, as in `minimum_detectable_difference`, whose inverse this is.

    Args:
        difference: In accuracy, in (0, ``discordant_rate``].
        discordant_rate: Share of items that exactly one of the two systems answers rightly.
        level: Of the test.
        power: Probability with which the difference is to be found.

    Raises:
        ConfigError: A number is outside its range.
    """
    _check(discordant_rate, level, power)
    if not 0 < difference <= discordant_rate:
        raise ConfigError(
            "Two systems can differ by more than 0 and by no more than they disagree.",
            value=difference,
            hint=f"The discordant rate is {discordant_rate:g}.",
        )
    alpha, beta = NormalDist().inv_cdf(1 - level / 2), NormalDist().inv_cdf(power)
    spread = alpha * math.sqrt(discordant_rate)
    spread += beta * math.sqrt(discordant_rate - difference**2)
    return math.ceil((spread / difference) ** 2)


def split_warning(items: int, clusters: int, *, level: float, wished: float) -> str | None:
    """Say so when a split is too small to find a difference that somebody hopes for.

    Before anything is measured, a cluster counts as one independent item, and the two systems are
    supposed to disagree on `FAVOURABLE_DISCORDANCE` of them, or on ``wished`` if that is more.
    Systems that disagree more often need more items; `detectable` says afterwards what the split
    was worth.

    Args:
        items: Of the split.
        clusters: Facts that the items are about.
        level: Of the test.
        wished: Difference in accuracy that the split should be able to prove, in (0, 1].

    Returns:
        A few sentences; None where the split is large enough.

    Raises:
        ConfigError: A number is outside its range.
    """
    rate = max(wished, FAVOURABLE_DISCORDANCE)
    needed = items_needed(wished, rate, level=level, power=POWER)
    if clusters >= needed:
        return None
    size = f"{items} items" if items == clusters else f"{items} items about {clusters} facts"
    finds = minimum_detectable_difference(clusters, rate, level=level) if clusters else math.inf
    found = f" It finds {100 * finds:.1f} points." if finds <= 1 else ""
    return (
        f"The split is too small: with {size}, a difference of {100 * wished:.3g} points is not "
        f"found at level {level:g} with probability {POWER:g}, even if the systems disagree on "
        f"only {100 * rate:.3g} % of them.{found} It takes {needed} independent items."
    )


def _connor(n: float, discordance: float, level: float, power: float) -> float:
    """Connor's formula, solved for the difference; infinity when there is no solution."""
    alpha = NormalDist().inv_cdf(1 - level / 2)
    beta = NormalDist().inv_cdf(power)
    # Connor's condition, sqrt(n) d = alpha sqrt(rate) + beta sqrt(rate - d^2), is quadratic in d.
    if n < alpha**2 or discordance == 0:
        return math.inf
    spread = alpha * math.sqrt(n) + beta * math.sqrt(n + beta**2 - alpha**2)
    return math.sqrt(discordance) * spread / (n + beta**2)


def _check(discordant_rate: float, level: float, power: float) -> None:
    check_level(level)
    for name, number in (("discordant_rate", discordant_rate), ("power", power)):
        if not 0 <= number <= 1 or (name == "power" and number in (0, 1)):
            raise ConfigError(f"{name} must be a probability.", value=number)
