"""The shape of a model's prompt cache, read from its configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import PositiveInt

from c2c_search.errors import ConfigError
from c2c_search.errors import in_yaml
from c2c_search.fuser.shapes import CacheShape


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

_NO_CACHE = "transformers keeps no plain key-value cache of it"
_ENCODER = "it is an encoder, which reads in both directions"
_ALIBI = "ALiBi weighs cache entries by their distance in memory, which packing prompts changes"
_BY_SLOT = "it treats cache entries by their place in memory, which packing prompts changes"
_BY_TYPE = {
    "bert-generation": _ENCODER,
    "bloom": _ALIBI,
    "cpmant": "it puts tokens of its own before every prompt",
    "mpt": _ALIBI,
    "openai-gpt": _NO_CACHE,
    "reformer": _NO_CACHE,
    "xlm": _NO_CACHE,
    "xlnet": _NO_CACHE,
}


# A skeleton is built of every layer, so that one of a billion would be waited for without end.
_MOST = {
    "layers": 2**12,
    "kv_heads": 2**16,
    "head_dim": 2**16,
    "hidden_size": 2**24,
    "vocab_size": 2**32,
}


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
    config = text_config(model)
    # A file of others may hold anything in the place of a number, a list or a mapping.
    with _told(config):
        found = _geometry(config)
    for name, number in found.items():
        if not 0 < number <= _MOST[name]:
            raise _refusal(config, f"its configuration states {number:,} as {name}")
    return Geometry(**found)


@contextmanager
def _told(config: Any) -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _refusal(config, f"its configuration cannot be read ({error})") from error


def _geometry(config: Any) -> dict[str, int]:
    _refuse_others(config)
    hidden, heads = _number(config, _HIDDEN), _number(config, _HEADS)
    head_dim = _get(config, "head_dim")
    if head_dim is None:
        if hidden % heads:
            raise _refusal(config, f"hidden size {hidden} does not divide into {heads} heads")
        head_dim = hidden // heads
    kv_heads = _the_only(config, "KV heads", _kv_heads(config, heads), _OTHER_KV_HEADS)
    if kv_heads > 0 and heads % kv_heads:
        raise _refusal(config, f"its {heads} heads do not share {kv_heads} KV heads evenly")
    return {
        "layers": _number(config, _LAYERS),
        "kv_heads": kv_heads,
        "head_dim": _the_only(config, "head sizes", head_dim, _OTHER_HEAD_DIMS),
        "hidden_size": hidden,
        "vocab_size": _number(config, ("vocab_size",)),
    }


def rope_window(model: PreTrainedModel | PreTrainedConfig | Mapping[str, Any]) -> int | None:
    """Positions within which a model's rotary frequencies do not depend on the prompt's length.

    Returns:
        The number of positions; None if the frequencies never change.
    """
    config = text_config(model)
    with _told(config):
        return _rope_window(config)


def _rope_window(config: Any) -> int | None:
    parameters = _get(config, "rope_parameters") or {}
    of_types = [entry for entry in parameters.values() if isinstance(entry, Mapping)]
    windows = []
    for entry in of_types or [parameters]:
        kind = entry.get("rope_type") or ""
        if kind == "longrope":
            windows.append(entry["original_max_position_embeddings"])
        elif "dynamic" in kind:
            windows.append(_number(config, ("max_position_embeddings",)))
    return min(windows, default=None)


def cache_shape(
    model: PreTrainedModel | PreTrainedConfig | Mapping[str, Any], *, hidden: bool = False
) -> CacheShape:
    """The shape of a model's KV-cache, as a fuser is built for it; see `geometry`.

    Args:
        model: As for `geometry`.
        hidden: Whether to tell the size of what its layers put out too.
    """
    found = geometry(model)
    return CacheShape(
        layers=found.layers,
        heads=found.kv_heads,
        head_dim=found.head_dim,
        hidden_size=found.hidden_size if hidden else None,
    )


def text_config(model: Any) -> Any:
    """A model's configuration; of a multimodal model, its text part's."""
    config = model if isinstance(model, Mapping) else getattr(model, "config", model)
    text = _get(config, "text_config")
    return config if text is None else text


def _refuse_others(config: Any) -> None:
    if _get(config, "is_encoder_decoder") or _get(config, "decoder_layers"):
        raise _refusal(config, "it is an encoder-decoder model")
    if any(_get(holder, "kv_lora_rank") is not None for holder in _holders(config)):
        raise _refusal(config, "it compresses keys and values together (MLA, kv_lora_rank)")
    if _get(config, "num_kv_shared_layers"):
        raise _refusal(config, "some of its layers share one cache (num_kv_shared_layers)")
    if _get(config, "recurrent_kv_cache_mode"):
        raise _refusal(config, "its layers run in loops, each with a cache of its own")
    named = [name for name in _STATE_SPACE if _get(config, name) is not None]
    if named or _get(config, "model_type") in _STATE_SPACE_TYPES:
        raise _refusal(config, f"it has state-space layers ({', '.join(named) or 'recurrent'})")
    types = [*(_get(config, "layer_types") or ()), *(_get(config, "layers_block_type") or ())]
    for index, kind in enumerate(types):
        if kind not in _WITH_KEYS_AND_VALUES:
            raise _refusal(
                config, f"layer {index} is {in_yaml(kind)} and keeps no plain keys and values"
            )
    if _get(config, "conv_L_cache") is not None:
        raise _refusal(config, "some of its layers are convolutions (conv_L_cache)")
    _refuse_unpackable(config)


def _refuse_unpackable(config: Any) -> None:
    """Refuse what does not read a pack of prompts as it reads each prompt alone."""
    if reason := _BY_TYPE.get(_get(config, "model_type")):
        raise _refusal(config, reason)
    if _get(config, "alibi"):
        raise _refusal(config, _ALIBI)
    if _get(config, "type_vocab_size") is not None:  # segments of a text: BERT and its kin
        raise _refusal(config, _ENCODER)
    by_slot = {
        "attention_layers": "local" in (_get(config, "attention_layers") or ()),  # GPT-Neo
        "attn_temperature_tuning": _get(config, "attn_temperature_tuning"),  # Llama 4
        "keep_window_size": _get(config, "keep_window_size"),  # Doge
    }
    for name, found in by_slot.items():
        if found:
            raise _refusal(config, f"{_BY_SLOT} ({name})")


def _kv_heads(config: Any, heads: int) -> Any:
    if _get(config, "new_decoder_architecture"):  # Falcon caches each KV head once a head
        return heads
    # Multi-query models state their one KV head in words.
    if _get(config, "multi_query"):
        return 1
    for holder in (config, _get(config, "attn_config")):
        for name in _KV_HEADS if holder is not None else ():
            if (number := _get(holder, name)) is not None:
                return number
    return heads


def _the_only(config: Any, what: str, stated: Any, others: tuple[str, ...]) -> int:
    """The one number that holds in every layer, whatever names the layers state it under."""
    values = [stated, *(_get(holder, name) for holder in _holders(config) for name in others)]
    found: set[int] = set()
    for value in values:
        found |= {*value} if isinstance(value, list | tuple) else {value} - {None}
    if len(found) != 1:
        raise _refusal(config, f"it has layers of different {what}: {sorted(found)}")
    return int(found.pop())


def _holders(config: Any) -> list[Any]:
    """A configuration and, where layers differ, what it says of each."""
    per_layer = _get(config, "per_layer_config") or ()
    return [config, *(per_layer.values() if isinstance(per_layer, Mapping) else per_layer)]


def _get(config: Any, name: str) -> Any:
    if isinstance(config, Mapping):
        return config.get(name)
    try:
        return getattr(config, name, None)
    except NotImplementedError:  # attributes that some configurations only stand in for
        return None
    except RuntimeError:  # layers differ in it: the first speaks, `_the_only` asks the others
        return getattr(config.per_layer_config[0], name, None)


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
