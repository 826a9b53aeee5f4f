"""What the trials of a search are expected to take, and which budget that spends first."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import islice
from math import ceil
from operator import mul
from typing import TYPE_CHECKING
from typing import NamedTuple

from c2c_search.space.candidates import enqueued_trials
from c2c_search.space.candidates import random_trials


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.space.declaration import Search
    from c2c_search.space.schema import Space


_SAMPLE = 50  # candidates of whose tokens and operations the mean is taken


class TrialWork(NamedTuple):
    """What a trial takes, as its training will count it.

    Args:
        tokens: Learned from in an optimizer step.
        flops: Operations of a step.
        judged: Operations of a rung.
    """

    tokens: float
    flops: float
    judged: float


def expected_work(
    space: Space,
    reached: Sequence[float],
    work: Callable[[TrialConfig], TrialWork] | None,
) -> dict[str, float]:
    """Steps, tokens and operations of all trials, by name.

    Args:
        space: The space.
        reached: How many trials reach each rung.
        work: What a trial takes; without it nothing but steps is told.
    """
    starts = (0, *space.pipeline.training.rung_steps)
    steps = sum(
        (step - start) * trials
        for start, step, trials in zip(starts, starts[1:], reached, strict=False)
    )
    if work is None:
        return {"steps": steps}
    trials = space.search.trials
    known = [work(each) for each in islice(enqueued_trials(space), trials)]
    weights = [1.0] * len(known)
    if others := trials - len(known):
        drawn = [work(each) for each in random_trials(space, _SAMPLE)]
        known += drawn
        weights += [others / len(drawn)] * len(drawn)
    tokens, flops, judged = (
        sum(map(mul, weights, each)) / trials for each in zip(*known, strict=True)
    )
    return {
        "steps": steps,
        "tokens": steps * tokens,
        "flops": steps * flops + sum(reached) * judged,
    }


def allowed(search: Search, taken: Mapping[str, float]) -> tuple[str, int]:
    """The budget that is spent before the trials are, and after how many; none: nothing."""
    found = {
        name: ceil(limit * search.trials / taken[name])
        for name in ("steps", "tokens", "flops")
        if (limit := getattr(search, name)) is not None and taken.get(name)
    }
    first = min(found, key=lambda name: found[name], default="")
    return (first, found[first]) if first and found[first] < search.trials else ("", 0)
