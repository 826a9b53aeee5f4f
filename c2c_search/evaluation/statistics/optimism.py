"""How much of what a trial was chosen by is luck, whatever it was chosen among.

Validation's blocks are halved at random, again and again. One half chooses a trial and one of its
rungs, as the search did by all of them; the other half says what that was worth. The difference
is the drop of one who has half as many items. With twice as many, luck is smaller by the root of
two where nothing else tells trials apart, and by more where something does: what is told is
exact in the first case, and a little too much in the second.

Source: split-sample estimates of a selected model's error, as bootstrapped by Tsamardinos,
Greasidou and Borboudakis (Machine Learning 107, 2018).
"""

from __future__ import annotations

import math

import numpy as np

from c2c_search.evaluation.statistics.clusters import Floats
from c2c_search.evaluation.statistics.interval import Interval


FEWEST_BLOCKS = 4
HALVINGS = 400


def expected_drop(scores: Floats, chosen: int, level: float) -> Interval:
    """How much lower a trial's score is expected on as many other items.

    Args:
        scores: ``(trials, rungs, blocks)`` on each block of items, `FEWEST_BLOCKS` at least; not
            a number at rungs that are not known, of which each trial has one.
        chosen: Which trial. Its rank among all is what is chosen again in every half.
        level: The interval is meant to cover the drop with probability ``1 - level``.
    """
    from scipy.stats import t

    whole, _ = _best_rungs(scores.mean(axis=2))
    rank = int((whole > whole[chosen]).sum())
    blocks = scores.shape[2]
    rng = np.random.default_rng(0)
    drops = []
    for _ in range(HALVINGS):
        here, there = np.array_split(rng.permutation(blocks), 2)
        values, rungs = _best_rungs(scores[:, :, here].mean(axis=2))
        found = int(np.argsort(-values, kind="stable")[rank])
        drops.append(values[found] - scores[found, rungs[found], there].mean())
    # Of a difference between halves, and between as many new items and all of these.
    halved, full = 1 / (blocks // 2) + 1 / (blocks - blocks // 2), 2 / blocks
    drop = float(np.mean(drops)) * math.sqrt(full / halved)
    _, rungs = _best_rungs(scores.mean(axis=2))
    spread = scores[np.arange(len(scores)), rungs].var(axis=1, ddof=1)
    # A trial may owe its rank to items on which it was steady.
    variance = max(float(spread[chosen]), float(spread.mean())) * full
    reach = float(t.ppf(1 - level / 2, blocks - 1)) * math.sqrt(variance)
    return Interval(value=drop, low=drop - reach, high=drop + reach, level=level)


def _best_rungs(scores: Floats) -> tuple[Floats, np.ndarray]:
    """``(trials,)`` highest scores over rungs, and their rungs; of equals the last."""
    known = np.where(np.isnan(scores), -np.inf, scores)
    rungs = known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return known[np.arange(len(known)), rungs], rungs
