"""How large a candidate would be, to keep a search within its limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING
from typing import Any

from pydantic import BaseModel

from c2c_search.config.training import GuardConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.shapes import CacheShape
from c2c_search.models.attention_maps import adaptable_shape
from c2c_search.models.geometry import cache_shape
from c2c_search.models.loading import resolve
from c2c_search.space.contexts import injections
from c2c_search.space.declaration import Limits
from c2c_search.space.schema import Space


if TYPE_CHECKING:
    from c2c_search.space.sampling import Fits

_TRAINING_NUMBERS = ("learning_rate", "weight_decay", "warmup", "schedule")
_FUSER_NUMBERS = ("ridge_penalty", "ridge_weighting", "lora_learning_rate_multiplier")
_GATE_NUMBERS = (
    "initial_logit",
    "temperature_start",
    "temperature_end",
    "learning_rate_multiplier",
)

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
    return shape_in(config, adapted=adapted)


def shape_in(config: Mapping[str, Any], *, adapted: bool) -> CacheShape:
    """The same from the content of its config.json."""
    shape = cache_shape(config, hidden=True)  # a fuser of the space may hear it
    if not adapted:
        return shape
    return adaptable_shape(config).model_copy(update={"hidden_size": shape.hidden_size})


def shapes(space: Space) -> ShapeOf:
    """Gives the shape of each of a space's models, as its fusers need it, by its source."""
    receivers = adapted_receivers(space)
    return lambda source: shape_of(source, adapted=source in receivers)


def adapted_receivers(space: Space) -> set[str]:
    """Sources of the models that a LoRA may be trained on."""
    name = "fuser.lora_rank"
    ranks = space.dimensions[name].extremes if name in space.dimensions else ()
    adapts = any((*ranks, space.fixed.get(name)))
    return {pair.receiver for pair in space.pairs.values() if adapts}


def remembering_receivers(space: Space) -> set[str]:
    """Sources of the models that may read a side memory."""
    remembers = any(INJECTIONS[str(one)].projects == "memory" for one in injections(space))
    return {pair.receiver for pair in space.pairs.values() if remembers}


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

    known: dict[str, bool] = {}

    def fits(config: TrialConfig) -> bool:
        key = alike(config).hash()
        if key not in known:
            known[key] = measured(config)
        return known[key]

    def measured(config: TrialConfig) -> bool:
        from c2c_search.fuser.cost import parameters

        pair = (shape_of_model(source) for source in (config.pair.receiver, config.pair.sharer))
        # Parameters are told in no time, memory in a few seconds.
        if not limits.allow(parameters(config.fuser, *pair)):
            return False
        return memory is None or limits.allow_memory(memory(config))

    return fits


def alike(config: TrialConfig) -> TrialConfig:
    """One trial for all that are as large: what only changes numbers is at its default."""
    training, fuser = config.training, config.fuser
    gate = fuser.gate.model_copy(update=_defaults(GateConfig, _GATE_NUMBERS))
    # Whether there is any changes what is kept; how much of it does not.
    own = {name: float(getattr(fuser, name) > 0) / 2 for name in ("dropout",)}
    smoothed = {"label_smoothing": float(training.label_smoothing > 0) / 2}
    guarded = {"guard": None if training.guard is None else GuardConfig()}
    return config.model_copy(
        update={
            "training": training.model_copy(
                update=_defaults(TrainingConfig, _TRAINING_NUMBERS) | smoothed | guarded
            ),
            "fuser": fuser.model_copy(
                update=_defaults(FuserConfig, _FUSER_NUMBERS) | own | {"gate": gate}
            ),
        }
    )


def _defaults(model: type[BaseModel], names: Iterable[str]) -> dict[str, Any]:
    return {name: model.model_fields[name].default for name in names}


def _memory(space: Space) -> Callable[[TrialConfig], int]:
    from c2c_search.study.memory import memory_of_trials

    of_trial = memory_of_trials(space)
    return lambda config: of_trial(config).total
