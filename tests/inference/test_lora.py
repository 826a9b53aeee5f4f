"""A fuser's LoRA on the receiver: there while it reads on a fused cache, gone without a trace."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.lora import Lora
from c2c_search.inference.lora import Adaptation
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.inference.scoring import response_logits
from c2c_search.models.attention_maps import adaptable_shape
from c2c_search.models.attention_maps import attention_maps
from tests.architectures import ARCHITECTURES
from tests.architectures import packed_prompts


PROMPTS = [[5, 9, 12, 7, 30, 8, 11, 40, 41], [13, 4], [6, 12, 8, 11, 90]]
RESPONSES = [[[7, 7, 12]], [[11], [5, 6]], [[8, 9, 10, 11, 31], [8, 13], [12]]]
CONVERSATIONS = [[{"role": "user", "content": text}] for text in ("one two", "three")]
OPTIONS = [["a", "bc"], ["d", "e", "fgh"]]


def scores(model):
    batch = model.batch(model.prompts(CONVERSATIONS))
    return torch.cat([score for score, _ in model.score(batch, OPTIONS)])


def written(model):
    return model.write(model.batch(model.prompts(CONVERSATIONS)), max_new_tokens=4)


def hooks(model):
    return [module for module in model.receiver.model.modules() if module._forward_hooks]


def without_lora(model):
    """The same fuser, whose LoRA is left out."""
    other = C2CModel(model.receiver, model.sharer, model.fuser, cache_dtype=torch.float32)
    other.adaptation = None
    return other


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_what_updated_weights_would_compute(name):
    model = ARCHITECTURES[name]()
    shape = adaptable_shape(model)
    torch.manual_seed(0)
    lora = Lora(3, shape.layers, shape.projections)
    with torch.no_grad():
        for parameter in lora.parameters():
            parameter.normal_(0, 0.3)
    fused, last = packed_prompts(model, PROMPTS)
    plain = response_logits(model, fused, last, RESPONSES)
    adapted = replace(fused, adaptation=Adaptation(lora, model))
    logits = response_logits(model, adapted, last, RESPONSES)

    merged = copy.deepcopy(model)
    maps = attention_maps(merged)
    for role, updates in lora.updates().items():
        for module, update in zip(maps[role], updates, strict=True):
            change = (update.down @ update.up).detach()
            module.weight.add_(change.T if isinstance(module, torch.nn.Linear) else change)
    expected = response_logits(merged, fused, last, RESPONSES)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert (logits - plain).abs().max() > 0.1
    assert torch.equal(response_logits(model, fused, last, RESPONSES), plain)


@pytest.mark.parametrize("fields", [{}, {"injection": "append"}, {"fuse_response": True}], ids=str)
def test_untrained_it_changes_no_bit(make_pair, fields):
    plain, adapted = (make_pair(trained=False, lora_rank=rank, **fields) for rank in (0, 2))
    assert adapted.adaptation is not None
    assert torch.equal(scores(adapted), scores(plain))


@pytest.mark.parametrize("fields", [{}, {"injection": "append"}, {"fuse_response": True}], ids=str)
def test_trained_it_shows_in_scores_texts_and_logits(make_pair, fields):
    adapted = make_pair(lora_rank=2, **fields)
    plain = without_lora(adapted)
    assert not torch.allclose(scores(adapted), scores(plain), atol=1e-2)
    sure = [
        torch.tensor([likelihood for _, likelihood in written(model)])
        for model in (adapted, plain)
    ]
    assert not torch.allclose(*sure, atol=1e-2)
    ids = torch.tensor([[1, 2, 3]])
    assert not torch.allclose(adapted(ids, ids).logits, plain(ids, ids).logits, atol=1e-2)


def test_what_is_fused_and_what_the_sharer_reads_are_not_adapted(make_pair, tiny_model):
    # Receiver and sharer are one model, which reads along as a sharer while the receiver answers.
    same = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    adapted = make_pair(receiver=same, sharer=same, fuse_response=True, lora_rank=2)
    apart = C2CModel(
        replace(same, model=copy.deepcopy(same.model)),
        same,
        adapted.fuser,
        cache_dtype=torch.float32,
    )
    assert torch.equal(scores(adapted), scores(apart))
    batch = adapted.batch(adapted.prompts(CONVERSATIONS))
    other = without_lora(adapted)
    assert torch.equal(adapted.fuse(batch).packed, other.fuse(batch).packed)


def test_a_written_answer_is_read_as_it_is_written(make_pair):
    model = make_pair(lora_rank=2)
    prompt, heard = [5, 9, 12, 7], [7, 8, 50, 3]
    ids = torch.tensor([prompt])
    told = model.generate(
        receiver_input_ids=ids, sharer_input_ids=torch.tensor([heard]), max_new_tokens=5
    )
    answer = told[0, 4:].tolist()
    output = model(ids, torch.tensor([heard]))
    following = []
    with model.adaptation.active():  # the receiver alone goes on from the fused cache
        for _ in answer:
            following.append(int(output.logits[0, -1].argmax()))
            output = model.receiver.model(
                torch.tensor([following[-1:]]), past_key_values=output.past_key_values
            )
    assert following == answer


def test_the_receiver_is_as_it_was_afterwards(make_pair):
    model = make_pair(lora_rank=2)
    weights = {name: one.clone() for name, one in model.receiver.model.state_dict().items()}
    alone = model.receiver_alone("one two")
    model.generate("one two")
    assert not hooks(model)
    assert model.receiver_alone("one two") == alone
    after = model.receiver.model.state_dict()
    assert set(after) == set(weights)
    assert all(torch.equal(after[name], one) for name, one in weights.items())


def test_the_receiver_is_as_it_was_after_an_error(make_pair, monkeypatch):
    model = make_pair(lora_rank=2)
    alone = scores(C2CModel(model.receiver, model.sharer, None, cache_dtype=torch.float32))
    with monkeypatch.context() as patch:
        patch.setattr(model.receiver.model.lm_head, "forward", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.generate("one two")
    assert not hooks(model)
    again = C2CModel(model.receiver, model.sharer, None, cache_dtype=torch.float32)
    assert torch.equal(scores(again), alone)


def test_fusers_of_one_receiver_do_not_mix(make_pair, tiny_model):
    receiver = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    models = [make_pair(receiver=receiver, lora_rank=rank) for rank in (2, 3)]
    expected = [scores(model) for model in models]
    mixed = [scores(models[place]) for place in (1, 0, 1, 0)]
    for place, found in zip((1, 0, 1, 0), mixed, strict=True):
        assert torch.equal(found, expected[place])
    assert not torch.allclose(*expected, atol=1e-2)


def test_gradients_reach_both_factors_through_the_response(make_pair):
    model = make_pair(lora_rank=2)
    batch = model.batch(model.prompts(CONVERSATIONS))
    logits = response_logits(
        model.receiver.model, model.fuse(batch), batch.last_ids, [[[5, 6, 7]], [[8]]]
    )
    logits.logsumexp(-1).sum().backward()
    for name, parameter in model.fuser.lora.named_parameters():
        by_layer = parameter.grad.abs().sum(dim=(1, 2))
        assert (by_layer > 0).all(), name
    assert not any(parameter.requires_grad for parameter in model.receiver.model.parameters())


def test_stored_it_gives_the_same_answers(make_pair, tmp_path):
    model = make_pair(lora_rank=2)
    checkpoint.save(model.fuser, tmp_path)
    again = C2CModel(
        model.receiver, model.sharer, checkpoint.load(tmp_path), cache_dtype=torch.float32
    )
    assert torch.equal(scores(again), scores(model))
    assert again.generate("one two") == model.generate("one two")


def test_a_receiver_with_other_maps_is_refused(make_pair, tiny_model):
    model = make_pair(lora_rank=2)
    receiver = model.receiver
    config = copy.deepcopy(receiver.model.config)
    config.num_attention_heads *= 2  # the cache has the same shape
    other = replace(receiver, model=type(receiver.model)(config))
    with pytest.raises(ConfigError, match=r"query 32 to 32.*query 32 to 64"):
        C2CModel(other, model.sharer, model.fuser)


def test_it_is_not_heard_together_with_others(make_pair):
    with pytest.raises(ConfigError, match="lora_rank 2"):
        MultiSharerModel([make_pair(lora_rank=2)])
