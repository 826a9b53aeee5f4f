"""Pair room: the shape of a model's prompt cache, read from its configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import PositiveInt

from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers import PreTrainedModel

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "kv_n_heads")

# Under which further names layers state other sizes than the rest, or values other than keys.
_OTHER_KV_HEADS = ("num_key_value_heads", "num_global_key_value_heads", "swa_num_key_value_heads")
_OTHER_HEAD_DIMS = ("head_dim", "v_head_dim", "global_head_dim", "swa_head_dim")

_WITH_KEYS_AND_VALUES = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
# Configurations that name their layers otherwise, or not at all.
_STATE_SPACE = ("state_size", "ssm_state_size", "ssm_cfg", "mamba_d_state", "mamba_d_ssm")
_STATE_SPACE_TYPES = {"rwkv", "xlstm", "recurrent_gemma", "retnet"}


class Geometry(BaseModel):
    """What a fuser must know of a model.

    A prompt cache is, for each of ``layers``, keys and values of shape
    ``(batch, kv_heads, tokens, head_dim)``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    hidden_size: PositiveInt
    vocab_size: PositiveInt


def geometry(model: PreTrainedModel | PreTrainedConfig | Mapping[str, Any]) -> Geometry:
    """Read a model's geometry; of a multimodal model, its text part's.

    Args:
        model: A model, its configuration, or the content of its config.json.

    Raises:
        ConfigError: The model keeps something else than keys and values of one size per token
            and layer: state-space layers, compressed (MLA) or shared caches, encoder-decoder.
    """
    config = _text_config(model)
    _refuse_others(config)
    hidden, heads = _number(config, _HIDDEN), _number(config, _HEADS)
    head_dim = _get(config, "head_dim")
    if head_dim is None:
        if hidden % heads:
            raise _refusal(config, f"hidden size {hidden} does not divide into {heads} heads")
        head_dim = hidden // heads
    return Geometry(
        layers=_number(config, _LAYERS),
        kv_heads=_the_only(config, "KV heads", _kv_heads(config, heads), _OTHER_KV_HEADS),
        head_dim=_the_only(config, "head sizes", head_dim, _OTHER_HEAD_DIMS),
        hidden_size=hidden,
        vocab_size=_number(config, ("vocab_size",)),
    )


def _text_config(model: Any) -> Any:
    config = model if isinstance(model, Mapping) else getattr(model, "config", model)
    text = _get(config, "text_config")
    return config if text is None else text


def _refuse_others(config: Any) -> None:
    if _get(config, "is_encoder_decoder"):
        raise _refusal(config, "it is an encoder-decoder model")
    if _get(config, "kv_lora_rank") is not None:
        raise _refusal(config, "it compresses keys and values together (MLA, kv_lora_rank)")
    if _get(config, "num_kv_shared_layers"):
        raise _refusal(config, "some of its layers share one cache (num_kv_shared_layers)")
    named = [name for name in _STATE_SPACE if _get(config, name) is not None]
    if named or _get(config, "model_type") in _STATE_SPACE_TYPES:
        raise _refusal(config, f"it has state-space layers ({', '.join(named) or 'recurrent'})")
    types = [*(_get(config, "layer_types") or ()), *(_get(config, "layers_block_type") or ())]
    for index, kind in enumerate(types):
        if kind not in _WITH_KEYS_AND_VALUES:
            raise _refusal(config, f"layer {index} is {kind!r} and has no keys and values")


def _kv_heads(config: Any, heads: int) -> Any:
    # Multi-query models state their one KV head in words; Falcon's newer ones no longer mean it.
    if _get(config, "multi_query") and not _get(config, "new_decoder_architecture"):
        return 1
    for holder in (config, _get(config, "attn_config")):
        for name in _KV_HEADS if holder is not None else ():
            if (number := _get(holder, name)) is not None:
                return number
    return heads


def _the_only(config: Any, what: str, stated: Any, others: tuple[str, ...]) -> int:
    """The one number that holds in every layer, whatever names the layers state it under."""
    per_layer = _get(config, "per_layer_config") or ()
    holders = [config, *(per_layer.values() if isinstance(per_layer, Mapping) else per_layer)]
    values = [stated, *(_get(holder, name) for holder in holders for name in others)]
    found: set[int] = set()
    for value in values:
        found |= {*value} if isinstance(value, list | tuple) else {value} - {None}
    if len(found) != 1:
        raise _refusal(config, f"it has layers of different {what}: {sorted(found)}")
    return int(found.pop())


def _get(config: Any, name: str) -> Any:
    if isinstance(config, Mapping):
        return config.get(name)
    try:
        return getattr(config, name, None)
    except NotImplementedError:  # attributes that some configurations only stand in for
        return None


def _number(config: Any, names: tuple[str, ...]) -> int:
    for name in names:
        if isinstance(number := _get(config, name), int):
            return number
    raise _refusal(config, f"its configuration states no {names[0]}")


def _refusal(config: Any, reason: str) -> ConfigError:
    return ConfigError(
        "A model of a pair must be a decoder that keeps, for every token and layer, keys and"
        " values of one size.",
        value=_get(config, "model_type"),
        hint=f"It does not fit: {reason}. Choose a model with plain, grouped or multi-query"
        " attention.",
    )
