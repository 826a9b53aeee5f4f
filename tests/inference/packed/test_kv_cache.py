"""A cache with room keeps exactly what transformers' own cache keeps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from c2c_search.inference.packed import kv_cache
from c2c_search.inference.packed.kv_cache import RoomyCache
from c2c_search.inference.packed.kv_cache import RoomyLayer
from c2c_search.prompt_cache.prefill import cache_argument


def states(tokens):
    return torch.randn(1, 2, tokens, 4), torch.randn(1, 2, tokens, 3)


@given(steps=st.lists(st.integers(0, 90), min_size=1, max_size=6), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_it_keeps_what_a_dynamic_layer_keeps(steps, seed):
    torch.manual_seed(seed)
    roomy, own = RoomyLayer(), DynamicLayer()
    with torch.no_grad():
        for tokens in steps:
            new = states(tokens)
            for found, expected in zip(roomy.update(*new), own.update(*new), strict=True):
                assert torch.equal(found, expected)
            assert roomy.get_seq_length() == own.get_seq_length()
            assert torch.equal(roomy.keys, own.keys)
            assert torch.equal(roomy.values, own.values)


@torch.no_grad()
def test_a_step_moves_nothing_while_there_is_room():
    layer = RoomyLayer()
    layer.update(*states(5))
    place = layer.keys.data_ptr()
    for _ in range(kv_cache._TOKENS):
        layer.update(*states(1))
        assert layer.keys.data_ptr() == place
    layer.update(*states(1))
    assert layer.keys.data_ptr() != place
    assert layer.get_seq_length() == 5 + kv_cache._TOKENS + 1


@torch.no_grad()
def test_what_was_shown_stays_as_it_was():
    layer = RoomyLayer()
    shown, _ = layer.update(*states(5))
    before = shown.clone()
    layer.update(*states(70))
    layer.update(*states(1))
    assert torch.equal(shown, before)


@torch.no_grad()
def test_a_cropped_layer_goes_on_from_where_it_was_cropped():
    roomy, own = RoomyLayer(), DynamicLayer()
    first, second = states(6), states(2)
    for layer in (roomy, own):
        layer.update(*first)
        layer.crop(-3)
        layer.update(*second)
    assert torch.equal(roomy.keys, own.keys)
    assert torch.equal(roomy.values, own.values)


def test_gradients_flow_through_all_that_is_kept():
    layer = RoomyLayer()
    with torch.no_grad():
        layer.update(*states(3))
    keys, values = (each.requires_grad_() for each in states(2))
    kept, _ = layer.update(keys, values)
    squares = kept.square().sum()
    with torch.no_grad():  # written over nothing that the backward pass needs
        layer.update(*states(4))
    squares.backward()
    assert torch.allclose(keys.grad, 2 * keys)


def test_every_layer_of_a_cache_has_room(tiny_model):
    model = tiny_model("gemma3", layers=6).model
    with torch.no_grad():
        found = model(
            torch.arange(12)[None], use_cache=True, **cache_argument(model, RoomyCache())
        )
    expected = model(torch.arange(12)[None], use_cache=False)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [64, 4096])
def test_the_room_is_a_share_of_what_is_kept(tokens):
    layer = RoomyLayer()
    with torch.no_grad():
        layer.update(torch.zeros(1, 1, tokens, 1), torch.zeros(1, 1, tokens, 1))
    assert layer._room[0].shape[-2] == tokens + max(64, tokens // 8)
