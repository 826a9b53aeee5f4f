"""Prompts as one model's tokenizer cuts them, with the text that each token covers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING
from typing import NamedTuple

import numpy as np

from c2c_search.tokenization.control_tokens import Integers
from c2c_search.tokenization.control_tokens import Spans
from c2c_search.tokenization.control_tokens import control_tokens
from c2c_search.tokenization.templates import Rendered


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class TokenSpans(NamedTuple):
    """A text's tokens.

    Args:
        ids: Their numbers.
        spans: ``(tokens, 2)``, start and end of the characters that each covers; both never go
            backwards. A token that covers none (BOS, say) has an empty span.
    """

    ids: list[int]
    spans: Integers


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt as one model reads it by itself."""

    rendered: Rendered
    tokens: TokenSpans


class AlignedTokens(NamedTuple):
    """What the sharer reads of a prompt.

    Args:
        ids: Its tokens.
        alignment: For each receiver token, the index in ``ids`` of the token that stands for it.
    """

    ids: Sequence[int]
    alignment: Sequence[int]


def read_all(
    prompts: Sequence[Rendered], tokenizer: PreTrainedTokenizerFast
) -> list[TokenizedPrompt]:
    """Tokenize prompts, in one call (two where only some already have their special tokens)."""
    tokenized: dict[int, TokenizedPrompt] = {}
    for special in (True, False):
        rows = [row for row, prompt in enumerate(prompts) if prompt.special is special]
        texts = [prompts[row].text for row in rows]
        foreign = [prompts[row].foreign for row in rows]
        read = tokenize(texts, tokenizer, special=special, foreign=foreign)
        for row, tokens in zip(rows, read, strict=True):
            tokenized[row] = TokenizedPrompt(prompts[row], tokens)
    return [tokenized[row] for row in range(len(prompts))]


def tokenize(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    special: bool,
    foreign: Sequence[Spans] | None = None,
) -> list[TokenSpans]:
    """Tokenize texts, in one call.

    Args:
        special: Whether the tokenizer adds its special tokens; only those in front, see `endings`.
        foreign: Of each text, where others have written: nothing there becomes a control token.
            All of every text when left out.
    """
    if not texts:
        return []
    encoding = tokenizer(list(texts), add_special_tokens=special, return_offsets_mapping=True)
    cut = -len(endings(tokenizer)) or None if special else None
    controls = control_tokens(tokenizer)
    written = [[(0, len(text))] for text in texts] if foreign is None else foreign
    found = []
    for text, ids, offsets, of_others in zip(
        texts, encoding["input_ids"], encoding["offset_mapping"], written, strict=True
    ):
        reported = np.array(offsets[:cut], dtype=np.int64).reshape(-1, 2)
        read, places = controls.as_text(text, ids[:cut], reported, of_others)
        found.append(TokenSpans(read, _covered(text, places)))
    return found


def in_words(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> str:
    """Tokens as a user reads them: without special ones, and without space around them."""
    text = tokenizer.decode([*ids], skip_special_tokens=True)
    assert isinstance(text, str)
    return text.strip()


def endings(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """What a tokenizer puts behind every text (EOS, of ``add_eos_token``, or BERT's ``[SEP]``).

    A prompt is read without: what follows the end of a text is no answer to it.
    """
    bare: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole: list[int] = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[start + len(bare) :]
    return []


def segment_ends(contents: Sequence[tuple[int, int]], length: int) -> Integers:
    """Where each segment ends: template, content, template, … template; any may be empty."""
    return np.array([*(offset for span in contents for offset in span), length], dtype=np.int64)


def _covered(text: str, offsets: Integers) -> Integers:
    """Offsets as spans, with the characters that the tokenizer reports for no token.

    Some tokenizers trim whitespace off the offsets, even all of it (byte-level BPE with
    ``trim_offsets``), some drop whitespace between words (BERT), and normalizers drop the second
    character of two that they compose (NFC).
    """
    starts, ends = offsets.T
    empty = ends <= starts
    ends = np.maximum.accumulate(ends)
    before = np.concatenate([[0], ends[:-1]])[: len(ends)]
    # Whitespace that was trimmed away ends where it ended, after the token before it. A special
    # token reports (0, 0) and stays empty.
    starts = np.where(empty, before, starts)
    for token in np.flatnonzero(starts > before).tolist():
        gap = text[before[token] : starts[token]]
        if token and not empty[token - 1]:
            ends[token - 1] += sum(1 for _ in takewhile(_composes, gap))
        if gap[-1] == " ":
            starts[token] -= 1
    return np.stack([np.maximum.accumulate(starts), ends], axis=1)


def _composes(character: str) -> bool:
    """Whether normalizers merge it into the character before: a mark, or a Hangul part."""
    return unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
