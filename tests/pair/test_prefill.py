"""Prefill in batches must be prefill one by one."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from c2c_search.pair.geometry import geometry
from c2c_search.pair.prefill import cache_argument
from c2c_search.pair.prefill import prefill
from c2c_search.pair.prefill import stack_cache
from tests.architectures import ARCHITECTURES


PROMPTS = [
    [1, 2, 3, 4, 5],
    [1, 2, 9],
    [1, 2, 3, 4, 6],
    [1, 2, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
    [1, 2],
]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("batch_tokens", [1, 6, 1000])
def test_batches_equal_singles(tiny_model, family, batch_tokens):
    model = tiny_model(family, layers=6 if family == "gemma3" else 2, head_dim=4).model
    seen = {}
    for rows, caches in prefill(model, PROMPTS, batch_tokens=batch_tokens):
        seen.update(zip(rows, caches, strict=True))
    assert sorted(seen) == [0, 1, 2, 3, 4]
    for row, prompt in enumerate(PROMPTS):
        cache = model(torch.tensor([prompt]), use_cache=True).past_key_values
        last = cache.layers[-1]  # full attention in gemma3
        own = torch.stack([last.keys[0], last.values[0]]).permute(2, 0, 1, 3).flatten(2)
        torch.testing.assert_close(seen[row][:, :, -1], own, atol=1e-5, rtol=1e-4)
        assert seen[row].shape == (len(prompt), 2, model.config.num_hidden_layers, 8)


def test_longest_first(tiny_model):
    lengths = [caches.shape[1] for _, caches in prefill(tiny_model().model, PROMPTS)]
    assert lengths == sorted(lengths, reverse=True)


def test_one_prompt_and_one_token(tiny_model):
    ((rows, caches),) = prefill(tiny_model().model, [[3]])
    assert rows == [0]
    assert caches.shape == (1, 1, 2, 2, 16)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_keeps_what_it_computes(name):
    model = ARCHITECTURES[name]()
    prompts = [list(range(3, 3 + length)) for length in (20, 9, 5)]  # also beyond all windows
    shape = geometry(model)
    for rows, caches in prefill(model, prompts):
        for row, cache in zip(rows, caches, strict=True):
            own = DynamicCache()
            model(torch.tensor([prompts[row]]), use_cache=True, **cache_argument(model, own))
            torch.testing.assert_close(cache, stack_cache(own)[0], atol=1e-5, rtol=1e-4)
            assert cache.shape[1:] == (2, shape.layers, shape.kv_heads * shape.head_dim)


def test_no_prompts(tiny_model):
    assert list(prefill(tiny_model().model, [])) == []


@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_cache_is_passed_by_its_name_of_today(tiny_model):
    list(prefill(tiny_model().model, PROMPTS))
