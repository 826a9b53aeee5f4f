"""An instructed receiver beside a base sharer: each reads its own template."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import pytest

from c2c_search.errors import ConfigError
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.passes import reads_plain
from c2c_search.inference.documents import check_length
from c2c_search.inference.model import model_alone
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.models.chats import chat_notices
from c2c_search.tokenization.templates import RoleTemplates
from c2c_search.tokenization.templates import any_dated
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import render
from c2c_search.tokenization.templates import template_of


CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"
DATED = "{{ strftime_now('%d') }}" + CHAT
MIXED = RoleTemplates(receiver="chat", sharer="plain")
QUESTION = "What is wet?"


@pytest.fixture
def pair(make_pair, tiny_model):
    loaded = tiny_model("qwen3", layers=3, heads=2, head_dim=8, seed=1)
    tokenizer = copy(loaded.tokenizer)
    tokenizer.chat_template = CHAT
    model = make_pair(receiver=replace(loaded, tokenizer=tokenizer))
    model.template = MIXED
    return model


def test_each_model_reads_its_own(pair):
    (prompt,) = pair.encoded([asked(QUESTION)])
    assert prompt.receiver_text.text == f"<user>{QUESTION}</s><assistant>"
    assert prompt.sharer_text.text == f"Question: {QUESTION}\nAnswer:"
    # The contents stand for each other, letter by letter of the byte tokenizer.
    heard = pair.sharer.text_tokenizer
    aligned = [prompt.sharer_ids[index] for index in prompt.alignment]
    start = len("<user>")
    said = heard.decode(aligned[start : start + len(QUESTION)], skip_special_tokens=True)
    assert said == QUESTION


@pytest.mark.parametrize(("role", "plain"), [("receiver", False), ("sharer", True)])
def test_a_model_alone_reads_as_its_role_does(pair, role, plain):
    loaded = getattr(pair, role)
    alone = model_alone(pair, loaded, role)
    (prompt,) = encode_alone(alone, [asked(QUESTION)])
    own = render(asked(QUESTION), template_of(MIXED, role), loaded.text_tokenizer)
    assert prompt.receiver_text.text == own.text
    assert reads_plain(alone) is plain
    answer = getattr(pair, f"{role}_alone")(QUESTION, max_new_tokens=4)
    assert answer == alone.generate(QUESTION, max_new_tokens=4)


def test_the_receiver_without_a_fuser_still_reads_its_own(pair):
    (prompt,) = encode_alone(receiver_alone(pair), [asked(QUESTION)])
    assert prompt.receiver_text.text.startswith("<user>")


def test_options_follow_the_receivers_template(pair):
    """After a chat's turn nothing is put before an answer; after ``Answer:`` a space is."""
    batch = pair.batch(pair.prompts([asked(QUESTION)]))
    ((scores, lengths),) = pair.score(batch, [["rain", "a"]])
    assert lengths == [4, 1]
    pair.template = "plain"
    batch = pair.batch(pair.prompts([asked(QUESTION)]))
    assert pair.score(batch, [["rain", "a"]])[0][1] == [5, 2]
    assert scores.isfinite().all()


def test_what_an_answer_ends_with_is_the_receivers(pair):
    swapped = RoleTemplates(receiver="plain", sharer="chat")
    found = {}
    for template in ("plain", "chat", MIXED, swapped):
        pair.template = template
        found[str(template)] = (pair.receiver_template, reads_plain(pair))
    assert found == {
        "plain": ("plain", True),
        "chat": ("chat", False),
        "receiver chat, sharer plain": ("chat", False),
        "receiver plain, sharer chat": ("plain", True),
    }


def test_a_date_is_one_where_a_role_writes_it(pair):
    dated = copy(pair.receiver.tokenizer)
    dated.chat_template = DATED
    undated = pair.sharer.text_tokenizer
    assert any_dated(MIXED, dated, undated)
    assert not any_dated(MIXED, undated, dated)
    assert any_dated(RoleTemplates(receiver="plain", sharer="chat"), undated, dated)
    assert not any_dated("plain", dated, dated)


def test_a_document_is_measured_in_the_sharers_template(pair, monkeypatch):
    from c2c_search.inference import documents

    seen = []
    plain = documents.render
    monkeypatch.setattr(documents, "render", lambda *given: seen.append(given[1]) or plain(*given))
    check_length(pair, "A text.", 4)
    assert seen == ["plain"]


def test_a_model_without_a_chat_template_is_told(pair):
    assert not list(chat_notices(MIXED, pair.receiver, pair.sharer))
    (told,) = chat_notices("chat", pair.receiver, pair.sharer)
    assert told.startswith(f"The sharer {pair.sharer.identity.source} has no chat template")
    assert "sharer: plain and receiver: chat" in told
    assert not list(chat_notices("plain", pair.receiver, pair.sharer))


def test_several_sharers_share_the_receivers_template_and_have_their_own(pair):
    other = copy(pair)
    other.template = "chat"
    assert MultiSharerModel([pair, other]).receiver_template == "chat"
    other.template = "plain"
    with pytest.raises(ConfigError, match="one template"):
        MultiSharerModel([pair, other])
