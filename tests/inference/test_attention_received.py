"""Attention that tokens receive, against a softmax that is written out."""

from __future__ import annotations

import pytest
import torch

from c2c_search.inference.attention_received import attention_received
from c2c_search.inference.probing import probing


PROMPTS = ((5, 9, 3, 200, 7, 8, 41, 17, 90, 12, 4), (6, 7), (8, 1, 1, 30))


def written_out(model, ids, kv_heads):
    """The model's own attention matrices, one prompt at a time, without any packing."""
    model.set_attn_implementation("eager")
    output = model(torch.tensor([ids]), output_attentions=True)
    model.set_attn_implementation("sdpa")
    by_layer = []
    for (weights,) in output.attentions:  # (heads, tokens, tokens)
        later = weights.tril(-1).sum(dim=1)[:, :-1]
        by_layer.append(later.unflatten(0, (kv_heads, -1)).mean(dim=1))
    return torch.stack(by_layer)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3"])
@torch.no_grad()
def test_it_is_what_later_tokens_attend_in_the_mean_of_a_heads_queries(kind, tiny_model):
    model = tiny_model(kind, layers=2, heads=2, head_dim=8, seed=1).model
    found = attention_received(model, PROMPTS)
    expected = torch.cat([written_out(model, ids, 2) for ids in PROMPTS], dim=-1)
    assert found.shape == (2, 2, sum(map(len, PROMPTS)) - len(PROMPTS))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_prompt_by_itself(tiny_model):
    """Where there is nothing to keep apart, there may be no mask."""
    model = tiny_model("qwen3", layers=2, heads=2, head_dim=8, seed=1).model
    for ids in (PROMPTS[0], PROMPTS[1]):
        found = attention_received(model, [ids])
        torch.testing.assert_close(found, written_out(model, ids, 2), atol=1e-5, rtol=1e-4)
    assert attention_received(model, [(4,)]).shape == (2, 2, 0)


def test_a_model_is_left_as_it_was(tiny_model):
    model = tiny_model("llama", layers=2, heads=2, head_dim=8, seed=1).model
    before = model.config._attn_implementation
    attention_received(model, PROMPTS)
    assert model.config._attn_implementation == before
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(ZeroDivisionError), probing(model, lambda *_: 1 / 0):
        model(torch.tensor([[1, 2]]), attention_mask=torch.ones(1, 1, 2, 2, dtype=torch.bool))
    assert model.config._attn_implementation == before
