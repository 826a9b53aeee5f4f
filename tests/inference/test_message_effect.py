"""The effect of a message is the slope of the receiver's choice by what each token has put."""

from __future__ import annotations

import pytest
import torch

from c2c_search.inference import message_effect as module
from c2c_search.inference.conversations import turns
from c2c_search.inference.message_effect import message_effect
from c2c_search.inference.packed.context import PackedContext
from c2c_search.inference.packed.tokens import TRUNK
from c2c_search.inference.packed.tokens import Tokens


STEP = 1e-2
QUESTION = "What is wet?"


def effect_of(model, question=QUESTION):
    prompts = model.prompts([turns(question)])
    batch = model.batch(prompts)
    with torch.no_grad():
        fused = model.fused_cache(batch)
    return message_effect(model, prompts, 0, batch, fused), prompts, batch, fused


def logits(model, batch, fused):
    context = PackedContext(model.receiver.model, fused)
    token = Tokens(*(torch.tensor([n]) for n in (0, TRUNK, context.next_positions[0])))
    return context.feed(torch.tensor(batch.last_ids), token)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"layer_count": 2},
        {"injection": "append"},
        {"injection": "side", "layer_count": 2},
        {"injection": "side", "reads_from": "all", "message": "draft", "draft_tokens": 4},
        {"refresh": 3, "injection": "append"},
    ],
    ids=str,
)
def test_the_effect_of_a_token_is_the_slope_by_what_it_has_put(make_pair, fields):
    model = make_pair(**fields)
    effect, prompts, batch, fused = effect_of(model)
    best = logits(model, batch, fused).topk(2)
    words = model.receiver.text_tokenizer
    assert [effect.first, effect.second] == [words.decode([each]) for each in best.indices]

    beside = model.fuser.config.stands_beside
    assert effect.of_sharer is beside
    read = prompts.encoded[0]
    said = read.draft or read.sharer_ids
    count = len(said) if beside else len(read.receiver_ids) - 1
    assert len(effect.tokens) == count
    assert effect.effect.shape == (len(model.fuser.layers), count)

    *others, told = fused.said
    layers = range(len(told[0])) if "side" in fields.values() else model.fuser.layers
    for row, token in ((0, 0), (len(layers) - 1, count - 2)):
        margins = []
        for factor in (1 + STEP, 1 - STEP):
            moved = told.clone()
            own = torch.zeros_like(told) if beside else batch.receiver
            kinds = slice(1, 2) if beside else slice(0, 2)  # of what stands beside, the values
            at = (kinds, layers[row], token)
            moved[at] = own[at] + factor * (told[at] - own[at])
            found = logits(model, batch, fused.saying([*others, moved]))[best.indices]
            margins.append(float(found[0] - found[1]))
        slope = (margins[0] - margins[1]) / (2 * STEP)
        assert float(effect.effect[row, token]) == pytest.approx(slope, abs=2e-4, rel=0.02)


def test_pooled_messages_have_slots_and_long_ones_no_effect(make_pair, monkeypatch):
    model = make_pair(injection="append", slots=2)
    assert effect_of(model)[0].tokens == ("slot 1", "slot 2")
    monkeypatch.setattr(module, "LONGEST", 4)
    assert effect_of(model)[0] is None
