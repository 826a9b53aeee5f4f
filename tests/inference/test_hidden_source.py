"""A fuser that hears what the sharer's layers put out, from the prompt to the fused cache."""

from __future__ import annotations

import json

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.fuser import checkpoint
from c2c_search.fuser import cost
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.stored import CONFIG_NAME
from c2c_search.inference.model import C2CModel


PROMPT, HEARD = [5, 9, 12, 7, 30], [7, 7, 8, 50, 51]


def states(model, ids):
    """What each layer puts out, ``(layers, tokens, size)``."""
    with torch.no_grad():
        told = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.cat(told[1:])


@pytest.mark.parametrize("sharer", ["real", "self"])
def test_keys_and_values_are_made_of_one_state(make_pair, tiny_model, sharer):
    receiver = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    speaks = {"sharer": receiver} if sharer == "self" else {}
    model = make_pair(
        receiver=receiver,
        projector="linear",
        injection="replace",
        source="hidden",
        dynamic_weight=False,
        **speaks,
    )
    if sharer == "self":
        model = C2CModel(receiver, receiver, model.fuser, cache_dtype=torch.float32)
    heard = states(model.sharer.model, HEARD)[:, :-1]
    output = model(torch.tensor([PROMPT]), torch.tensor([HEARD]))
    projection, layers = model.fuser.projector.projection, len(model.fuser.layers)
    for layer, (source,) in enumerate(model.fuser.sources.tolist()):
        cached = output.past_key_values.layers[layer]
        for kind, entries in enumerate((cached.keys, cached.values)):
            group = kind * layers + layer
            expected = heard[source] @ projection.weight[group] + projection.bias[group]
            found = entries[0, :, :-1].transpose(0, 1).flatten(1)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_message_is_half_of_keys_and_values_of_that_size(make_pair):
    model = make_pair(source="hidden")
    layers, size = len(model.fuser.sources.unique()), model.fuser.sharer_shape.hidden_size
    assert cost.message_bytes(model.fuser, 5, torch.bfloat16) == layers * 5 * size * 2
    pooled = make_pair(source="hidden", injection="append", slots=3).fuser
    told = cost.message_bytes(pooled, 500, torch.bfloat16)
    assert told == len(pooled.layers) * 3 * size * 2
    count = sum(parameter.numel() for parameter in pooled.parameters())
    assert cost.parameters(pooled.config, pooled.receiver_shape, pooled.sharer_shape) == count


def test_a_sharer_of_another_hidden_size_is_refused(make_pair):
    model = make_pair(source="hidden")
    fuser = model.fuser
    fuser.sharer_shape = fuser.sharer_shape.model_copy(update={"hidden_size": 64})
    with pytest.raises(ConfigError, match="The sharer must have the cache shape"):
        C2CModel(model.receiver, model.sharer, fuser)


def test_a_stored_fuser_tells_the_size_that_it_hears(make_pair, tmp_path):
    fuser = make_pair(source="hidden").fuser
    checkpoint.save(fuser, tmp_path)
    assert checkpoint.load(tmp_path).sharer_shape == fuser.sharer_shape
    path = tmp_path / CONFIG_NAME
    content = json.loads(path.read_text())
    del content["sharer"]["hidden_size"]
    path.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="source hidden needs"):
        checkpoint.load(tmp_path)


def test_a_response_cannot_be_heard_so():
    with pytest.raises(ValueError, match="leave fuse_response out, or set source to kv"):
        FuserConfig(source="hidden", fuse_response=True)


def test_a_configuration_that_hears_keys_and_values_is_what_it_was(make_pair):
    assert "source" not in FuserConfig().model_dump()
    shape = make_pair().fuser.sharer_shape
    assert "hidden_size" not in shape.model_dump()
