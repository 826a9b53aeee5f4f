"""RoPE taken off cached keys must leave what the model computed before RoPE."""

from __future__ import annotations

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers import DynamicCache

from c2c_search.errors import ConfigError
from c2c_search.models.geometry import geometry
from c2c_search.models.geometry import rope_window
from c2c_search.prompt_cache import rope
from c2c_search.prompt_cache.prefill import prefill
from c2c_search.prompt_cache.prefill import run
from c2c_search.prompt_cache.prefill import stack_cache
from c2c_search.prompt_cache.rope import Rotary
from tests.architectures import ARCHITECTURES
from tests.architectures import NO_ROPE
from tests.architectures import build


PROMPTS = [[5, 9, 12, 7, 30, 8, 11], [13, 4, 3], [6, 12, 8, 11, 90]]
ROTATED = [name for name in ARCHITECTURES if name not in NO_ROPE]

# What each architecture calls the last step before RoPE, in its first layer.
BEFORE = {
    "llama": "self_attn.k_proj",
    "llama, linear": "self_attn.k_proj",
    "llama, dynamic": "self_attn.k_proj",
    "llama, yarn": "self_attn.k_proj",
    "llama, llama3": "self_attn.k_proj",
    "mistral": "self_attn.k_proj",
    "qwen2": "self_attn.k_proj",
    "gemma2": "self_attn.k_proj",
    "phi": "self_attn.k_proj",
    "cohere": "self_attn.k_proj",
    "gpt_oss": "self_attn.k_proj",
    "smollm3": "self_attn.k_proj",
    "qwen3": "self_attn.k_norm",
    "gemma3": "self_attn.k_norm",
    "gptj": "attn.k_proj",
}


def packed_keys(model):
    """Cached keys of all prompts, ``(layers, tokens, size)``, and the tokens' positions."""
    caches = {}
    for rows, batch in prefill(model, PROMPTS):
        caches.update(zip(rows, (cache[:, 0] for cache in batch), strict=True))
    keys = torch.cat([caches[row] for row in range(len(PROMPTS))]).transpose(0, 1)
    return keys, torch.cat([torch.arange(len(prompt)) for prompt in PROMPTS])


def lonely_keys(model, position):
    """Keys of a few tokens that read only themselves."""
    ids = torch.tensor([[7], [30], [8]])
    cache = run(model, ids, torch.full((3, 1), position), DynamicCache())
    return stack_cache(cache)[:, 0, 0].transpose(0, 1)


@pytest.fixture(params=ROTATED)
def model(request):
    return ARCHITECTURES[request.param]()


@pytest.mark.parametrize("name", NO_ROPE)
def test_learned_positions_are_no_rope(name):
    assert Rotary.of(ARCHITECTURES[name]()) is None


def test_no_positions_are_no_rope(monkeypatch):
    model = ARCHITECTURES["smollm3"]()
    for layer in model.model.layers:
        layer.self_attn.use_rope = False
    assert Rotary.of(model) is None
    monkeypatch.setattr(rope, "_sources", lambda _: iter(()))
    assert Rotary.of(model) is None


def test_undo_is_the_inverse_of_apply(model):
    shape = geometry(model)
    rotation = Rotary.of(model).at(torch.tensor([0, 7, 1, 31, -1, -20]))
    keys = torch.randn(shape.layers, 6, shape.kv_heads * shape.head_dim)
    assert rotation.apply(keys).shape == keys.shape
    assert not torch.allclose(rotation.apply(keys), keys, atol=0.1)
    torch.testing.assert_close(rotation.undo(rotation.apply(keys)), keys, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rotation.apply(rotation.undo(keys)), keys, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BEFORE)
def test_unrotated_keys_are_those_before_rope(name):
    model = ARCHITECTURES[name]()
    keys, positions = packed_keys(model)
    first = model.base_model.h[0] if name == "gptj" else model.base_model.layers[0]
    seen = []
    first.get_submodule(BEFORE[name]).register_forward_hook(lambda *call: seen.append(call[2]))
    for prompt in PROMPTS:
        model(torch.tensor([prompt]))
    shape = geometry(model)
    before = []
    for prompt, out in zip(PROMPTS, seen, strict=True):
        by_heads_first = out.shape[:3] == (1, shape.kv_heads, len(prompt))  # some norms
        by_token = out.transpose(1, 2) if by_heads_first else out
        before.append(by_token.reshape(len(prompt), -1))
    unrotated = Rotary.of(model).at(positions).undo(keys)
    torch.testing.assert_close(unrotated[0], torch.cat(before), atol=1e-5, rtol=1e-4)


def test_rotated_elsewhere_keys_are_the_models_own(model):
    rotary = Rotary.of(model)
    for near, far in ((0, 29), (3, 30), (25, 2)):
        unrotated = rotary.at(torch.full((3,), near)).undo(lonely_keys(model, near))
        moved = rotary.at(torch.full((3,), far)).apply(unrotated)
        torch.testing.assert_close(moved, lonely_keys(model, far), atol=1e-5, rtol=1e-4)


