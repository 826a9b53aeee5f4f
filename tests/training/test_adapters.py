"""An adapter on the disk: as peft reads it, and the same receiver again with it."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from c2c_search.errors import IntegrityError
from c2c_search.models.loading import load
from c2c_search.training import adapters
from c2c_search.training.adapters import load_adapted
from c2c_search.training.lora_training import Adapter
from c2c_search.training.lora_training import attached


def disturb(adapted):
    """Let an adapter say something: LoRA begins with zeros."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in Adapter(adapted).parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def plain_logits(model, prompt, response):
    ids = torch.tensor([[*prompt, *response]])
    return model(input_ids=ids).logits[0, len(prompt) - 1 : -1]


def test_loaded_adapter_answers_as_the_trained_one(tiny_model, tmp_path):
    receiver = tiny_model()
    prompt, response = list(range(12)), [1, 2, 3]
    before = plain_logits(receiver.model, prompt, response)
    with attached(receiver.model, 2) as adapted:
        disturb(adapted)
        adapters.save(adapted, receiver.identity.source, tmp_path)
        expected = plain_logits(receiver.model, prompt, response)
    loaded = load_adapted(receiver, tmp_path)
    found = plain_logits(loaded.model, prompt, response)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, before, atol=1e-2)
    assert torch.equal(plain_logits(receiver.model, prompt, response), before)


def test_in_bfloat16_the_adapter_keeps_its_digits(tiny_model, tmp_path):
    loaded = tiny_model()
    receiver = replace(loaded, model=copy.deepcopy(loaded.model).to(torch.bfloat16))
    prompt, response = list(range(12)), [1, 2, 3]
    with attached(receiver.model, 2) as adapted:
        assert {each.dtype for each in Adapter(adapted).parameters()} == {torch.float32}
        disturb(adapted)
        adapters.save(adapted, receiver.identity.source, tmp_path)
        expected = plain_logits(receiver.model, prompt, response)
    again = load_adapted(receiver, tmp_path)
    # Merged into bfloat16 weights, the update would be rounded.
    assert torch.equal(plain_logits(again.model, prompt, response), expected)
    assert not any(parameter.requires_grad for parameter in again.model.parameters())


def test_loaded_adapter_is_another_model(tiny_model, tmp_path):
    receiver = tiny_model()
    identities = [receiver.identity]
    for name in ("one", "two"):
        with attached(receiver.model, 1) as adapted:
            disturb(adapted)
            if name == "two":
                disturb(adapted)
            adapters.save(adapted, receiver.identity.source, tmp_path / name)
        identities.append(load_adapted(receiver, tmp_path / name).identity)
    assert len({identity.weights_sha256 for identity in identities}) == 3
    assert len({identity.source for identity in identities}) == 3
    assert load_adapted(receiver, tmp_path / "one").identity == identities[1]


def test_adapter_loads_by_the_receivers_source(tiny_pair, tmp_path):
    receiver = load(tiny_pair.receiver, cache_dir=tmp_path / "cache")
    with attached(receiver.model, 1) as adapted:
        disturb(adapted)
        adapters.save(adapted, receiver.identity.source, tmp_path / "adapter")
    by_source = load_adapted(tiny_pair.receiver, tmp_path / "adapter", tmp_path / "cache")
    by_model = load_adapted(receiver, tmp_path / "adapter")
    assert by_source.identity == by_model.identity
    one, other = by_source.model.state_dict(), by_model.model.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_half_an_adapter_is_refused(tiny_model, tmp_path, missing):
    receiver = tiny_model()
    with attached(receiver.model, 1) as adapted:
        adapters.save(adapted, receiver.identity.source, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(IntegrityError, match=missing):
        load_adapted(receiver, tmp_path)
