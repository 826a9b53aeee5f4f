"""Few-shot prompts, and the oracle that keeps the question's part of their cache."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems.exemplars import Oracle
from c2c_search.evaluation.systems.exemplars import kept_tokens
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache.prefill import prefill
from c2c_search.testing.systems import make_materials
from c2c_search.tokenization.templates import render


# With a system turn of its own, as some chat templates have.
CHAT = (
    "<s>Be kind.</s>{% for message in messages %}<{{ message.role }}>{{ message.content }}</s>"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def ask(text, *system):
    messages = (*system, {"role": "user", "content": text})
    return Question(Item("one", "g", "c", messages), messages)


def shown(question, answer):
    return {"role": "user", "content": question}, {"role": "assistant", "content": answer}


@pytest.fixture(params=["plain", "chat"])
def reader(request, pair, tiny_tokenizer):
    """The receiver alone, under each template."""
    from dataclasses import replace

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = CHAT
    receiver = replace(pair.receiver, tokenizer=tokenizer)
    return C2CModel(receiver, receiver, None, template=request.param, cache_dtype=torch.float32)


def texts(model, messages, kept):
    decode = model.receiver.tokenizer.decode
    alone = render(messages, model.receiver_template, model.receiver.tokenizer).text
    return decode(kept.receiver_ids), alone


def test_the_oracle_keeps_the_caches_of_the_question_where_they_were_read(pair):
    question = ask("One and one?")
    prompts = QuestionPrompts(pair, [question])
    (only,) = Oracle("oracle", pair, make_materials(SYSTEMS["oracle"], pair).exemplars).passes(
        prompts
    )
    fused = only.model.fuse(only.batch)
    tokenizer, model = pair.receiver.tokenizer, pair.receiver.model
    before = "Question: Colour of grass?\nAnswer: green\nQuestion: Two and two?\nAnswer: four\n"
    own = "Question: One and one?\nAnswer:"
    ids = tokenizer(before + own)["input_ids"]
    ((_, (cache,)),) = prefill(model, [ids])
    # One token a character; the last one is fed again.
    first, last = len(before), len(before + own) - 1
    expected = cache[first:last].permute(1, 2, 0, 3)
    assert fused.lengths == (len(own) - 1,)
    assert fused.positions[0].tolist() == list(range(first, last))
    assert fused.next_positions == (last,)
    assert only.batch.last_ids == (ids[-1],)
    torch.testing.assert_close(fused.packed, expected, atol=1e-5, rtol=1e-5)


def test_the_oracle_is_few_shot_for_a_receiver_that_may_look_back(pair, build, questions):
    prompts = QuestionPrompts(pair, questions)
    oracle, few_shot, alone = (
        build(name).choose(prompts) for name in ("oracle", "few_shot", "receiver")
    )
    assert oracle != few_shot
    assert oracle != alone


def test_what_the_system_says_is_kept_and_stays_in_front(reader):
    system = {"role": "system", "content": "Answer in one word."}
    question = ask("One and one?", system)
    (kept,) = kept_tokens(reader, [question], [shown("Colour of grass?", "green")])
    ours, alone = texts(reader, question.messages, kept)
    assert ours == alone
    said = len(alone.split("Answer in one word.")[0]) + len("Answer in one word.")
    assert kept.alignment[:said] == tuple(range(said))


def test_an_answer_that_ends_as_the_system_turn_is_forgotten(reader):
    (kept,) = kept_tokens(reader, [ask("And you?")], [shown("How am I?", "You are kind.")])
    ours, alone = texts(reader, ask("And you?").messages, kept)
    assert ours == alone
    whole = reader.receiver.tokenizer.decode(kept.sharer_ids)
    forgotten = set(range(len(whole))) - set(kept.alignment)
    start = whole.index("You are kind.")
    assert set(range(start, start + len("You are kind."))) <= forgotten


words = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=12).map(
    lambda text: f"x{text}x"
)


@settings(max_examples=30, deadline=None)
@given(
    template=st.sampled_from(["plain", "chat"]),
    question=words,
    exemplars=st.lists(st.tuples(words, words), min_size=1, max_size=3),
)
def test_what_is_kept_reads_as_the_prompt_without_exemplars(
    tiny_tokenizer, template, question, exemplars
):
    class Reader:
        receiver = type("Loaded", (), {})

    tokenizer = copy.copy(tiny_tokenizer)
    tokenizer.chat_template = CHAT
    Reader.receiver_template, Reader.receiver.text_tokenizer = template, tokenizer
    Reader.date = None
    Reader.receiver.tokenizer = tokenizer
    (kept,) = kept_tokens(Reader, [ask(question)], [shown(*turns) for turns in exemplars])
    ours, alone = texts(Reader, ask(question).messages, kept)
    assert ours == alone
    # The question itself is what was read behind the exemplars.
    end = len(kept.sharer_ids)
    tail = len(question) + len(alone) - alone.rindex(question) - len(question)
    assert kept.alignment[-tail:] == tuple(range(end - tail, end))
