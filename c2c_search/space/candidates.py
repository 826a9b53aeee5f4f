"""Trials that a study may try: those that it tries first, and others by chance."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from random import Random

from c2c_search.config.trial import TrialConfig
from c2c_search.models.pair import PairSpec
from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import walk
from c2c_search.space.schema import Space


_MOST_DRAWN = 1000  # to find one of a pair


def random_trials(space: Space, number: int) -> Iterator[TrialConfig]:
    """Points of the space by chance, the same in every process; limits are not looked at."""
    rng = Random(space.search.seed)
    for _ in range(number):
        yield space.configuration(walk(space.dimensions, lambda _, each: each.draw(rng)))


def enqueued_trials(space: Space) -> Iterator[TrialConfig]:
    """The settings that are tried first; dimensions that one leaves out are drawn by chance."""
    rng = Random(space.search.seed)
    for params in space.enqueue:

        def pick(name: str, dimension: Dimension, params: Params = params) -> Value:
            drawn = dimension.draw(rng)
            return params.get(name, drawn)

        yield space.configuration(walk(space.dimensions, pick))


def first_trial(space: Space, pair: PairSpec) -> TrialConfig:
    """The first enqueued setting of a pair, or a candidate by chance."""
    drawn = random_trials(space, _MOST_DRAWN)
    return next(one for one in chain(enqueued_trials(space), drawn) if one.pair == pair)
