"""Token alignment by covered text, over many scripts and templates."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.pair.prompts import Rendered
from c2c_search.pair.prompts import render
from c2c_search.pair.token_alignment import encode
from c2c_search.pair.token_alignment import span_alignment


def spans_of(text: str, cuts: set[int]) -> list[tuple[int, int]]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [(a, b) for a, b in pairwise(places) if b > a]


@given(st.text(min_size=1, max_size=40), st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_same_text_any_two_tokenizations(text, receiver_cuts, sharer_cuts):
    rendered = Rendered(text, ((0, len(text)),), special=False)
    receiver, sharer = spans_of(text, receiver_cuts), spans_of(text, sharer_cuts)
    alignment = span_alignment(rendered, receiver, rendered, sharer)
    assert len(alignment) == len(receiver)
    assert alignment == sorted(alignment)
    for (_, end), place in zip(receiver, alignment, strict=True):
        # The sharer token covers the receiver token's last character.
        assert sharer[place][0] <= end - 1 < sharer[place][1]


def test_bytes_of_one_character_go_to_the_token_that_completes_it():
    rendered = Rendered("a中b", ((0, 3),), special=False)
    receiver = [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    sharer = [(0, 1), (1, 2), (1, 2), (2, 3)]
    assert span_alignment(rendered, receiver, rendered, sharer) == [0, 2, 2, 2, 3]


def test_special_tokens_have_no_text():
    rendered = Rendered("ab", ((0, 2),), special=True)
    assert span_alignment(rendered, [(0, 0), (0, 2)], rendered, [(0, 0), (0, 1), (1, 2)]) == [0, 2]


def test_contents_map_to_contents_across_templates():
    receiver = Rendered("<|user|>hello<|end|>", ((8, 13),), special=False)
    sharer = Rendered("Q: hello\nA:", ((3, 8),), special=False)
    characters = [(place, place + 1) for place in range(len(receiver.text))]
    by_character = [(place, place + 1) for place in range(len(sharer.text))]
    alignment = span_alignment(receiver, characters, sharer, by_character)
    assert alignment[8:13] == [3, 4, 5, 6, 7]
    assert max(alignment[:8]) < 3  # template text in front stays in front
    assert min(alignment[13:]) >= 8 - 1
    assert alignment[-1] == len(sharer.text) - 1


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_encode_aligns_any_script(tiny_tokenizer, text):
    prompt = encode([{"role": "user", "content": text}], "plain", tiny_tokenizer, tiny_tokenizer)
    # One tokenizer on both sides: every character's last byte stands for itself.
    assert len(prompt.alignment) == len(prompt.receiver_ids)
    assert prompt.alignment[-1] == len(prompt.sharer_ids) - 1
    assert all(place >= own for own, place in enumerate(prompt.alignment))


def test_chat_template_is_used_where_there_is_one(tiny_tokenizer):
    import copy

    chatty = copy.deepcopy(tiny_tokenizer)
    chatty.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} [/]{% endfor %}[bot]"
    )
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": " hi "}]
    rendered = render(messages, "chat", chatty)
    assert rendered.text == "[system] be brief [/][user] hi [/][bot]"
    assert [rendered.text[a:b] for a, b in rendered.contents] == ["be brief", "hi"]
    assert render(messages, "chat", tiny_tokenizer).text.endswith("Answer:")


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_plain_is_the_same_text_for_both(tiny_tokenizer, template):
    messages = [{"role": "user", "content": "Where?"}]
    assert render(messages, template, tiny_tokenizer).text == "Question: Where?\nAnswer:"
