"""The linear maps of a model's attention: what LoRA adapts, and where a side memory is read."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.fuser.shapes import AttentionMap
from c2c_search.fuser.shapes import ProjectionRole
from c2c_search.models.geometry import cache_shape
from c2c_search.models.geometry import geometry


if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig
    from transformers import PreTrainedModel

    from c2c_search.fuser.shapes import CacheShape


_LONGEST = 300  # characters shown of what transformers says

_ROLES: dict[str, ProjectionRole] = {
    "q_proj": "query",
    "v_proj": "value",
    # Models that compute queries, keys and values at once.
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack"), "qkv"),
    **dict.fromkeys(("o_proj", "out_proj", "dense", "c_proj"), "output"),
}
_COMPLETE: tuple[set[ProjectionRole], ...] = ({"query", "value", "output"}, {"qkv", "output"})


@dataclass(frozen=True)
class Purpose:
    """Why the maps are wanted.

    Args:
        name: What needs them.
        instead: What to do for a model that has none.
    """

    name: str
    instead: str


LORA = Purpose("LoRA", "Set fuser.lora_rank to 0 for this receiver.")
SIDE_MEMORY = Purpose("A side memory", "Choose another fuser.injection than side.")


def attention_maps(
    model: PreTrainedModel, purpose: Purpose = LORA
) -> dict[ProjectionRole, list[nn.Module]]:
    """A model's query, value and output maps (or ``qkv`` and output), by layer.

    Raises:
        ConfigError: They cannot be told by their names, or layers differ in their sizes.
    """
    found: dict[ProjectionRole, list[nn.Module]] = {}
    for role, _, module in _maps(model):
        found.setdefault(role, []).append(module)
    layers = geometry(model).layers
    whole = set(found) in _COMPLETE and all(len(maps) == layers for maps in found.values())
    if not whole or any(len({map_sizes(each) for each in maps}) > 1 for maps in found.values()):
        raise ConfigError(
            f"{purpose.name} needs a receiver whose layers have one query, value and output map "
            "each (or one map for all three and an output map), under a usual name and of one "
            "size.",
            value=f"{model.config.model_type}: "
            f"{({role: len(maps) for role, maps in found.items()}) or 'none'} in {layers} layers",
            hint=purpose.instead,
        )
    return found


def attentions(model: PreTrainedModel) -> list[nn.Module]:
    """The modules that hold the output maps of `attention_maps`, by layer."""
    return [parent for role, parent, _ in _maps(model) if role == "output"]


def projections(maps: Mapping[ProjectionRole, list[nn.Module]]) -> tuple[AttentionMap, ...]:
    """Roles and sizes of `attention_maps`, in the order of the roles' names."""
    return tuple(
        AttentionMap(role=role, inputs=inputs, outputs=outputs)
        for role in sorted(maps)
        for inputs, outputs in (map_sizes(maps[role][0]),)
    )


def adaptable_shape(model: PreTrainedModel | PreTrainedConfig | Mapping[str, Any]) -> CacheShape:
    """The shape of a model's KV-cache, and the sizes of its attention maps.

    Args:
        model: A model, its configuration, or the content of its config.json. Of a configuration,
            the model is built on the meta device.

    Raises:
        ConfigError: As `cache_shape` and `attention_maps` raise it.
    """
    shape = cache_shape(model)
    maps = attention_maps(model if hasattr(model, "base_model") else skeleton_of(model))
    return shape.model_copy(update={"projections": projections(maps)})


def _maps(model: PreTrainedModel) -> Iterator[tuple[ProjectionRole, nn.Module, nn.Module]]:
    """Every map of an attention whose name tells its role, with the module above it."""
    decoder = model.base_model.get_decoder()
    for name, module in decoder.named_modules():
        above, _, last = name.rpartition(".")
        parent = above.rpartition(".")[2]
        weight = getattr(module, "weight", None)
        # Some feed-forward maps have the names of attention maps.
        if last in _ROLES and ("attn" in parent or "attention" in parent) and weight is not None:
            yield _ROLES[last], decoder.get_submodule(above), module


def skeleton_of(config: PreTrainedConfig | Mapping[str, Any]) -> PreTrainedModel:
    """A model on the meta device, from its configuration or the content of its config.json.

    Raises:
        ConfigError: transformers makes no model of it.
    """
    import torch
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM

    try:
        if isinstance(config, Mapping):
            config = AutoConfig.for_model(**config)
        with torch.device("meta"):
            skeleton: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever the library raises of a file of others
        kind = config.get("model_type") if isinstance(config, Mapping) else config.model_type
        raise ConfigError(
            "A model's config.json must be one of which transformers can make a model.",
            value=kind,
            hint=f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}",
        ) from error
    return skeleton


def map_sizes(module: nn.Module) -> tuple[int, int]:
    """Inputs and outputs; GPT-2's maps are stored the other way round than `torch.nn.Linear`."""
    from torch import nn

    rows, columns = module.weight.shape
    return (columns, rows) if isinstance(module, nn.Linear) else (rows, columns)
