"""Small tokenizers of every family, trained when they are asked for, and texts to try them on."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers
from tokenizers import processors
from tokenizers import trainers
from transformers import PreTrainedTokenizerFast


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
"""Words and characters of many scripts, and what templates and vocabularies treat apart."""

TEXTS = st.lists(st.sampled_from(SCRIPTS) | st.text(max_size=4), max_size=6).map("".join)
"""Texts made of `SCRIPTS` and of any characters at all."""

_LINES = [f"{text} {other}" for text in SCRIPTS[:-5] for other in ("the", "страна", "中国")]

_CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
_INST = "<s>{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} [/]\n{% endfor %}Answer:"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]
_SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]


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
    tokenizer.train_from_iterator(_LINES, trainer)
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
        vocab_size=420, special_tokens=_SPECIAL + _BYTES, limit_alphabet=60, show_progress=False
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "$A $B:1", [("<s>", 1)])
    return tokenizer


def _unigram() -> Tokenizer:
    """T5's and XLM-R's family, with bytes for what it lacks and EOS behind."""
    words = {word for line in _LINES for word in line.split()}
    pieces = {f"▁{word}" for word in words} | {letter for word in words for letter in word[:1]}
    vocabulary = [(name, 0.0) for name in _SPECIAL] + [(name, -9.0) for name in _BYTES]
    vocabulary += [(piece, -float(len(piece))) for piece in sorted(pieces | {"▁"})]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    tokenizer.add_special_tokens(_SPECIAL)
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
        _LINES,
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=_SPECIAL, show_progress=False),
    )
    ends = [("<s>", 1), ("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "$A $B:1", ends)
    return tokenizer


def _words() -> Tokenizer:
    words = sorted({word for line in _LINES[::2] for word in line.split()})
    names = [*_SPECIAL, *words, "Question", "Answer", ":"]
    tokenizer = Tokenizer(
        models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>")
    )
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    """A small tokenizer of a family, with or without a chat template and special tokens.

    Args:
        name: ``bytes`` (GPT-2), ``trimmed`` (GPT-NeoX), ``gemma``, ``llama`` (Llama 2),
            ``unigram`` (T5), ``bert`` or ``words``.
    """
    make, chat, roles = {
        "bytes": (lambda: _bpe(trim=False), _CHATML, {"eos": "<|im_end|>"}),
        "trimmed": (lambda: _bpe(trim=True), _INST, {"bos": "<s>"}),
        "gemma": (lambda: _sentencepiece(prepend=False), None, {"bos": "<s>", "eos": "</s>"}),
        "llama": (lambda: _sentencepiece(prepend=True), _INST, {"bos": "<s>", "unk": "<unk>"}),
        "unigram": (_unigram, _CHATML, {"eos": "</s>", "unk": "<unk>"}),
        "bert": (_wordpiece, None, {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}),
        "words": (_words, _INST, {"unk": "<unk>", "pad": "</s>"}),
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
"""Families of a receiver and of its sharer."""
