"""Which layers are fused: by a name, a count, one by one, and with the layers that feed them."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.cost import parameters
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.layers import chosen
from c2c_search.fuser.layers import given_sources
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER
from c2c_search.testing.pairs import caches
from c2c_search.testing.pairs import calibrated


DRAFT_KV = {18: 14, 20: 16, 22: 18, 24: 20}


@pytest.mark.parametrize(
    ("fields", "depth", "layers"),
    [
        ({}, 4, [0, 1, 2, 3]),
        ({"layer_share": 0.5}, 30, list(range(15, 30))),
        ({"layer_count": 4}, 30, [26, 27, 28, 29]),
        ({"layer_count": 4, "layers": "spread"}, 28, [6, 13, 20, 27]),
        ({"layer_count": 4, "layers": "spread"}, 30, [6, 14, 21, 29]),
        ({"layer_count": 1, "layers": "spread"}, 30, [29]),
        ({"layer_share": 0.5, "layers": "spread"}, 6, [1, 3, 5]),
        ({"layers": "spread"}, 3, [0, 1, 2]),
        ({"layers": [18, 20, 22, 24]}, 28, [18, 20, 22, 24]),
        ({"layers": "18,20"}, 28, [18, 20]),
        ({"layers": DRAFT_KV}, 28, [18, 20, 22, 24]),
    ],
)
def test_the_layers_that_are_fused(fields, depth, layers):
    assert chosen(FuserConfig(**fields), depth) == layers


def test_a_map_names_what_feeds_each_layer():
    config = FuserConfig(layers=DRAFT_KV)
    assert config.layers == "18:14, 20:16, 22:18, 24:20"
    assert given_sources(config, 24) == [[14], [16], [18], [20]]
    assert given_sources(FuserConfig(layers="18, 20"), 24) is None
    # The receiver that is its own sharer has other layers.
    assert given_sources(config.model_copy(update={"sharer": "self"}), 10) is None
    two = FuserConfig(layers={1: [2, 0], 3: [1, 2]}, sources_per_layer=2)
    assert two.layers == "1:2+0, 3:1+2"
    fuser = Fuser(two, RECEIVER, SHARER)
    assert (fuser.layers, fuser.sources.tolist()) == ([1, 3], [[2, 0], [1, 2]])
    assert parameters(two, RECEIVER, SHARER) == sum(p.numel() for p in fuser.parameters())


@pytest.mark.parametrize(
    "layers", ["\uff11:1", "\u0661", "1:", "1+2", "99999:1", "", 1, None, [0.0]]
)
def test_what_names_no_layers(layers):
    with pytest.raises(ValidationError, match="must be last, spread, attention, or layers as '18"):
        FuserConfig(layers=layers)


def test_calibration_leaves_a_map_as_it_was_given():
    fuser = calibrated(FuserConfig(layers="1:2, 3:0", width=8, initialisation="random"))
    assert (fuser.layers, fuser.sources.tolist()) == ([1, 3], [[2], [0]])
    receiver, sharer = caches()
    heard = fuser(receiver, sharer)
    for layer, matters in ((0, True), (1, False), (2, True)):
        other = sharer.clone()
        other[:, layer] += 1
        changed = fuser(receiver, other)
        assert torch.equal(changed, heard) is not matters


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"layers": "2, 4"}, "fuser.layers must be of the receiver's 0 to 3. Got '2, 4'"),
        (
            {"layer_count": 5},
            "fuser.layer_count must be at most 4, as many as the receiver has. Got 5",
        ),
        ({"layers": "2:3"}, "must be fed by the sharer's 0 to 2. Got '2:3'"),
    ],
)
def test_layers_that_the_pair_does_not_have(fields, told):
    with pytest.raises(ConfigError) as error:
        Fuser(FuserConfig(**fields), RECEIVER, SHARER)
    assert told in str(error.value)


def test_older_trials_keep_their_content_and_hash():
    for fields, content_hash in (
        ({}, "84ea5d659c86c6ba"),
        ({"layer_choice": "attention", "layer_share": 0.5}, "1050448114272166"),
    ):
        config = FuserConfig.model_validate_json(json.dumps(fields), strict=True)
        content = config.model_dump(mode="json", by_alias=True)
        assert content == config.model_dump(mode="json")
        assert content["layer_choice"] == fields.get("layer_choice", "last")
        assert canonical_hash(content) == content_hash
        assert FuserConfig.model_validate(content) == config


def test_a_fuser_of_few_layers_looks_at_few():
    """What is brought to scale is what is fused, and no layer beside it."""
    seen = []
    fuser = calibrated(FuserConfig(layer_count=1, width=8))
    fuser.sharer_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    fuser(*caches())
    assert seen == [1]
    untouched = fuser.sharer_norm.mean[:, :2]
    assert torch.equal(untouched, torch.zeros_like(untouched))
    assert fuser.sharer_norm.mean[:, 2].abs().min() > 0
