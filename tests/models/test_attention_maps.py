"""Which linear maps LoRA adapts, told of every architecture by names and sizes."""

from __future__ import annotations

import pytest

from c2c_search.errors import ConfigError
from c2c_search.models.attention_maps import adaptable_shape
from c2c_search.models.attention_maps import attention_maps
from c2c_search.models.attention_maps import skeleton_of
from c2c_search.models.geometry import cache_shape
from c2c_search.models.geometry import geometry
from tests.architectures import ARCHITECTURES
from tests.architectures import build


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_configuration_tells_what_its_model_has(name):
    model = ARCHITECTURES[name]()
    shape = adaptable_shape(model)
    assert shape == adaptable_shape(model.config) == adaptable_shape(model.config.to_dict())
    assert shape.without_projections() == cache_shape(model)
    own = geometry(model)
    sizes = {each.role: (each.inputs, each.outputs) for each in shape.projections}
    assert sizes["output"][1] == own.hidden_size
    attended = sizes["output"][0]
    if "qkv" in sizes:
        assert set(sizes) == {"qkv", "output"}
        assert sizes["qkv"][0] == own.hidden_size
        assert sizes["qkv"][1] > attended
    else:
        assert sizes["query"] == (own.hidden_size, attended)
        assert sizes["value"] == (own.hidden_size, own.kv_heads * own.head_dim)


def test_sizes_are_inputs_and_outputs_whichever_way_a_map_is_stored():
    # GPT-2, 32 wide: keys, queries and values of 32 each, stored (inputs, outputs).
    sizes = [(each.role, each.inputs, each.outputs) for each in _gpt2().projections]
    assert sizes == [("output", 32, 32), ("qkv", 32, 96)]


def _gpt2():
    return adaptable_shape(ARCHITECTURES["gpt2"]())


def test_maps_of_the_feed_forward_part_are_left_out():
    model = ARCHITECTURES["gpt2"]()
    outputs = attention_maps(model)["output"]
    assert outputs == [block.attn.c_proj for block in model.transformer.h]


def test_maps_under_another_name_are_refused():
    model = ARCHITECTURES["llama"]()
    for layer in model.model.layers:
        layer.self_attn.reading = layer.self_attn.v_proj
        del layer.self_attn.v_proj
    with pytest.raises(ConfigError, match=r"llama: \{'query': 2, 'output': 2\} in 2 layers"):
        adaptable_shape(model)


def test_maps_of_another_size_in_one_layer_are_refused():
    model, other = ARCHITECTURES["llama"](), build("llama", 8, 2, 8)
    model.model.layers[1].self_attn.q_proj = other.model.layers[1].self_attn.q_proj
    with pytest.raises(ConfigError, match="lora_rank to 0"):
        adaptable_shape(model)


@pytest.mark.parametrize(
    "changes", [{"model_type": "../../x"}, {"pad_token_id": 99}, {"hidden_act": "no"}]
)
def test_what_transformers_makes_no_model_of_is_refused_shortly(changes):
    plain = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 4, "vocab_size": 8}
    with pytest.raises(ConfigError, match="of which transformers can make a model") as caught:
        skeleton_of({"model_type": "llama", "intermediate_size": 8, **plain, **changes})
    assert len(str(caught.value)) < 500
