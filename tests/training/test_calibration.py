"""A fuser is shown a few prompts, some at a time, and finds what it would find in all at once."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.fuser import Fuser
from c2c_search.training import calibration


KINDS = {
    "plain": {},
    "unrotated": {"keys": "unrotated"},
    "by similarity": {"layer_alignment": "similarity"},
    "by attention": {"layers": "attention", "layer_share": 0.4},
    "ridge": {"projector": "ridge", "injection": "replace"},
    "appended": {"projector": "ridge", "injection": "append"},
    "side": {"projector": "ridge", "injection": "side", "keys": "unrotated"},
    "side, of rotated keys": {"projector": "linear", "initialisation": "ridge",
                              "injection": "side", "layer_choice": "attention",
                              "layer_share": 0.4},
    "hidden by similarity": {"source": "hidden", "layer_alignment": "similarity"},
    "hidden by attention": {"source": "hidden", "layer_choice": "attention", "layer_share": 0.4},
    "hidden, ridge": {"source": "hidden", "projector": "ridge", "injection": "replace"},
    "pooled": {"projector": "ridge", "injection": "append", "slots": 3},
    "started by ridge": {"projector": "linear", "initialisation": "ridge", "rank": 3,
                         "injection": "replace", "keys": "unrotated"},
    "joint": {"projector": "joint", "initialisation": "ridge", "injection": "replace"},
    "weighed": {"projector": "linear", "initialisation": "ridge", "rank": 3,
                "injection": "replace", "ridge_weighting": "attention"},
}  # fmt: skip


def prompts_of(model, count: int = 30):
    texts = [f"{number} and " * (1 + number % 4) for number in range(count)]
    return model.prompts([[{"role": "user", "content": text}] for text in texts])


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS.keys())
def test_what_is_found_does_not_depend_on_how_much_is_in_memory(make_pair, fields, monkeypatch):
    model = make_pair(normalisation="calibrated", **fields)
    prompts = prompts_of(model)
    found = []
    for tokens in (1, 40, 10**6):
        monkeypatch.setattr(calibration, "_TOKENS", tokens)
        torch.manual_seed(0)
        shapes = model.fuser.receiver_shape, model.fuser.sharer_shape
        model.fuser = Fuser(model.fuser.config, *shapes)
        calibration.calibrate(model, prompts, seed=1)
        found.append((model.fuser.layers, model.fuser.state_dict()))
    (layers, whole), others = found[-1], found[:-1]
    for its_layers, state in others:
        assert its_layers == layers
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-3, msg=name)


def test_no_more_than_a_few_tokens_are_read_at_once(make_pair, monkeypatch):
    model = make_pair(normalisation="calibrated")
    prompts = prompts_of(model)
    longest = max(len(prompt.receiver_ids) for prompt in prompts.encoded)
    monkeypatch.setattr(calibration, "_TOKENS", longest)
    seen = []

    def calibrate(parts, *, layer_scores=None):
        seen.extend(part.receiver.shape[2] for part in parts())

    monkeypatch.setattr(model.fuser, "calibrate", calibrate)
    calibration.calibrate(model, prompts, seed=0)
    assert max(seen) < longest
    assert sum(seen) == sum(len(prompt.receiver_ids) - 1 for prompt in prompts.encoded)


def test_one_prompt_cannot_choose_layers(make_pair):
    model = make_pair(**KINDS["by attention"])
    with pytest.raises(ConfigError, match="at least two training examples"):
        calibration.calibrate(model, prompts_of(model, 1), seed=0)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("keys", ["rotated", "unrotated"])
def test_a_side_memory_is_fitted_to_the_receivers_keys_before_rope_and_norm(
    make_pair, tiny_model, family, keys
):
    # The receiver is its own sharer, so that a map can be exact.
    receiver = tiny_model(family, layers=3, heads=2, head_dim=8, seed=1)
    with torch.no_grad():
        for layer in receiver.model.model.layers if family == "qwen3" else []:
            layer.self_attn.k_norm.weight.mul_(torch.linspace(0.2, 3, 8))
    model = make_pair(
        receiver=receiver,
        sharer=receiver,
        normalisation="calibrated",
        projector="ridge",
        injection="side",
        keys=keys,
        ridge_penalty=1e-6,
        trained=False,
    )
    prompts = prompts_of(model)
    calibration.calibrate(model, prompts, seed=0)
    batch = model.batch(prompts, range(4))
    (memory,) = model.fuse(batch).memories
    places = torch.cat([torch.arange(len(each)) for each in batch.sharer_positions])
    cache = prompts.receiver.packed(range(4), list(batch.sharer_positions))
    unrotated = model.rotaries.receiver.at(places).undo(cache[0])
    off = [
        float((found - own).norm() / own.norm())
        for found, own in zip(memory.packed, (unrotated, cache[1]), strict=True)
    ]
    assert off[1] < 0.05
    # What has been turned by each token's place is not a linear map of what has not.
    assert off[0] < 0.05 if keys == "unrotated" else off[0] > 0.05
