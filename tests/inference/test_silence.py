"""A fuser that has learned of contexts alone: without one, its receiver answers alone."""

from __future__ import annotations

import pytest
import torch

from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.message_effect import message_effect
from c2c_search.inference.model import model_alone
from c2c_search.testing.systems import make_fuser
from c2c_search.testing.systems import make_pair
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about


QUESTIONS = ["Which colour has a plum?", "One and one?", "The sea?"]
OPTIONS = [["red", "dark red"], ["two", "three", "a"], ["grey", "blue"]]
CONTEXT = asked_about("Plums are dark red.", QUESTIONS[0])
FUSERS = {
    "append": {"injection": "append"},
    "append, slots": {"injection": "append", "slots": 2},
    "append, refresh": {"injection": "append", "refresh": 2},
    "side": {"injection": "side"},
    "side, slots": {"injection": "side", "slots": 2},
    "side, all": {"injection": "side", "reads_from": "all"},
    "side, refresh": {"injection": "side", "refresh": 2},
}


@pytest.fixture(params=FUSERS)
def model(request):
    pair = make_pair()
    fuser = make_fuser(pair, projector="linear", initialisation="random", **FUSERS[request.param])
    fuser.contexts_only = True
    pair = type(pair)(pair.receiver, pair.sharer, fuser, cache_dtype=torch.float32)
    return pair


def scores(model, prompts, rows):
    batch = model.batch(prompts, rows)
    return [found for found, _ in model.score(batch, [OPTIONS[row] for row in rows])]


def test_without_a_context_the_receiver_answers_alone(model):
    alone = model_alone(model, model.receiver, "receiver")
    found = zip(model.score(QUESTIONS, OPTIONS), alone.score(QUESTIONS, OPTIONS), strict=True)
    assert all(torch.equal(mine, its) for (mine, _), (its, _) in found)
    assert model.generate(QUESTIONS[0]) == model.receiver_alone(QUESTIONS[0])
    assert model.chat([{"role": "user", "content": "Hello"}]) == alone.generate("Hello")
    ids = model.inputs(QUESTIONS[0])
    assert torch.equal(model(**ids).logits, alone(**alone.inputs(QUESTIONS[0])).logits)


def test_side_by_side_each_prompt_hears_its_own_sharer(model):
    """A batch of which some have a context: each as it is by itself."""
    one = [asked(QUESTIONS[0])]
    heard = model.prompts(one, [asked(CONTEXT)])
    others = model.prompts([asked(question) for question in QUESTIONS[1:]])
    mixed = heard.followed_by(others)
    by_itself = [
        *scores(model, heard, [0]),
        *(found for found, _ in model.score(QUESTIONS[1:], OPTIONS[1:])),
    ]
    for mine, its in zip(scores(model, mixed, [0, 1, 2]), by_itself, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-5)
    said = model.score([QUESTIONS[0]], [OPTIONS[0]], sharer_contexts=[CONTEXT])[0][0]
    assert torch.equal(said, by_itself[0])
    assert not torch.equal(said, model.score(QUESTIONS[0], OPTIONS[0])[0])


def test_who_hears_a_partners_context_hears_it(model):
    prompts = model.prompts([asked(QUESTIONS[0])], [asked(CONTEXT)])
    prompts = prompts.followed_by(model.prompts([asked(QUESTIONS[1])]))
    deranged = model.batch(prompts, [0, 1], [1, 0])
    assert [len(each) > 0 for each in deranged.sharer_positions] == [False, True]


def test_nothing_is_shown_where_nothing_is_said(model):
    if model.fuser.config.refresh is not None:
        return
    prompts = model.prompts([asked(QUESTIONS[0])])
    batch = model.batch(prompts)
    assert message_effect(model, prompts, 0, batch, model.fused_cache(batch)) is None


@pytest.mark.parametrize("injection", ["append", "side"])
def test_the_receivers_own_generate_reads_none_beside_some(injection):
    pair = make_pair()
    fuser = make_fuser(pair, projector="linear", initialisation="random", injection=injection)
    fuser.contexts_only = True
    model = type(pair)(pair.receiver, pair.sharer, fuser, cache_dtype=torch.float32)
    contexts = [CONTEXT, QUESTIONS[1]]
    fused = model.fuse(QUESTIONS[:2], sharer_contexts=contexts)
    options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    with fused.active():
        together = pair.receiver.model.generate(**fused, **options)[:, -4:]
    for row, context in enumerate(contexts):
        one = model.fuse(QUESTIONS[row], sharer_contexts=context)
        with one.active():
            by_itself = pair.receiver.model.generate(**one, **options)[:, -4:]
        assert torch.equal(together[row : row + 1], by_itself)


@pytest.mark.parametrize(
    "fields",
    [{"injection": "replace"}, {"sharer": "self"}, {"lora_rank": 2}, {"anchors": "first"}],
)
def test_a_fuser_that_changes_its_receiver_anyway_cannot_be_silent(fields):
    fields = {"projector": "linear", "injection": "side", **fields}
    assert not FuserConfig(**fields).can_be_silent


def test_another_fuser_speaks_of_questions_by_themselves(model):
    prompts = model.prompts([asked(QUESTIONS[0])])
    assert not model.batch(prompts).sharer.shape[2]
    model.fuser.contexts_only = False
    assert model.batch(prompts).sharer.shape[2] == len(prompts.encoded[0].sharer_ids)
