"""How much a model reads: what is learned ends, what is computed goes on and is told."""

from __future__ import annotations

import pytest
import transformers

from c2c_search.errors import ConfigError
from c2c_search.models.context_length import ContextLength


LLAMA = transformers.LlamaConfig(max_position_embeddings=32)
GPT2 = transformers.GPT2Config(n_positions=48)
DYNAMIC = transformers.LlamaConfig(
    max_position_embeddings=64, rope_parameters={"rope_type": "dynamic", "factor": 2.0}
)


@pytest.mark.parametrize(
    ("config", "tokens", "fixed"),
    [
        (LLAMA, 32, False),
        (GPT2, 48, True),
        (DYNAMIC, 64, True),
        (transformers.OPTConfig(max_position_embeddings=40), 40, True),
        (transformers.GPTJConfig(n_positions=24), 24, True),
        (transformers.GPTNeoXConfig(max_position_embeddings=16), 16, False),
        ({"model_type": "llama", "max_position_embeddings": 9, "rope_theta": 1e4}, 9, False),
        ({"model_type": "gpt2", "n_positions": 9}, 9, True),
    ],
)
def test_the_length_is_read_off_the_configuration(config, tokens, fixed):
    assert ContextLength.of(config) == ContextLength(tokens, fixed)


def test_longer_texts_are_counted():
    told = ContextLength.of(LLAMA).check([32, 33, 40], "sharer", "path:x", "test examples")
    assert told.startswith("2 of 3 test examples have more tokens than the 32 that the sharer")
    assert "up to 40" in told
    assert ContextLength.of(LLAMA).check([32, 1], "sharer", "path:x", "test examples") is None
    assert ContextLength(None, fixed=True).check([10**9], "sharer", "path:x", "texts") is None


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ConfigError, match=r"48 positions: 1 of 2 .*'path:x, up to 49 tokens'"):
        ContextLength.of(GPT2).check([48, 49], "receiver", "path:x", "train examples")
