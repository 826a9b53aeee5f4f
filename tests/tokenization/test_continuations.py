"""What follows a prompt has the tokens of the joined text, whatever the tokenizer."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tokenizers import Regex
from tokenizers import Tokenizer
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import trainers
from transformers import PreTrainedTokenizerFast

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.tokenization.continuations import continuation_ids
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.spans import endings
from c2c_search.tokenization.spans import tokenize
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import render


WORDS = [
    "Paris",
    "Rome",
    "the",
    "city",
    "Which",
    "Question",
    "Answer",
    "12",
    "é",
    "中国",
    "Москва",
]
LINES = [f"Question: {one} {other}?\nAnswer: {one}" for one in WORDS for other in WORDS]
SPECIAL = ["<unk>", "<s>", "</s>", "<turn>"]
BYTES = [f"<0x{value:02X}>" for value in range(256)]
LEGACY = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def bytewise(*, prefix_space: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainers.BpeTrainer, pre_tokenizers.ByteLevel.alphabet())


def pieces(*, normalizer=None, pre_tokenizer=None) -> Tokenizer:
    """SentencePiece's BPE: a space is ▁, and what is unknown is written in bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return trained(tokenizer, trainers.BpeTrainer, [*BYTES, "\n"])


def legacy() -> Tokenizer:
    """As the converters write SentencePiece: cut at words in training, nowhere afterwards."""
    tokenizer = pieces(
        normalizer=LEGACY, pre_tokenizer=pre_tokenizers.Split("▁", "merged_with_next")
    )
    tokenizer.pre_tokenizer = None
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return trained(tokenizer, trainers.WordPieceTrainer, [])


def trained(tokenizer: Tokenizer, trainer, alphabet) -> Tokenizer:
    options = {"vocab_size": 700, "special_tokens": [*SPECIAL], "show_progress": False}
    options["special_tokens"] += [token for token in alphabet if len(token) > 1]
    letters = [token for token in alphabet if len(token) == 1]
    tokenizer.train_from_iterator(LINES, trainer(initial_alphabet=letters, **options))
    return tokenizer


METASPACE = pre_tokenizers.Metaspace
KINDS = {
    "bytes": lambda: bytewise(prefix_space=False),
    "bytes with a prefix space": lambda: bytewise(prefix_space=True),
    "legacy pieces": legacy,
    "pieces": lambda: pieces(pre_tokenizer=METASPACE(prepend_scheme="first")),
    "pieces of every segment": lambda: pieces(pre_tokenizer=METASPACE(prepend_scheme="always")),
    "pieces without a prefix": lambda: pieces(pre_tokenizer=METASPACE(prepend_scheme="never")),
    "pieces across words": lambda: pieces(normalizer=normalizers.Replace(Regex(" "), "▁")),
    "unigram": unigram,
    "words": wordpiece,
}
every_kind = pytest.mark.parametrize("kind", KINDS)
ENDS = [None, "<s> $A", "<s> $A </s>", "$A </s>"]
every_end = pytest.mark.parametrize("ends", ENDS)
TEXTS = st.lists(
    st.sampled_from([*WORDS, " ", "\n", ":", "?", " the", "<turn>", "▁", "'s"]), max_size=6
).map("".join)

OPTIONS = TEXTS.map(lambda text: text.replace("<turn>", "turn"))  # else see test_control_tokens


@cache
def make(kind: str, ends: str | None = None) -> PreTrainedTokenizerFast:
    tokenizer = KINDS[kind]()
    if ends is not None:
        known = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
        tokenizer.post_processor = processors.TemplateProcessing(ends, "$A $B:1", known)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def plain(question: str) -> Rendered:
    return render(asked(question), "plain", make("bytes"))


def ids_of(text: str, tokenizer, *, special: bool) -> list[int]:
    """Of a whole text, without what a tokenizer puts behind it."""
    ids = tokenizer(text, add_special_tokens=special)["input_ids"]
    while special and ids and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


