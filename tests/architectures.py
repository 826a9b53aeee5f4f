"""Tiny random models of many architectures, with other KV heads and head sizes in each.

Sliding windows and chunks are shorter than the tests' prompts, and weights are large enough for
every layer and mask to show in the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.inference.packed.fused_cache import FusedCache


WINDOW = 6
_VOCABULARY = 96


def build(kind: str, heads: int, kv_heads: int, width: int, **more: Any) -> PreTrainedModel:
    """A model with the names that most configurations use, ``heads * width`` wide."""
    shape = {
        "hidden_size": heads * width,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 128,
    }
    return _random(kind, **{**shape, **more})


def _random(kind: str, **settings: Any) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig
    from transformers import AutoModelForCausalLM

    tokens = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
    config = AutoConfig.for_model(kind, vocab_size=_VOCABULARY, **tokens, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            # Norms stay near what they begin as: they scale everything.
            parameter.copy_(noise * 0.2 if parameter.dim() > 1 else parameter + noise * 0.1)
    return model.eval().requires_grad_(False)


def _gpt(kind: str, **more: Any) -> PreTrainedModel:
    """A model with GPT-2's names, four heads of 8 and no grouping."""
    return _random(kind, n_embd=32, n_layer=2, n_head=4, n_positions=64, **more)


def _llama(rope_type: str, **more: Any) -> PreTrainedModel:
    parameters = {"rope_type": rope_type, "rope_theta": 1e4, "factor": 4.0, **more}
    return build("llama", 4, 2, 8, rope_parameters=parameters)


_ORIGINAL = {"original_max_position_embeddings": 32}
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 4.0, 5.0],
    **_ORIGINAL,
}
_ALTERNATING = ["sliding_attention", "full_attention"] * 2

ARCHITECTURES: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": partial(build, "llama", 4, 2, 8),
    "llama, linear": partial(_llama, "linear"),
    "llama, dynamic": partial(_llama, "dynamic"),
    "llama, yarn": partial(_llama, "yarn", **_ORIGINAL),
    "llama, llama3": partial(
        _llama, "llama3", low_freq_factor=1.0, high_freq_factor=4.0, **_ORIGINAL
    ),
    "mistral": partial(build, "mistral", 4, 1, 8, sliding_window=WINDOW),
    "qwen2": partial(build, "qwen2", 4, 2, 6, sliding_window=WINDOW, use_sliding_window=False),
    "qwen2, sliding": partial(
        build,
        "qwen2",
        4,
        4,
        6,
        sliding_window=WINDOW,
        use_sliding_window=True,
        max_window_layers=1,
    ),
    "qwen3": partial(build, "qwen3", 4, 2, 8, head_dim=12),
    "qwen3 moe, sliding": partial(
        build,
        "qwen3_moe",
        4,
        2,
        8,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        sliding_window=WINDOW,
        use_sliding_window=True,
    ),
    "gemma2": partial(
        build,
        "gemma2",
        4,
        2,
        8,
        num_hidden_layers=4,
        head_dim=10,
        sliding_window=WINDOW,
        query_pre_attn_scalar=10,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=1.0,
    ),
    "gemma3": partial(
        build,
        "gemma3_text",
        4,
        1,
        8,
        num_hidden_layers=4,
        head_dim=16,
        layer_types=_ALTERNATING,
        sliding_window=WINDOW,
    ),
    "phi": partial(build, "phi", 4, 2, 8),
    "phi3": partial(build, "phi3", 4, 2, 8, sliding_window=WINDOW),
    "phi3, longrope": partial(build, "phi3", 4, 2, 8, rope_parameters=_LONGROPE),
    "gpt_neox": partial(build, "gpt_neox", 4, 4, 16),
    "smollm3": partial(build, "smollm3", 4, 2, 8, num_hidden_layers=4, no_rope_layer_interval=2),
    "cohere": partial(build, "cohere", 4, 2, 8, logit_scale=0.25),
    "granite": partial(build, "granite", 4, 2, 8, logits_scaling=8.0),
    "gpt_oss": partial(
        build,
        "gpt_oss",
        4,
        2,
        8,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        layer_types=_ALTERNATING[:2],
        sliding_window=WINDOW,
    ),
    "llama4": partial(
        build,
        "llama4_text",
        4,
        2,
        8,
        num_hidden_layers=4,
        head_dim=8,
        intermediate_size_mlp=48,
        num_local_experts=2,
        no_rope_layers=[1, 1, 1, 0],
        attention_chunk_size=WINDOW,
        attn_temperature_tuning=False,
    ),
    "nanochat": partial(build, "nanochat", 4, 2, 8),
    "falcon": partial(
        build, "falcon", 4, 4, 8, num_kv_heads=2, new_decoder_architecture=True, alibi=False
    ),
    "gptj": partial(_gpt, "gptj", rotary_dim=4),
    "gpt2": partial(_gpt, "gpt2"),
    "opt": partial(build, "opt", 4, 4, 6, ffn_dim=48, word_embed_proj_dim=16),
}
"""Builders by name; each call gives a new model, the same one every time."""

NO_ROPE = ("gpt2", "opt")


def packed_prompts(
    model: PreTrainedModel, prompts: Sequence[list[int]]
) -> tuple[FusedCache, list[int]]:
    """Exact caches of all prompts but their last tokens, one after the other, and those tokens."""
    import torch

    from c2c_search.inference.packed.fused_cache import FusedCache
    from c2c_search.prompt_cache.prefill import prefill

    caches = {}
    for rows, batch in prefill(model, [prompt[:-1] for prompt in prompts]):
        caches.update(zip(rows, batch, strict=True))
    packed = torch.cat([caches[row] for row in range(len(prompts))]).permute(1, 2, 0, 3)
    lengths = tuple(len(prompt) - 1 for prompt in prompts)
    return FusedCache(packed.contiguous(), lengths), [prompt[-1] for prompt in prompts]
