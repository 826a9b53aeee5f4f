"""Text relay: what the sharer is asked, what it writes, and what the receiver reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from c2c_search.evaluation.systems import relay
from c2c_search.evaluation.systems.prompts import QuestionPrompts


@pytest.fixture
def asked(monkeypatch):
    """What each model was given to read, in the order it was."""
    conversations = []

    def spy(model, messages):
        conversations.append(list(messages))
        return encode(model, messages)

    encode = relay.encode_alone
    monkeypatch.setattr(relay, "encode_alone", spy)
    return conversations


def test_the_sharer_is_asked_in_the_papers_words(pair, questions, asked):
    relay.Relay("text_relay", pair, relay.BACKGROUND).choose(QuestionPrompts(pair, questions))
    (first, *_), _ = asked
    assert first == [
        {
            "role": "user",
            "content": "In one clear sentence, describe the most essential background knowledge "
            "needed to answer the question: Which colour has the sky on a very clear day? Do NOT "
            "directly solve or give answer to the question.",
        }
    ]


def test_the_receiver_reads_it_before_the_question_and_the_rest_as_it_was(pair, questions, asked):
    system = {"role": "system", "content": "Be brief."}
    question = replace(questions[2], messages=(system, *questions[2].messages))
    each = relay.Relay("text_relay", pair, relay.BACKGROUND, max_new_tokens=6)
    each.choose(QuestionPrompts(pair, [question]))
    _, ((first, last),) = asked
    assert first == system
    assert last == {"role": "user", "content": f"Background: {each.heard['two']}\n\nOne and one?"}


def test_only_the_sharer_reads_its_context(pair, questions, asked):
    context = ({"role": "user", "content": "Blood is red. Colour of {blood}?"},)
    question = replace(questions[1], sharer_messages=context)
    relay.Relay("text_relay_answer", pair, relay.ADVICE).choose(QuestionPrompts(pair, [question]))
    ((heard,),), ((told,),) = asked
    assert "Blood is red. Colour of {blood}?" in heard["content"]
    assert "Blood is red." not in told["content"]
    assert told["content"].endswith("Colour of blood?")


def test_a_plain_relay_is_one_line_and_no_longer_than_allowed(pair, questions):
    each = relay.Relay("text_relay", pair, relay.BACKGROUND, max_new_tokens=6)
    each.choose(QuestionPrompts(pair, questions))
    assert set(each.heard) == {"long", "red", "two", "six"}
    # The tiny tokenizer has a token for every byte.
    assert all(len(text) <= 6 and "\n" not in text for text in each.heard.values())


def test_braces_in_what_was_written_are_nothing_special(pair, questions, monkeypatch, asked):
    each = relay.Relay("text_relay", pair, relay.BACKGROUND)
    monkeypatch.setattr(
        type(pair),
        "write",
        lambda self, batch, **_: [("{question} {0}", 0.0)] * len(batch.lengths),
    )
    each.choose(QuestionPrompts(pair, questions[2:3]))
    _, ((told,),) = asked
    assert told["content"] == "Background: {question} {0}\n\nOne and one?"
