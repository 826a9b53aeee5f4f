"""Geometry from configurations, checked against the caches that real (tiny) models make."""

from __future__ import annotations

from typing import Any

import pytest

from c2c_search.errors import ConfigError
from c2c_search.pair.geometry import Geometry
from c2c_search.pair.geometry import geometry


_PLAIN: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "vocab_size": 8,
}

_TINY = {
    "grouped": (
        "llama",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "intermediate_size": 8,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
    "own head size, two kinds of attention": (
        "gemma3_text",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "intermediate_size": 8,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 12,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "other names": ("gpt2", {"n_layer": 2, "n_embd": 16, "n_head": 4, "n_positions": 16}),
    "multi-query in words": (
        "falcon",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "num_attention_heads": 4,
            "multi_query": True,
            "new_decoder_architecture": False,
        },
    ),
}


@pytest.mark.parametrize("name", _TINY)
def test_it_is_the_shape_of_the_real_cache(name: str) -> None:
    import torch
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM

    kind, settings = _TINY[name]
    config = AutoConfig.for_model(kind, vocab_size=8, pad_token_id=0, **settings)
    model = AutoModelForCausalLM.from_config(config)
    cache = model(torch.tensor([[1, 2, 3]]), use_cache=True).past_key_values
    found = geometry(model)
    assert found.layers == len(cache.layers)
    for layer in cache.layers:
        assert layer.keys.shape == layer.values.shape == (1, found.kv_heads, 3, found.head_dim)
    assert (found.hidden_size, found.vocab_size) == (16, 8)
    assert geometry(config) == found
    assert geometry(config.to_dict()) == found


def test_the_text_part_of_a_multimodal_model() -> None:
    config = {"model_type": "gemma3", "text_config": {**_PLAIN, "num_key_value_heads": 2}}
    assert geometry(config) == Geometry(
        layers=2, kv_heads=2, head_dim=4, hidden_size=16, vocab_size=8
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_encoder_decoder": True}, "encoder-decoder"),
        ({"kv_lora_rank": 512}, "MLA"),
        ({"model_type": "mamba", "state_size": 16}, "state-space layers"),
        ({"model_type": "rwkv"}, "state-space layers"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer 1 is 'linear_attention'"),
        ({"layers_block_type": ["mamba", "attention"]}, "layer 0 is 'mamba'"),
        ({"num_kv_shared_layers": 1}, "share one cache"),
        ({"num_key_value_heads": [1, 2]}, r"different KV heads: \[1, 2\]"),
        ({"per_layer_config": {"1": {"head_dim": 8}}}, r"different head sizes: \[4, 8\]"),
        ({"v_head_dim": 8}, r"different head sizes: \[4, 8\]"),
        ({"hidden_size": 18}, "18 does not divide into 4 heads"),
        ({"num_hidden_layers": None}, "states no num_hidden_layers"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        geometry({**_PLAIN, **changes})
    assert repr(changes.get("model_type", "llama")) in str(caught.value)


@pytest.mark.parametrize("kind", ["jamba", "deepseek_v3", "gemma3n_text", "mamba2", "t5"])
def test_transformers_own_configurations_are_refused(kind: str) -> None:
    from transformers import AutoConfig

    with pytest.raises(ConfigError, match="It does not fit"):
        geometry(AutoConfig.for_model(kind))
