"""What controls make of anchors: each says what its message says, in words too."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about


SIDE = {"injection": "side", "projector": "linear", "initialisation": "random"}
FIELDS = {**SIDE, "anchors": "first", "anchor_tokens": 9}


@pytest.fixture
def told(questions):
    """Questions to which only the sharer has read a fact."""
    facts = ("It is blue.", "Red as wine, they say.", "Three!", "It is six, or 6.")
    return tuple(
        replace(one, sharer_messages=tuple(asked(asked_about(fact, one.messages[-1]["content"]))))
        for one, fact in zip(questions, facts, strict=True)
    )


@pytest.fixture
def answering(pair, make_fuser, told):
    """``answering(name, **fields)``: a system of the fuser, and the passes over its questions."""

    def made(name, **fields):
        system = SYSTEMS[name].build(Materials(pair, make_fuser(**{**FIELDS, **fields})))
        return system, QuestionPrompts(pair, told)

    return made


def words(system, prompts):
    """What stands in front of each question, by item."""
    found = {}
    for each in system.passes(prompts):
        decode = each.model.receiver.text_tokenizer.decode
        for row, ids, (start, stop) in zip(
            each.rows, each.batch.receiver_ids, each.batch.anchored, strict=True
        ):
            found[prompts.questions[row].item.id] = decode(list(ids[start:stop]))
    return found


OWN = {"long": "It is blu\n", "red": "Red as wi\n", "two": "Three!\n", "six": "It is six\n"}


@pytest.mark.parametrize("name", ["c2c", "random", "anchors"])
def test_what_hears_its_own_message_reads_its_own_words(name, answering):
    assert words(*answering(name)) == OWN


def test_a_deranged_message_brings_its_own_words(answering):
    system, prompts = answering("deranged")
    found = words(system.each[0], prompts)
    assert sorted(found.values()) == sorted(OWN.values())
    assert all(found[name] != OWN[name] for name in OWN)
    (alone,) = system.choose(QuestionPrompts(prompts.pair, prompts.questions[:1], whole=prompts))
    assert alone.likelihoods == pytest.approx(system.choose(prompts)[0].likelihoods, abs=1e-3)


@pytest.mark.parametrize("name", ["zeroed", "shut"])
def test_a_message_that_says_nothing_has_no_words(name, answering):
    assert set(words(*answering(name)).values()) == {""}


def test_noise_has_as_many_tokens_and_the_same_in_any_batch(answering, told):
    system, prompts = answering("noise")
    found, (own, same) = words(system, prompts), answering("c2c")
    counts = [
        {one: each.batch.anchored for each in system.passes(asked) for one in each.rows}
        for system, asked in ((system, prompts), (own, same))
    ]
    assert counts[0] == counts[1]
    assert not set(found.values()) & set(OWN.values())
    one_by_one = QuestionPrompts(prompts.pair, told, batch_size=1)
    assert words(system, one_by_one) == found


def test_shut_is_the_receiver_alone_and_anchors_the_receiver_that_reads_them(
    answering, pair, told
):
    for fields in ({}, {"injection": "append"}, {"reads_from": "all"}, {"lora_rank": 2}):
        shut, prompts = answering("shut", **fields)
        alone = SYSTEMS["receiver"].build(Materials(pair))
        assert shut.choose(prompts) == alone.choose(prompts)
        reads, _ = answering("anchors", **fields)
        texts = [
            f"{OWN[one.item.id]}Question: {one.messages[-1]['content']}\nAnswer:" for one in told
        ]
        for found, text, question in zip(reads.choose(prompts), texts, told, strict=True):
            plain = [likelihood(pair.receiver, text, option) for option in question.options]
            assert found.likelihoods == pytest.approx(plain, abs=1e-3)


def likelihood(loaded, text, option):
    """Of an option behind a text, in one plain pass."""
    ids = loaded.text_tokenizer(text, add_special_tokens=False)["input_ids"]
    said = loaded.text_tokenizer(f" {option}", add_special_tokens=False)["input_ids"]
    logits = loaded.model(input_ids=torch.tensor([[*ids, *said]])).logits[0, len(ids) - 1 : -1]
    return float(logits.log_softmax(dim=-1).gather(1, torch.tensor(said)[:, None]).sum())


def test_anchors_of_a_fuser_without_any_are_the_receiver_alone(answering, pair):
    system, prompts = answering("anchors", anchors="none", anchor_tokens=32)
    alone = SYSTEMS["receiver"].build(Materials(pair))
    for mine, own in zip(system.choose(prompts), alone.choose(prompts), strict=True):
        assert mine.likelihoods == pytest.approx(own.likelihoods, abs=1e-4)


def test_who_is_its_own_sharer_says_no_word_of_a_document(answering):
    system, prompts = answering("c2c", sharer="self")
    assert set(words(system, prompts).values()) == {""}
