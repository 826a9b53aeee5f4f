"""Questions whose sharer drafts: who drafts what, whose draft is heard, and what is told of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.errors import NotFiniteError
from c2c_search.evaluation.scoring import choose_options
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.fuser.config import FuserConfig
from c2c_search.inference.drafting import Drafter
from c2c_search.inference.drafting import drafter_of
from c2c_search.prompt_cache.caches import PromptCaches


DRAFT = {"injection": "append", "message": "draft", "draft_tokens": 8}
KINDS = {
    "draft": DRAFT,
    "both": DRAFT | {"message": "both"},
    "unrotated": DRAFT | {"keys": "unrotated"},
    "first": DRAFT | {"token_alignment": "first"},
}


def config(**fields):
    return FuserConfig(**{"width": 8, **DRAFT, **fields})


def given(question, draft):
    return replace(question, item=replace(question.item, draft=draft))


@pytest.mark.parametrize("fields", KINDS.values(), ids=KINDS)
def test_it_answers_as_the_model_that_drafts_on_the_spot(fields, pair, make_fuser, questions):
    system = SYSTEMS["c2c"].build(Materials(pair, make_fuser(**fields)))
    prompts = QuestionPrompts(pair, questions)
    found, model = system.choose(prompts), system.model
    for question, mine in zip(questions, found, strict=True):
        batch = model.batch(model.prompts([question.messages]))
        ((scores, _),) = model.score(batch, [question.options])
        assert mine.likelihoods == pytest.approx(scores.tolist(), abs=1e-4)


def test_drafts_are_recorded_with_the_answers(pair, make_fuser, questions):
    system = SYSTEMS["c2c"].build(Materials(pair, make_fuser(**DRAFT)))
    prompts = QuestionPrompts(pair, questions)
    items = choose_options(system, prompts, length_normalised=True)
    drafter = drafter_of(system.model)
    read = prompts.read(system.model.fuser.config)
    assert [item.heard for item in items] == [drafter.text(one) for one in read.encoded]


@pytest.mark.parametrize("control", ["zeroed", "noise"])
def test_what_is_replaced_is_the_draft_and_told_of_nobody(control, pair, make_fuser, questions):
    materials = Materials(pair, make_fuser(**DRAFT))
    prompts = QuestionPrompts(pair, questions, batch_size=1)
    system, real = (SYSTEMS[name].build(materials) for name in (control, "c2c"))
    for mine, theirs in zip(system.passes(prompts), real.passes(prompts), strict=True):
        assert mine.batch.sharer.shape == theirs.batch.sharer.shape
        assert not torch.equal(mine.batch.sharer, theirs.batch.sharer)
    assert not any(item.heard for item in choose_options(system, prompts, length_normalised=True))


def test_a_shut_gate_is_the_receiver_alone_bit_for_bit(pair, make_fuser, questions):
    materials = Materials(pair=pair, fuser=make_fuser(**DRAFT))
    prompts = QuestionPrompts(pair, questions)
    shut, alone, fused = (SYSTEMS[name].build(materials) for name in ("shut", "receiver", "c2c"))
    assert shut.choose(prompts) == alone.choose(prompts)
    decoding = Decoding(max_new_tokens=4)
    assert shut.write(prompts, decoding) == alone.write(prompts, decoding)
    assert fused.choose(prompts) != alone.choose(prompts)


def test_a_given_draft_takes_the_place_of_the_sharers(pair, questions):
    drafted = []

    def drafts(drafter, ids, caches):
        drafted.append(len(ids))
        return drafter.drafts(ids, caches)

    mixed = (given(questions[0], "wet"), *questions[1:])
    prompts = QuestionPrompts(pair, mixed, drafts=drafts)
    (first, *rest) = prompts.read(config()).encoded
    assert pair.sharer.tokenizer.decode(list(first.draft)) == " wet\n"
    own = QuestionPrompts(pair, questions).read(config()).encoded
    assert [one.draft for one in rest] == [one.draft for one in own[1:]]
    assert drafted == [len(questions) - 1]
    everywhere = QuestionPrompts(pair, [given(one, "wet") for one in questions], drafts=drafts)
    assert {one.draft for one in everywhere.read(config()).encoded} == {first.draft}
    assert drafted == [len(questions) - 1]


def test_a_part_of_a_split_has_the_drafts_of_the_whole(pair, questions):
    asked = []

    def drafts(drafter, ids, caches):
        asked.append(len(ids))
        return drafter.drafts(ids, caches)

    whole = QuestionPrompts(pair, questions, drafts=drafts)
    parts = [QuestionPrompts(pair, [one], whole=whole) for one in questions]
    for fields in ({}, {"message": "both"}, {"keys": "unrotated"}):
        for row, part in enumerate(parts):
            mine = part.read(config(**fields)).encoded
            assert mine == whole.read(config(**fields)).encoded[row : row + 1]
    assert asked == [len(questions)]  # whatever is sent of them
    whole.read(config(draft_tokens=4))
    assert asked == [len(questions)] * 2


def test_partners_are_drawn_by_the_length_of_their_message(pair, questions, monkeypatch):
    lengths = []
    monkeypatch.setattr(
        "c2c_search.evaluation.systems.prompts.draw_partners",
        lambda facts, of, count: lengths.append(of) or [[1, 0, 3, 2]] * count,
    )
    prompts = QuestionPrompts(pair, questions)
    for message in ("prompt", "draft", "both"):
        fields = {"draft_tokens": 32} if message == "prompt" else {}
        prompts.derangement(0, config(message=message, **fields))
    plain, drafted, both = lengths
    assert plain == [len(one.sharer_ids) for one in prompts.encoded()]
    assert drafted == [one.drafted for one in prompts.read(config()).encoded]
    assert both == [ours + theirs for ours, theirs in zip(plain, drafted, strict=True)]


def test_a_deranged_question_hears_anothers_draft_also_from_elsewhere(pair, make_fuser, questions):
    fuser = make_fuser(**DRAFT)
    whole = QuestionPrompts(pair, questions)
    all_at_once = SYSTEMS["deranged"].build(Materials(pair, fuser)).choose(whole)
    for row, question in enumerate(questions):
        part = QuestionPrompts(pair, [question], whole=whole)
        (alone,) = SYSTEMS["deranged"].build(Materials(pair, fuser)).choose(part)
        assert alone.likelihoods == pytest.approx(all_at_once[row].likelihoods, abs=1e-4)
    read, partners = whole.read_deranged(fuser.config)
    assert sorted(partners) == list(range(len(questions)))
    assert read.encoded == whole.read(fuser.config).encoded


def test_a_receiver_that_is_its_own_sharer_drafts_for_itself(pair, questions):
    asked = []

    def drafts(drafter, ids, caches):
        asked.append(drafter.loaded)
        return drafter.drafts(ids, caches)

    private = [replace(questions[0], sharer_messages=({"role": "user", "content": "Secret"},))]
    prompts = QuestionPrompts(pair, [*private, *questions[1:]], drafts=drafts)
    read = prompts.read(config(sharer="self"))
    assert asked == [pair.receiver]
    for prompt in read.encoded:
        assert prompt.sharer_ids[: -prompt.drafted] == prompt.receiver_ids
        assert prompt.alignment == tuple(range(len(prompt.receiver_ids)))
    length = len(read.encoded[0].sharer_ids)
    packed = read.sharer.packed([0], [torch.arange(length)])
    ids = [read.encoded[0].sharer_ids]
    own = PromptCaches.compute(pair.receiver.model, ids, pair.cache_dtype)
    assert torch.allclose(packed, own.packed([0], [torch.arange(length)]), atol=1e-2)


def test_the_caches_that_are_there_are_drafted_from(pair, questions):
    def drafts(drafter, ids, caches):
        assert caches is known
        return drafter.drafts(ids, caches)

    prompts = QuestionPrompts(pair, questions, drafts=drafts)
    known = prompts.read().sharer
    prompts.read(config())


def test_a_sharer_whose_draft_is_no_number_is_named(pair, questions, monkeypatch):
    def broken(*_, **__):
        raise FloatingPointError

    monkeypatch.setattr("c2c_search.inference.drafting.greedy", broken)
    with pytest.raises(NotFiniteError, match="of its drafts"):
        QuestionPrompts(pair, questions, drafts=Drafter.drafts).read(config())
