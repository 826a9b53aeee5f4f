"""Token alignments: one conformance suite for all, over tokenizer families, templates, scripts."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import pairwise

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
from tokenizers import trainers
from transformers import PreTrainedTokenizerFast

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.token_alignment import REFERENCES
from c2c_search.tokenization.token_alignment import TOKEN_ALIGNMENTS
from c2c_search.tokenization.token_alignment import encode
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.tokenization.token_alignment import encode_rendered
from c2c_search.tokenization.token_alignment import span_alignment


SCRIPTS = [
    *("the", " country", "Straße", "naïve", "e\u0301", "Việt"),
    *("Україна", " страна", "Ελλάδα", "مصر", "الأردن", "יִשְׂרָאֵל", "भारत", "हिन्दी", "ประเทศไทย"),
    *(
        "中国",
        "日本の",
        "カタカナ",
        "ひらがな",
        "대한민국",
        "👩\u200d👩\u200d👧",
        "🏳️\u200d🌈",
        "🇪🇺",
    ),
    *("12,345.67", "٣٤", "  ", "\n", "\n\n ", "\t", "\u00a0", "\ufffd", "ﬁ½", "'s", "?!"),
    *("user", "<s>", "<|im_end|>", "Question: ", "Answer:"),
]
TEXTS = st.lists(st.sampled_from(SCRIPTS) | st.text(max_size=4), max_size=6).map("".join)
LINES = [f"{text} {other}" for text in SCRIPTS[:-5] for other in ("the", "страна", "中国")]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
INST = "<s>{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} [/]\n{% endfor %}Answer:"
BYTES = [f"<0x{value:02X}>" for value in range(256)]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def _bpe(*, trim: bool) -> Tokenizer:
    """GPT-2's family; ``trim`` reports no whitespace in offsets (GPT-NeoX) and composes (NFC)."""
    tokenizer = Tokenizer(models.BPE())
    if trim:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def _sentencepiece(*, prepend: bool) -> Tokenizer:
    """Gemma's family; ``prepend`` puts a space before any text (Llama 2)."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    space = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), space]) if prepend else space
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + [decoders.Strip(" ", 1, 0)] * prepend
    )
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL + BYTES, limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "$A $B:1", [("<s>", 1)])
    return tokenizer


def _unigram() -> Tokenizer:
    """T5's and XLM-R's family, with bytes for what it lacks and EOS behind."""
    words = {word for line in LINES for word in line.split()}
    pieces = {f"▁{word}" for word in words} | {letter for word in words for letter in word[:1]}
    vocabulary = [(name, 0.0) for name in SPECIAL] + [(name, -9.0) for name in BYTES]
    vocabulary += [(piece, -float(len(piece))) for piece in sorted(pieces | {"▁"})]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A $B:1", [("</s>", 2)])
    return tokenizer


def _wordpiece() -> Tokenizer:
    """BERT's family: no whitespace, no case, special tokens at both ends."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(
        LINES,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False),
    )
    ends = [("<s>", 1), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "$A $B:1", ends)
    return tokenizer


def _words() -> Tokenizer:
    words = sorted({word for line in LINES[::2] for word in line.split()})
    names = [*SPECIAL, *words, "Question", "Answer", ":"]
    tokenizer = Tokenizer(
        models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unk>")
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    make, chat, roles = {
        "bytes": (lambda: _bpe(trim=False), CHATML, {"eos": "<|im_end|>"}),
        "trimmed": (lambda: _bpe(trim=True), INST, {"bos": "<s>"}),
        "gemma": (lambda: _sentencepiece(prepend=False), None, {"bos": "<s>", "eos": "</s>"}),
        "llama": (lambda: _sentencepiece(prepend=True), INST, {"bos": "<s>", "unk": "<unk>"}),
        "unigram": (_unigram, CHATML, {"eos": "</s>", "unk": "<unk>"}),
        "bert": (_wordpiece, None, {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}),
        "words": (_words, INST, {"unk": "<unk>", "pad": "</s>"}),
    }[name]
    special = {f"{role}_token": token for role, token in roles.items()}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make(), **special)
    tokenizer.chat_template = chat
    return tokenizer


PAIRS = [
    *(("bytes", "gemma"), ("gemma", "bytes"), ("bytes", "llama"), ("llama", "trimmed")),
    *(("trimmed", "unigram"), ("unigram", "bert"), ("bert", "words"), ("words", "bytes")),
    *(("bytes", "bytes"), ("gemma", "unigram")),
]
TEMPLATES = ["plain", "chat"]
every_alignment = pytest.mark.parametrize("alignment", sorted(TOKEN_ALIGNMENTS))
every_template = pytest.mark.parametrize("template", TEMPLATES)
every_pair = pytest.mark.parametrize(("receiver", "sharer"), PAIRS)


def question(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "the country"}, {"role": "user", "content": text}]


def spans_of(text: str, cuts: set[int]) -> list[tuple[int, int]]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [(a, b) for a, b in pairwise(places) if b > a]


def plainly(text: str) -> str:
    return unicodedata.normalize("NFD", text.lower())