@every_end
@every_kind
@settings(max_examples=40, deadline=None)
@given(front=TEXTS, options=st.lists(OPTIONS, min_size=1, max_size=3), special=st.booleans())
def test_the_tokens_are_those_of_the_joined_text(kind, ends, front, options, special):
    tokenizer = make(kind, ends)
    prompt = Rendered(f"{front}x:", (), special=special)
    begins = ids_of(prompt.text, tokenizer, special=special)
    (read,) = tokenize([prompt.text], tokenizer, special=special, foreign=[()])
    assert read.ids == begins
    texts = [f" {option}y" for option in options]
    (found,) = continuation_ids([prompt], [texts], tokenizer)
    for text, ids in zip(texts, found, strict=True):
        joined = ids_of(prompt.text + text, tokenizer, special=special)
        if joined[: len(begins)] == begins:
            assert ids == joined[len(begins) :]
        else:  # one token of both: the prompt keeps its own, and no character is lost
            said = tokenizer.decode([*begins, *ids])
            assert said.replace(" ", "") == tokenizer.decode(joined).replace(" ", "")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "pieces across words"])
def test_an_answer_in_the_plain_template_is_never_cut_otherwise(kind):
    tokenizer, prompts = make(kind, "<s> $A </s>"), [plain(f"Which {word}?") for word in WORDS]
    found = response_ids(prompts, [WORDS] * len(prompts), "plain", tokenizer)
    for prompt, each in zip(prompts, found, strict=True):
        read = ids_of(prompt.text, tokenizer, special=True)
        for word, ids in zip(WORDS, each, strict=True):
            assert [*read, *ids] == ids_of(f"{prompt.text} {word}", tokenizer, special=True)
            # The same words behind another prompt, or behind one of which only tokens are known.
            assert [[ids]] == response_ids([None], [[word]], "plain", tokenizer)


@pytest.mark.parametrize("kind", ["legacy pieces", "pieces", "pieces of every segment"])
def test_no_space_is_made_up(kind):
    tokenizer = make(kind)
    ((ids,),) = response_ids([plain("the city")], [["Paris"]], "plain", tokenizer)
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁Paris"]


def test_a_token_of_both_is_not_made():
    vocabulary = {text: place for place, text in enumerate(["a", "b", "ab", "c", "bc", "\n"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("a", "b"), ("b", "c")]))
    )
    ((ids, other),) = continuation_ids(
        [Rendered("ca", (), special=True)], [["bc", "cb"]], tokenizer
    )
    assert tokenizer.convert_ids_to_tokens(ids) == ["bc"]
    assert tokenizer.convert_ids_to_tokens(other) == ["c", "b"]


def test_a_tokenizer_that_always_merges_is_refused():
    vocabulary = {text: place for place, text in enumerate(["?", "\n", ":", ".", "a", "1", "<"])}
    merged = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged, name_or_path="some/model")
    with pytest.raises(ConfigError, match="some/model"):
        continuation_ids([Rendered("a", (), special=False)], [["b"]], tokenizer)


def test_what_has_no_token_is_refused():
    tokenizer = make("words")
    with pytest.raises(DataError, match="at least one token"):
        continuation_ids([plain("the city")], [["\u200b"]], tokenizer)


def test_prompts_do_not_change_each_other():
    tokenizer = make("legacy pieces", "<s> $A")
    prompts = [plain("the city"), None, Rendered("<turn>", (), special=False)]
    options = [["Rome", "Paris"], ["12"], [" the"]]
    together = continuation_ids(prompts, options, tokenizer)
    alone = [
        continuation_ids([one], [two], tokenizer)[0]
        for one, two in zip(prompts, options, strict=True)
    ]
    assert together == alone
    assert continuation_ids([], [], tokenizer) == []


@every_kind
def test_what_ends_every_text_is_found(kind):
    assert [len(endings(make(kind, ends))) for ends in ENDS] == [0, 0, 1, 1]
