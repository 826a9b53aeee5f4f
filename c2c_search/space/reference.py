"""The setting that stands for a pair, by which its trials are measured."""

from __future__ import annotations

from random import Random

from c2c_search.space.dimensions import Dimension
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import walk
from c2c_search.space.schema import Space


PAIR = "pair"


def reference(space: Space, pair: str) -> Params:
    """A pair's first enqueued setting, the rest by chance (of the space's seed); or all by chance.

    Args:
        space: The space.
        pair: Name of the pair.
    """
    known = next((each for each in space.enqueue if each.get(PAIR) == pair), {})
    rng = Random(f"{space.search.seed}/{pair}")

    def pick(name: str, dimension: Dimension) -> Value:
        if name == PAIR:
            return pair
        drawn = dimension.draw(rng)
        return known.get(name, drawn)

    return walk(space.dimensions, pick)
