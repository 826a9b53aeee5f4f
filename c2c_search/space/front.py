"""The Pareto front of a study's trials: none of the others is as good by every objective."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

from c2c_search.space.objectives import SCORES
from c2c_search.space.objectives import Measure
from c2c_search.space.objectives import sign
from c2c_search.space.objectives import violations
from c2c_search.space.pareto import front
from c2c_search.space.pareto import hypervolume


_BEYOND = 0.1


@dataclass(frozen=True)
class Front:
    """A Pareto front.

    Args:
        objectives: What trials are compared by.
        trials: Names of those on it, the best by the first objective first.
        hypervolume: How much of the box between the reference and the best of each objective
            they dominate, in [0, 1].
        reference: By objective, its bound, or else a tenth of the range beyond the worst trial.
        beyond: Names of trials beyond bounds, which are on no front.
    """

    objectives: Sequence[Measure]
    trials: Sequence[str]
    hypervolume: float
    reference: Mapping[str, float]
    beyond: Sequence[str] = ()

    def __str__(self) -> str:
        if not self.trials:
            return "No trial is on the Pareto front: none ran to its end within the bounds."
        of = ", ".join(f"{'most' if one in SCORES else 'least'} {one}" for one in self.objectives)
        box = ", ".join(f"{name} {value:.4g}" for name, value in self.reference.items())
        lost = f" Beyond bounds: {', '.join(self.beyond)}." if self.beyond else ""
        return (
            f"Pareto front ({of}): {', '.join(self.trials)}. Its hypervolume is "
            f"{self.hypervolume:.3f} of the box from {box} to the best of each.{lost}"
        )


def beyond(bounds: Mapping[Measure, float], known: Mapping[str, float]) -> tuple[str, ...]:
    """The bounds that a trial of these measures, at its end, does not keep to."""
    return tuple(name for name, value in violations(bounds, known).items() if value > 0)


def pareto_front(
    objectives: Sequence[Measure],
    bounds: Mapping[Measure, float],
    trials: Mapping[str, Mapping[str, float]],
) -> Front:
    """The front of trials that ran to their end.

    Args:
        objectives: What they are compared by.
        bounds: What a trial must keep to.
        trials: Measures of each, by its name; those that lack an objective are left out.
    """
    told = {name: known for name, known in trials.items() if all(o in known for o in objectives)}
    kept = {name: known for name, known in told.items() if not beyond(bounds, known)}
    points = {
        name: tuple(sign(one) * known[one] for one in objectives) for name, known in kept.items()
    }
    names = list(points)
    on_front = [names[index] for index in reversed(front(list(points.values())))]
    reference: dict[str, float] = {
        one: bounds[one] if one in bounds else _worst(one, told.values()) for one in objectives
    }
    volume = _share([points[name] for name in on_front], objectives, reference)
    lost = tuple(name for name in told if name not in kept)
    return Front(tuple(objectives), tuple(on_front), volume, reference, lost)


def _worst(objective: Measure, trials: Iterable[Mapping[str, float]]) -> float:
    """A tenth of the range beyond the worst, so that each end of a front has its part."""
    values = [sign(objective) * known[objective] for known in trials]
    if not values:
        return 0.0
    return sign(objective) * (min(values) - _BEYOND * (max(values) - min(values)))


def _share(
    points: Sequence[tuple[float, ...]],
    objectives: Sequence[Measure],
    reference: Mapping[str, float],
) -> float:
    """The hypervolume, each objective from 0 at the reference to 1 at the best."""
    if not points:
        return 0.0
    origin = [sign(one) * reference[one] for one in objectives]
    best = [max(values) for values in zip(*points, strict=True)]
    sides = [high - low for high, low in zip(best, origin, strict=True)]
    # Where all are alike, the objective tells none apart, and none is worse than the best.
    return hypervolume(
        [
            tuple(
                (value - low) / side if side > 0 else 1.0
                for value, low, side in zip(point, origin, sides, strict=True)
            )
            for point in points
        ]
    )
