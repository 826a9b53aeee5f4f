"""Study room: how large a candidate's fuser would be, to keep a search within its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from c2c_search.fuser.config import CacheShape
from c2c_search.pair.geometry import cache_shape
from c2c_search.pair.loading import resolve
from c2c_search.space.sampling import Fits
from c2c_search.space.schema import Space
from c2c_search.trial import TrialConfig


ShapeOf = Callable[[str], CacheShape]


@cache
def shape_of(source: str) -> CacheShape:
    """Shape of a model's KV-cache, from its configuration; fetches the model if it must.

    Raises:
        SourceError: The model cannot be had.
        ConfigError: Its caches are of no shape that can be fused.
    """
    return cache_shape(json.loads((resolve(source).path / "config.json").read_bytes()))


def make_fits(space: Space, shape: ShapeOf = shape_of) -> Fits | None:
    """Whether a candidate keeps to the space's limits; None for a space without limits.

    Args:
        space: The space.
        shape: Gives the shape of a model's KV-cache by its source.
    """
    if space.limits.max_parameters is None and space.limits.max_bytes is None:
        return None

    def fits(config: TrialConfig) -> bool:
        from c2c_search.fuser.cost import parameters

        shapes = shape(config.pair.receiver), shape(config.pair.sharer)
        return space.limits.allow(parameters(config.fuser, *shapes))

    return fits
