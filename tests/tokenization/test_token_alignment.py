"""`span`, `first` and `longest`: the conformance suite, and what each promises beyond it."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import ConfigError
from c2c_search.testing import TokenAlignmentConformance
from c2c_search.testing.token_alignment import every_pair
from c2c_search.testing.token_alignment import every_template
from c2c_search.testing.token_alignment import question
from c2c_search.testing.tokenizers import TEXTS
from c2c_search.testing.tokenizers import family
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.token_alignment import encode
from c2c_search.tokenization.token_alignment import encode_rendered
from c2c_search.tokenization.token_alignment import span_alignment


class TestSpan(TokenAlignmentConformance):
    plugin = "span"


class TestFirst(TokenAlignmentConformance):
    plugin = "first"


class TestLongest(TokenAlignmentConformance):
    plugin = "longest"


def test_all_are_put_through_the_suite() -> None:
    assert list(TOKEN_ALIGNMENTS) == ["span", "first", "longest"]


def spans_of(text: str, cuts: set[int]) -> list[tuple[int, int]]:
    offsets = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [(a, b) for a, b in pairwise(offsets) if b > a]


def plainly(text: str) -> str:
    return unicodedata.normalize("NFD", text.lower())


@every_template
@every_pair
@settings(max_examples=12, deadline=None)
@given(text=TEXTS)
def test_span_reads_the_sharers_own_tokens(template, receiver, sharer, text):
    prompt = encode(question(text), template, family(receiver), family(sharer))
    alone = encode(question(text), template, family(sharer), family(sharer))
    assert prompt.sharer_ids == alone.receiver_ids
    assert alone.sharer_ids == alone.receiver_ids


# Without what is spelt like a control token; see test_control_tokens.
ORDINARY = TEXTS.map(lambda text: re.sub(r"<(\|im_end\||/?s)>", r"[\1]", text))


def offsets(tokenizer, text):
    """Of a prompt's tokens: what a tokenizer puts behind a text is none of them."""
    found = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    while found[-1] == (0, 0):
        found.pop()
    return found


@every_pair
@settings(max_examples=12, deadline=None)
@given(text=ORDINARY)
def test_span_covers_the_last_character(receiver, sharer, text):
    prompt = encode(question(text), "plain", family(receiver), family(sharer))
    whole = f"the country\nQuestion: {text}\nAnswer:"
    ours = offsets(family(receiver), whole)
    theirs = offsets(family(sharer), whole)
    for (start, end), place in zip(ours, prompt.alignment, strict=True):
        covering = [there for there in theirs if there[0] < end <= there[1]]
        if unicodedata.category(whole[end : end + 1] or " ").startswith("M"):
            continue  # it may go with the token, though a normalizer dropped it
        if end > start and covering:
            assert theirs[place] in covering


@pytest.mark.parametrize("alignment", ["first", "longest"])
@every_pair
@settings(max_examples=12, deadline=None)
@given(text=ORDINARY)
def test_a_synthetic_token_is_a_piece_of_the_receivers(alignment, receiver, sharer, text):
    prompt = encode(question(text), "plain", family(receiver), family(sharer), alignment)
    whole = f"the country\nQuestion: {text}\nAnswer:"
    ours = family(receiver)(whole, return_offsets_mapping=True)["offset_mapping"]
    starts, ends = [start for start, _ in ours], [end for _, end in ours]
    chosen = [prompt.sharer_ids[place] for place in prompt.alignment]
    for here, (start, end) in enumerate(ours[: len(chosen)]):
        shared = start < max(ends[:here], default=0) or end > min(starts[here + 1 :], default=end)
        said = family(sharer).decode([chosen[here]]).removeprefix("##").strip()
        special = chosen[here] in family(sharer).all_special_ids or said == "<unk>"
        if start < end and not shared and not special and "\ufffd" not in said:
            # A dropped second half of a composed character belongs to the token before it.
            covered = whole[max(start - 1, 0) : min(starts[here + 1 :], default=len(whole))]
            assert plainly(said) in plainly(covered) or said == ""


@pytest.mark.parametrize("alignment", ["first", "longest"])
@every_template
@settings(max_examples=25, deadline=None)
@given(text=TEXTS)
def test_the_same_tokenizer_reads_itself(tiny_tokenizer, alignment, template, text):
    prompt = encode(question(text), template, tiny_tokenizer, tiny_tokenizer, alignment)
    assert prompt.sharer_ids == prompt.receiver_ids
    assert prompt.alignment == tuple(range(len(prompt.receiver_ids)))


@pytest.mark.parametrize(
    ("name", "way_out"), [("spam", "`span`"), ("nothing like it", "first, longest, span")]
)
def test_an_unknown_alignment_names_those_there_are(tiny_tokenizer, name, way_out):
    said = f"no such token alignment.*'{name}'.*{way_out}"
    with pytest.raises(ConfigError, match=said) as caught:
        encode(question("?"), "plain", tiny_tokenizer, tiny_tokenizer, name)
    assert caught.value.value == name


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


@pytest.mark.parametrize(("ours", "theirs"), [(" hello ", "hello"), ("hello", " hello ")])
def test_a_trimmed_content_maps_character_by_character(ours, theirs):
    receiver = Rendered(f"<{ours}>", ((1, 1 + len(ours)),), special=False)
    sharer = Rendered(f"[[{theirs}]]", ((2, 2 + len(theirs)),), special=False)
    singly = [[(place, place + 1) for place in range(len(r.text))] for r in (receiver, sharer)]
    alignment = span_alignment(receiver, singly[0], sharer, singly[1])
    heard = "".join(sharer.text[place] for place in alignment[1:-1])
    assert heard.strip() == "hello" or heard == "hhelloo"
    assert sharer.text[alignment[-1]] == "]"


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_encode_aligns_any_script(tiny_tokenizer, text):
    prompt = encode([{"role": "user", "content": text}], "plain", tiny_tokenizer, tiny_tokenizer)
    # One tokenizer on both sides: every character's last byte stands for itself.
    assert len(prompt.alignment) == len(prompt.receiver_ids)
    assert prompt.alignment[-1] == len(prompt.sharer_ids) - 1
    assert all(place >= own for own, place in enumerate(prompt.alignment))


def test_each_prompt_says_for_itself_whether_it_needs_special_tokens():
    tokenizer = family("llama")
    texts = ["<s>the country", "the country"]
    rendered = [
        Rendered(text, ((3 * (text[0] == "<"), len(text)),), special=text[0] != "<")
        for text in texts
    ]
    encoded = encode_rendered(rendered, rendered, tokenizer, tokenizer)
    assert [prompt.receiver_ids.count(tokenizer.bos_token_id) for prompt in encoded] == [1, 1]
