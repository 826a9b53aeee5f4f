"""Rendering: each model's own template, and where the contents stand in it."""

from __future__ import annotations

import copy
import datetime

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.tokenization.templates import TemplateRefusedError
from c2c_search.tokenization.templates import continuation
from c2c_search.tokenization.templates import is_dated
from c2c_search.tokenization.templates import render
from c2c_search.tokenization.templates import render_all


TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} [/]{% endfor %}[assistant]"
)


@pytest.fixture
def chatty(tiny_tokenizer):
    def make(template: str):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.chat_template = template
        return tokenizer

    return make


def contents_of(rendered):
    return [rendered.text[start:end] for start, end in rendered.contents]


def test_chat_template_is_used_where_there_is_one(chatty, tiny_tokenizer):
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": " hi "}]
    rendered = render(messages, "chat", chatty(TEMPLATE))
    assert rendered.text == "[system] be brief [/][user] hi [/][assistant]"
    assert contents_of(rendered) == ["be brief", "hi"]
    assert not rendered.special
    assert render(messages, "chat", tiny_tokenizer).text.endswith("Answer:")


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_plain_is_the_same_text_for_both(tiny_tokenizer, template):
    messages = [{"role": "user", "content": "Where?"}]
    assert render(messages, template, tiny_tokenizer).text == "Question: Where?\nAnswer:"


@pytest.mark.parametrize("content", ["user", "s", "[", "] ", "", "  ", "assistant", "/][user"])
def test_a_content_is_not_mistaken_for_the_template(chatty, content):
    rendered = render([{"role": "user", "content": content}], "chat", chatty(TEMPLATE))
    assert rendered.contents == ((7, 7 + len(content.strip())),)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "role": st.sampled_from(["system", "user", "assistant"]),
                "content": st.text(alphabet="ab []/\n\u0301中", max_size=6),
            }
        ),
        min_size=1,
        max_size=3,
    )
)
def test_contents_stand_where_they_are_said_to(tiny_tokenizer, messages):
    trimmed, kept = copy.deepcopy(tiny_tokenizer), copy.deepcopy(tiny_tokenizer)
    trimmed.chat_template, kept.chat_template = TEMPLATE, TEMPLATE.replace(" | trim", "")
    written = [message["content"] for message in messages]
    assert contents_of(render(messages, "chat", trimmed)) == [text.strip() for text in written]
    assert contents_of(render(messages, "chat", kept)) == written
    assert contents_of(render(messages, "plain", kept)) == written


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        # leaves the system message out
        (TEMPLATE.replace("in messages", "in messages if m.role != 'system'"), ["", "hi"]),
        # changes the order
        (TEMPLATE.replace("in messages", "in messages | reverse"), ["be brief", ""]),
        # does something of its own with this content
        (TEMPLATE.replace("m.content", "m.content | replace('brief', 'quick')"), ["", "hi"]),
    ],
)
def test_a_template_with_a_will_of_its_own(chatty, template, expected):
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    rendered = render(messages, "chat", chatty(template))
    assert contents_of(rendered) == expected
    assert [start for start, _ in rendered.contents] == sorted(s for s, _ in rendered.contents)


def test_many_are_rendered_as_one_by_one(chatty):
    conversations = [
        [{"role": "user", "content": "a"}],
        [{"role": "system", "content": "b"}, {"role": "user", "content": "c"}],
        [{"role": "user", "content": "user"}],
    ]
    tokenizer = chatty(TEMPLATE)
    for template in ("plain", "chat"):
        together = render_all(conversations, template, tokenizer)
        assert together == [render(messages, template, tokenizer) for messages in conversations]


DATED = (
    "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% endif %}"
    "It is {{ today }}, {{ strftime_now('%A, %-d. %B') }}.\n"
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
)


def test_a_dated_template_writes_the_day_it_is_given(chatty):
    messages = [{"role": "user", "content": "hi"}]
    rendered = render(messages, "chat", chatty(DATED), "2024-07-09")
    assert rendered.text == "It is 09 Jul 2024, Tuesday, 9. July.\n[user] hi\n[assistant]"
    assert contents_of(rendered) == ["hi"]
    today = datetime.date.today().strftime("%d %b %Y")
    assert render(messages, "chat", chatty(DATED)).text.startswith(f"It is {today}")


@pytest.mark.parametrize("front", ["", "\n", "\n\n ", "{%- set x = 1 -%}\n", "{# c #}\n"])
def test_the_clock_changes_nothing_else(chatty, front):
    messages = [{"role": "user", "content": "hi"}]
    same = "{% for m in messages %}\n[{{ m.content }}]{% endfor %}\n"
    dated = chatty(front + same + "{% if 0 %}{{ strftime_now('%d') }}{% endif %}")
    assert render(messages, "chat", dated, "2024-07-09") == render(messages, "chat", dated)
    assert is_dated("chat", dated)
    assert not is_dated("plain", dated)
    assert not is_dated("chat", chatty(same))


def test_what_a_template_refuses_is_named(chatty):
    refusing = chatty(
        "{% if messages[0].role == 'system' %}{{ raise_exception('No!') }}{% endif %}"
    )
    user, system = ({"role": role, "content": "x"} for role in ("user", "system"))
    with pytest.raises(
        TemplateRefusedError, match=r"system, user: No!\. Got 'conversation 2'"
    ) as told:
        render_all([[user], [system, user]], "chat", refusing)
    assert told.value.index == 1
    again = told.value.named("hf:some/model", "data.jsonl:7")
    assert "hf:some/model" in str(again)
    assert "data.jsonl:7" in str(again)


def test_a_template_that_refuses_placeholders_is_still_read(chatty):
    picky = chatty(
        "{% if 'c2c' in messages[0].content %}{{ raise_exception('No!') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    assert contents_of(render([{"role": "user", "content": "hi"}], "chat", picky)) == ["hi"]


def test_several_templates_need_a_default(chatty):
    messages = [{"role": "user", "content": "hi"}]
    several = {"default": TEMPLATE, "tool_use": "tools"}
    assert render(messages, "chat", chatty(several)).text == "[user] hi [/][assistant]"
    assert continuation("x", "chat", chatty(several)) == "x"
    with pytest.raises(ConfigError, match="rag, tool_use"):
        render(messages, "chat", chatty({"tool_use": "tools", "rag": "rag"}))
