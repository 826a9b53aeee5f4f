"""Geometry from configurations, checked against the caches that real (tiny) models make."""

from __future__ import annotations

from typing import Any

import pytest

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import Geometry
from c2c_search.models.geometry import geometry
from c2c_search.models.geometry import rope_window


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
    "grouped, but cached for every head": (
        "falcon",
        {
            "num_hidden_layers": 2,
            "hidden_size": 16,
            "num_attention_heads": 4,
            "num_kv_heads": 2,
            "new_decoder_architecture": True,
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
        ({"decoder_layers": 2}, "encoder-decoder"),
        ({"recurrent_kv_cache_mode": "per_loop"}, "run in loops"),
        ({"alibi": True}, "ALiBi"),
        ({"model_type": "bloom"}, "ALiBi"),
        ({"type_vocab_size": 2}, "an encoder, which reads in both directions"),
        ({"model_type": "xlnet"}, "no plain key-value cache"),
        ({"attention_layers": ["global", "local"]}, r"place in memory.*attention_layers"),
        ({"attn_temperature_tuning": True}, r"place in memory.*attn_temperature_tuning"),
        ({"keep_window_size": 2048}, r"place in memory.*keep_window_size"),
        ({"hidden_size": 18}, "18 does not divide into 4 heads"),
        ({"num_hidden_layers": None}, "states no num_hidden_layers"),
        ({"num_hidden_layers": 10**9}, "states 1,000,000,000 as layers"),
        ({"num_hidden_layers": -1}, "states -1 as layers"),
        ({"vocab_size": 10**12}, "states 1,000,000,000,000 as vocab_size"),
        ({"num_key_value_heads": 0}, "states 0 as kv_heads"),
        ({"num_key_value_heads": 3}, "4 heads do not share 3 KV heads evenly"),
        ({"num_attention_heads": 0}, r"cannot be read \(integer modulo by zero"),
        ({"head_dim": "wide"}, "cannot be read"),
        ({"layer_types": 5}, "cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        geometry({**_PLAIN, **changes})
    assert repr(changes.get("model_type", "llama")) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("bamba", "state-space"),
        ("bart", "encoder-decoder"),
        ("bert", "an encoder"),
        ("bloom", "ALiBi"),
        ("cpmant", "tokens of its own"),
        ("deepseek_v2", "MLA"),
        ("deepseek_v3", "MLA"),
        ("doge", "keep_window_size"),
        ("dots3_note_text", "MLA"),
        ("falcon_h1", "state-space"),
        ("falcon_mamba", "state-space"),
        ("gemma3n_text", "share one cache"),
        ("gemma4_text", r"different head sizes: \[256, 512\]"),
        ("gpt_neo", "attention_layers"),
        ("jamba", "state-space"),
        ("lfm2", "conv"),
        ("llama4_text", "attn_temperature_tuning"),
        ("mamba", "state-space"),
        ("mamba2", "state-space"),
        ("minimax", "'linear_attention'"),
        ("mpt", "ALiBi"),
        ("nemotron_h", "state-space"),
        ("openai-gpt", "no plain key-value cache"),
        ("qwen3_next", "'linear_attention'"),
        ("recurrent_gemma", "state-space"),
        ("roberta", "an encoder"),
        ("rwkv", "state-space"),
        ("t5", "encoder-decoder"),
        ("whisper", "encoder-decoder"),
        ("zamba2", "state-space"),
    ],
)
def test_transformers_own_configurations_are_refused(kind: str, reason: str) -> None:
    from transformers import CONFIG_MAPPING
    from transformers import AutoConfig

    if kind not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {kind}")
    config = AutoConfig.for_model(kind)
    for form in (config, config.to_dict()):
        with pytest.raises(ConfigError, match=f"It does not fit: .*{reason}"):
            geometry(form)


@pytest.mark.parametrize(
    ("parameters", "window"),
    [
        (None, None),
        ({"rope_type": "default", "rope_theta": 1e4}, None),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, None),
        ({"rope_type": "longrope", "original_max_position_embeddings": 32}, 32),
        ({"rope_type": "dynamic", "factor": 4.0}, 64),
        (
            {
                "sliding_attention": {"rope_type": "default"},
                "full_attention": {"rope_type": "dynamic", "factor": 4.0},
            },
            64,
        ),
    ],
)
def test_where_frequencies_depend_on_the_length(parameters: Any, window: int | None) -> None:
    config = {**_PLAIN, "max_position_embeddings": 64, "rope_parameters": parameters}
    assert rope_window(config) == window
