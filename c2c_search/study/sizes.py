"""How large a candidate would be, to keep a search within its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import CacheShape
from c2c_search.models.attention_maps import adaptable_shape
from c2c_search.models.geometry import cache_shape
from c2c_search.models.loading import resolve
from c2c_search.space.declaration import Limits
from c2c_search.space.sampling import Fits
from c2c_search.space.schema import Space


ShapeOf = Callable[[str], CacheShape]


@cache
def shape_of(source: str, *, adapted: bool = False) -> CacheShape:
    """Shape of a model's KV-cache, from its configuration; fetches the model if it must.

    Args:
        source: Of the model.
        adapted: Whether a LoRA is trained on it, which needs the sizes of its attention's maps.

    Raises:
        SourceError: The model cannot be had.
        ConfigError: Its caches are of no shape that can be fused, or it cannot be adapted.
    """
    config = json.loads((resolve(source).path / "config.json").read_bytes())
    return adaptable_shape(config) if adapted else cache_shape(config)


def shapes(space: Space) -> ShapeOf:
    """Gives the shape of each of a space's models, as its fusers need it, by its source."""
    name = "fuser.lora_rank"
    ranks = space.dimensions[name].extremes if name in space.dimensions else ()
    adapts = any((*ranks, space.fixed.get(name)))
    receivers = {pair.receiver for pair in space.pairs.values() if adapts}
    return lambda source: shape_of(source, adapted=source in receivers)


def make_fits(space: Space, shape: ShapeOf | None = None) -> Fits | None:
    """Whether a candidate keeps to the space's limits; None for a space without limits.

    Args:
        space: The space.
        shape: Gives the shape of a model's KV-cache by its source; `shapes` when left out.
    """
    limits = space.limits
    if limits == Limits():
        return None
    shape_of_model = shape or shapes(space)
    memory = None if limits.max_memory_gb is None else _memory(space)

    def fits(config: TrialConfig) -> bool:
        from c2c_search.fuser.cost import parameters

        pair = (shape_of_model(source) for source in (config.pair.receiver, config.pair.sharer))
        # Parameters are told in no time, memory in a few seconds.
        if not limits.allow(parameters(config.fuser, *pair)):
            return False
        return memory is None or limits.allow_memory(memory(config))

    return fits


def _memory(space: Space) -> Callable[[TrialConfig], int]:
    from c2c_search.study.memory import memory_of_trials

    of_trial = memory_of_trials(space)
    return lambda config: of_trial(config).total
