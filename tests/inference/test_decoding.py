"""Packed decoding must be what the model itself generates, prompt by prompt."""

from __future__ import annotations

import pytest
import torch

from c2c_search.prompt_cache.caches import PromptCaches
from tests.architectures import packed_prompts
from tests.inference.greedy import generate


PROMPTS = [[5, 9, 2, 7, 30, 8, 1, 40, 41, 12, 13, 14], [3, 4, 9], [6, 2, 8, 11, 90, 3]]
FAMILIES = ["llama", "gemma3", "qwen3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_is_greedy_and_batch_independent(tiny_model, family):
    model = tiny_model(family, layers=6 if family == "gemma3" else 2).model
    fused, last = packed_prompts(model, PROMPTS)
    together = generate(model, fused, last, stop=set(), max_new_tokens=6)
    for prompt, answer in zip(PROMPTS, together, strict=True):
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert answer == ids[len(prompt) :]


def test_generate_leaves_out_the_stop_token(tiny_model):
    model = tiny_model().model
    fused, last = packed_prompts(model, PROMPTS)
    free = generate(model, fused, last, stop=set(), max_new_tokens=5)
    stop = {free[0][0]}
    assert generate(model, fused, last, stop=stop, max_new_tokens=5)[0] == []
    told = generate(model, fused, last, stop=stop, max_new_tokens=5, with_stop=True)
    assert told[0] == [free[0][0]]


def test_caches_in_memory_are_rounded_to_bfloat16(tiny_model):
    caches = PromptCaches.compute(tiny_model().model, PROMPTS)
    assert caches.shards[0].dtype == torch.bfloat16
    assert sum(len(shard) for shard in caches.shards) == sum(map(len, PROMPTS))
