"""Configurations of models that the shipped spaces name, as published: sizes, and no weights.

A plan counts with them before anything is fetched; nothing else reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from c2c_search.models.at_hand import config_at_hand
from c2c_search.models.sources import HubSource
from c2c_search.models.sources import parse_source


def _config(
    family: str,
    layers: int,
    hidden: int,
    inner: int,
    heads: tuple[int, int],
    head_dim: int,
    vocabulary: int,
    tied: bool = True,
) -> Mapping[str, Any]:
    return {
        "model_type": family,
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "head_dim": head_dim,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }


_QWEN, _LLAMA = 151_936, 128_256  # tokens
_PUBLISHED = {
    "Qwen/Qwen2.5-0.5B-Instruct": _config("qwen2", 24, 896, 4864, (14, 2), 64, _QWEN),
    "Qwen/Qwen2.5-1.5B-Instruct": _config("qwen2", 28, 1536, 8960, (12, 2), 128, _QWEN),
    "Qwen/Qwen3-0.6B": _config("qwen3", 28, 1024, 3072, (16, 8), 128, _QWEN),
    "Qwen/Qwen3-1.7B": _config("qwen3", 28, 2048, 6144, (16, 8), 128, _QWEN),
    "Qwen/Qwen3-4B-Base": _config("qwen3", 36, 2560, 9728, (32, 8), 128, _QWEN),
    "Qwen/Qwen3-8B": _config("qwen3", 36, 4096, 12288, (32, 8), 128, _QWEN, tied=False),
    "meta-llama/Llama-3.2-1B-Instruct": _config("llama", 16, 2048, 8192, (32, 8), 64, _LLAMA),
}


def known_config(source: str) -> Mapping[str, Any] | None:
    """The configuration of a model at hand, or as published; None where neither is known.

    Args:
        source: Of the model.

    Raises:
        SourceError: See `config_at_hand`.
    """
    found = config_at_hand(source)
    if found is not None:
        return found
    parsed = parse_source(source)
    return _PUBLISHED.get(parsed.repo) if isinstance(parsed, HubSource) else None
