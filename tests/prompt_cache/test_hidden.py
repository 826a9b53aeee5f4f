"""What layers put out is what the model itself puts out, alone and in batches, in a store."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.hidden import planned
from c2c_search.prompt_cache.hidden import token_shape
from c2c_search.prompt_cache.store import PromptCacheStore
from tests.architectures import ARCHITECTURES


PROMPTS = [[3, 4, 5, 6, 7, 8, 9], [3, 4, 11], [3, 4, 12, 13, 14]]  # two tokens are shared
APART = [[5, 9, 12], [7, 3, 4, 2, 8]]


def packed(caches, prompts):
    rows = range(len(prompts))
    return caches.packed(rows, [torch.arange(len(prompt)) for prompt in prompts])


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "opt"])
def test_every_architecture_tells_what_its_layers_put_out(name):
    model = ARCHITECTURES[name]()
    for prompts in (PROMPTS, APART):
        caches = PromptCaches.compute(model, prompts, torch.float32, source="hidden")
        told = packed(caches, prompts).split([len(prompt) for prompt in prompts], dim=2)
        for prompt, states in zip(prompts, told, strict=True):
            assert (states.shape[0], *states.shape[1::2]) == token_shape(model, "hidden")
            with torch.no_grad():
                own = model.base_model(
                    input_ids=torch.tensor([prompt]), output_hidden_states=True
                ).hidden_states
            expected = torch.cat(own[1:])[None]
            torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


def test_they_are_the_residual_stream_and_the_last_is_normalised(tiny_model):
    model = tiny_model("llama", layers=3, heads=2, head_dim=8).model
    seen = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
        for layer in model.model.layers
    ]
    (told,) = PromptCaches.compute(model, APART[:1], torch.float32, source="hidden").shards
    for hook in hooks:
        hook.remove()
    assert told.shape == (3, 1, 3, model.config.hidden_size)
    for layer in range(2):
        torch.testing.assert_close(told[:, 0, layer], seen[layer][0])
    torch.testing.assert_close(told[:, 0, 2], model.model.norm(seen[2])[0])


def test_layers_of_other_sizes_than_the_last_are_refused():
    model = ARCHITECTURES["opt"]()  # which puts out what the vocabulary's matrix takes
    with pytest.raises(ConfigError, match=r"each of its 2 layers puts out, 24 numbers"):
        planned(model, APART, "hidden").run(0)


def test_a_model_that_does_not_tell_is_refused(tiny_model, monkeypatch):
    model = tiny_model().model
    real = type(model.base_model).forward

    def silent(self, *args, **kwargs):
        return real(self, *args, **kwargs | {"output_hidden_states": False})

    monkeypatch.setattr(type(model.base_model), "forward", silent)
    with pytest.raises(ConfigError, match=r"each of its \d+ layers"):
        planned(model, APART, "hidden").run(0)


def test_the_store_keeps_them_beside_keys_and_values(tiny_model, tmp_path):
    model = tiny_model()
    store = PromptCacheStore(tmp_path, dtype=torch.float32)
    hidden, caches = store.get(model, PROMPTS, source="hidden"), store.get(model, PROMPTS)
    expected = PromptCaches.compute(model.model, PROMPTS, torch.float32, source="hidden")
    assert torch.equal(packed(hidden, PROMPTS), packed(expected, PROMPTS))
    assert packed(caches, PROMPTS).shape[0] == 2
    keys = store.key(model, PROMPTS, "hidden"), store.key(model, PROMPTS)
    tokens = [Entry.read(tmp_path / key).meta.token for key in keys]
    assert tokens == [token_shape(model.model, "hidden"), token_shape(model.model)]
    again = PromptCacheStore(tmp_path, dtype=torch.float32)
    again_hidden = again.get(model, PROMPTS, source="hidden", progress=None)
    assert torch.equal(packed(again_hidden, PROMPTS), packed(hidden, PROMPTS))