def test_negative_positions_turn_the_other_way(model):
    rotary, keys = Rotary.of(model), lonely_keys(model, 0)
    forward, back = rotary.at(torch.tensor([1, 9, 30])), rotary.at(torch.tensor([-1, -9, -30]))
    still = rotary.at(torch.zeros(3, dtype=torch.long))
    torch.testing.assert_close(
        back.apply(forward.apply(keys)), still.apply(still.apply(keys)), atol=1e-5, rtol=1e-4
    )


def test_layers_and_tokens_can_be_chosen(model):
    positions = torch.tensor([4, 0, -2, 9])
    rotary, shape = Rotary.of(model), geometry(model)
    keys = torch.randn(shape.layers, 4, shape.kv_heads * shape.head_dim)
    whole = rotary.at(positions).apply(keys)
    layers, tokens = torch.tensor([1, 0, 1]), torch.tensor([3, 3, 0])
    some = rotary.at(positions).select(layers).take(tokens).to("cpu")
    torch.testing.assert_close(some.apply(keys[layers][:, tokens]), whole[layers][:, tokens])
    torch.testing.assert_close(
        rotary.at(positions[tokens]).apply(keys[:, tokens]), whole[:, tokens]
    )


def test_gradients_pass(model):
    shape = geometry(model)
    rotation = Rotary.of(model).at(torch.tensor([3, 5]))
    keys = torch.randn(shape.layers, 2, shape.kv_heads * shape.head_dim, requires_grad=True)
    rotation.apply(rotation.undo(keys)).sum().backward()
    torch.testing.assert_close(keys.grad, torch.ones_like(keys), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "without"), [("smollm3", [1, 3]), ("llama4", [3])])
def test_layers_without_rope_are_left_alone(name, without):
    model = ARCHITECTURES[name]()
    rotation = Rotary.of(model).at(torch.tensor([2, 3]))
    keys = torch.randn(4, 2, geometry(model).kv_heads * geometry(model).head_dim)
    moved = (rotation.apply(keys) - keys).abs().amax(dim=(1, 2)) > 0.01
    assert moved.tolist() == [layer not in without for layer in range(4)]


def test_layers_of_two_kinds_rotate_differently():
    rotation = Rotary.of(ARCHITECTURES["gemma3"]()).at(torch.tensor([3]))
    assert not torch.allclose(rotation.cos[0], rotation.cos[1])
    torch.testing.assert_close(rotation.cos[0], rotation.cos[2])


def test_partial_rotation_leaves_the_rest_of_a_head():
    model = ARCHITECTURES["gpt_neox"]()
    rotation = Rotary.of(model).at(torch.tensor([3]))
    assert (rotation.cos.shape, rotation.head_dim) == ((1, 1, 4), 16)


@pytest.mark.parametrize("name", ["llama", "llama, yarn", "gemma3", "cohere"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_of_half_precision(name, dtype):
    model = ARCHITECTURES[name]().to(dtype)
    rotary = Rotary.of(model)
    near = rotary.at(torch.zeros(3, dtype=torch.long)).undo(lonely_keys(model, 0).float())
    far = rotary.at(torch.full((3,), 100)).undo(lonely_keys(model, 100).float())
    torch.testing.assert_close(near, far, atol=0.02 * float(near.abs().max()), rtol=0.02)
    keys = torch.randn_like(near)
    rotation = rotary.at(torch.full((3,), 100))
    torch.testing.assert_close(rotation.undo(rotation.apply(keys)), keys, atol=1e-5, rtol=1e-5)


# What cannot be taken off


@pytest.mark.parametrize("name", ["llama, dynamic", "phi3, longrope"])
def test_beyond_its_window_rope_depends_on_the_prompt(name):
    model = ARCHITECTURES[name]()
    window = rope_window(model)
    rotary = Rotary.of(model)
    rotary.at(torch.tensor([0, window - 1, 1 - window]))
    with pytest.raises(ConfigError, match=f"fit into {window} tokens"):
        rotary.at(torch.tensor([0, window]))


def test_keys_that_change_after_rope_are_refused():
    model = build("hunyuan_v1_dense", 4, 2, 8, head_dim=8)  # a trained norm after RoPE
    with pytest.raises(ConfigError, match="does not support") as caught:
        Rotary.of(model)
    assert "'hunyuan_v1_dense'" in str(caught.value)


def test_rope_of_an_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setattr(rope, "_sources", lambda _: iter(()))
    with pytest.raises(ConfigError, match="'llama'"):
        Rotary.of(ARCHITECTURES["llama"]())


@pytest.mark.skipif("laguna" not in CONFIG_MAPPING, reason="not in this transformers")
def test_layers_that_rotate_other_dims_are_refused():
    parameters = {
        kind: {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share}
        for kind, share in (("full_attention", 0.5), ("sliding_attention", 1.0))
    }
    model = build(
        "laguna",
        4,
        2,
        8,
        head_dim=8,
        layer_types=["sliding_attention", "full_attention"],
        num_attention_heads_per_layer=[4, 4],
        rope_parameters=parameters,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    with pytest.raises(ConfigError, match="the same dims rotated in all layers"):
        Rotary.of(model)
