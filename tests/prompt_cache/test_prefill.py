"""Prefill in batches must be prefill one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from c2c_search.models.geometry import geometry
from c2c_search.prompt_cache import prefill as prefill_module
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.prefill import cache_argument
from c2c_search.prompt_cache.prefill import prefill
from c2c_search.prompt_cache.prefill import stack_cache
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
    model = tiny_model().model
    lengths = [len(own) for _, caches in prefill(model, PROMPTS, batch_tokens=9) for own in caches]
    assert lengths == sorted(lengths, reverse=True)


def test_one_prompt_and_one_token(tiny_model):
    ((rows, (cache,)),) = prefill(tiny_model().model, [[3]])
    assert rows == [0]
    assert cache.shape == (1, 2, 2, 16)


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


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=30), batch=st.integers(1, 3000))
def test_batches_hold_every_prompt_once_and_little_padding(lengths, batch):
    prompts = [[1] * length for length in lengths]
    planned = Prefill(ARCHITECTURES["llama"](), prompts, batch_tokens=batch)
    assert sorted(row for rows in planned.batches for row in rows) == [*range(len(lengths))]
    for number in range(len(planned.batches)):
        own = planned.lengths(number)
        assert own == sorted(own, reverse=True)
        assert own[0] - own[-1] <= prefill_module.TOKENS_TO_BEGIN
        assert len(own) * own[0] <= batch or len(own) == 1


def test_a_pass_more_is_dearer_than_some_padding(monkeypatch):
    def batches(*counts, tokens=1000):
        return prefill_module._together(counts, tokens)

    monkeypatch.setattr(prefill_module, "TOKENS_TO_BEGIN", 10)
    assert batches((30, 1), (21, 1)) == [[30, 21]]
    assert batches((30, 1), (19, 1)) == [[30], [19]]
    assert batches((30, 1), (26, 2)) == [[30, 26]]  # 8 tokens of padding
    assert batches((30, 1), (26, 3)) == [[30], [26]]  # 12
    assert batches((30, 1), (26, 3), tokens=1) == [[30], [26]]  # each its own pass anyway
    assert batches((30, 1), (25, 1), (19, 1)) == [[30, 25], [19]]
    assert batches((30, 1), (25, 1), (20, 1)) == [[30, 25, 20]]  # as much, in fewer passes
    assert batches() == []