def test_every_alignment_says_where_it_comes_from():
    assert set(TOKEN_ALIGNMENTS) == {"span", "first", "longest"}
    assert set(REFERENCES) == set(TOKEN_ALIGNMENTS)
    assert all(REFERENCES.values())


@every_alignment
@every_template
@every_pair
@settings(max_examples=12, deadline=None)
@given(text=TEXTS)
def test_every_receiver_token_has_a_sharer_token(alignment, template, receiver, sharer, text):
    prompt = encode(question(text), template, family(receiver), family(sharer), alignment)
    assert len(prompt.alignment) == len(prompt.receiver_ids) > 0
    assert list(prompt.alignment) == sorted(prompt.alignment)
    assert all(0 <= place < len(prompt.sharer_ids) for place in prompt.alignment)
    # The front says little, the end must be heard to its end: the answer follows it.
    assert prompt.alignment[-1] >= len(prompt.sharer_ids) - 2


@every_alignment
@every_template
@every_pair
def test_many_are_encoded_as_one_by_one(alignment, template, receiver, sharer):
    conversations = [question(text) for text in ["", *SCRIPTS[::3]]]
    conversations.append(conversations[0][1:])
    models = family(receiver), family(sharer)
    together = encode_all(conversations, template, *models, alignment)
    one_by_one = tuple(encode(each, template, *models, alignment) for each in conversations)
    assert together == one_by_one
    assert encode_all([], template, *models, alignment) == ()


@every_template
@every_pair
@settings(max_examples=12, deadline=None)
@given(text=TEXTS)
def test_span_reads_the_sharers_own_tokens(template, receiver, sharer, text):
    prompt = encode(question(text), template, family(receiver), family(sharer))
    alone = encode(question(text), template, family(sharer), family(sharer))
    assert prompt.sharer_ids == alone.receiver_ids
    assert alone.sharer_ids == alone.receiver_ids


def offsets(tokenizer, text):
    """Of a prompt's tokens: what a tokenizer puts behind a text is none of them."""
    found = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    while found[-1] == (0, 0):
        found.pop()
    return found


@every_pair
@settings(max_examples=12, deadline=None)
@given(text=TEXTS)
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
@given(text=TEXTS)
def test_a_synthetic_token_is_a_piece_of_the_receivers(alignment, receiver, sharer, text):
    prompt = encode(question(text), "plain", family(receiver), family(sharer), alignment)
    whole = f"the country\nQuestion: {text}\nAnswer:"
    ours = offsets(family(receiver), whole)
    starts, ends = [start for start, _ in ours], [end for _, end in ours]
    chosen = [prompt.sharer_ids[place] for place in prompt.alignment]
    for here, (start, end) in enumerate(ours):
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


@every_alignment
@every_template
@every_pair
def test_a_sharer_that_reads_something_else(alignment, template, receiver, sharer):
    conversations = [question(text) for text in SCRIPTS[:6]]
    others = [question(text * 5)[1:] for text in reversed(SCRIPTS[-12:-6])]
    models = family(receiver), family(sharer)
    prompts = encode_all(conversations, template, *models, alignment, sharer_conversations=others)
    alone = encode_all(others, template, models[1], models[1])
    for prompt, other in zip(prompts, alone, strict=True):
        assert prompt.sharer_ids == other.receiver_ids
        assert len(prompt.alignment) == len(prompt.receiver_ids)
        assert list(prompt.alignment) == sorted(prompt.alignment)
        assert prompt.alignment[0] == 0
        assert prompt.alignment[-1] == len(prompt.sharer_ids) - 1


def test_an_unknown_alignment_names_those_there_are(tiny_tokenizer):
    with pytest.raises(ConfigError, match=r"'spam'.*first, longest, span") as caught:
        encode(question("?"), "plain", tiny_tokenizer, tiny_tokenizer, "spam")
    assert caught.value.value == "spam"


@every_alignment
@pytest.mark.parametrize("mute", ["receiver", "sharer"])
def test_a_prompt_without_tokens_is_refused(tiny_tokenizer, alignment, mute):
    silent = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"x": 0}, [])))
    pair = (silent, tiny_tokenizer) if mute == "receiver" else (tiny_tokenizer, silent)
    with pytest.raises(DataError, match=f"none for the {mute}"):
        encode(question("?"), "plain", *pair, alignment)


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


@every_alignment
@every_pair
def test_a_prompt_written_out_already_is_read_as_the_template_writes_it(
    alignment, receiver, sharer
):
    messages = [{"role": "user", "content": "the country of Straße"}]
    text = "Question: the country of Straße\nAnswer:"
    rendered = [Rendered(text, ((0, len(text)),), special=True)]
    found = encode_rendered(rendered, rendered, family(receiver), family(sharer), alignment)
    assert found == (encode(messages, "plain", family(receiver), family(sharer), alignment),)


def test_each_prompt_says_for_itself_whether_it_needs_special_tokens():
    tokenizer = family("llama")
    texts = ["<s>the country", "the country"]
    rendered = [Rendered(text, ((0, len(text)),), special=text[0] != "<") for text in texts]
    encoded = encode_rendered(rendered, rendered, tokenizer, tokenizer)
    assert [prompt.receiver_ids.count(tokenizer.bos_token_id) for prompt in encoded] == [1, 1]
