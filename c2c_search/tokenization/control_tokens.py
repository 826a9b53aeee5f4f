"""Text of others that is spelt like a control token, and is read as text.

A tokenizer makes the token that ends a turn of the characters ``<|im_end|>`` wherever they stand,
so a document that holds them could end its turn and begin another. What a template writes keeps
its tokens; contents (questions, documents, drafts, options, answers) never become such a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from itertools import count
from itertools import pairwise
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Integers = NDArray[np.int64]
Spans = Sequence[tuple[int, int]]

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_PRIVATE = 0xF0000  # code points that stand for nothing


class ControlTokens:
    """What a tokenizer takes out of a text before it reads the rest, to control the model.

    These are its special tokens and those added ones that its chat templates write, but for bytes
    and what stands for the unknown, which any text may give.

    Args:
        tokenizer: A model's; it is not kept.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        templates = tokenizer.chat_template or ""
        written = templates if isinstance(templates, str) else "\n".join(templates.values())
        self.size = len(tokenizer)
        others = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
        self.spelt = {
            token.content: number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.content.strip()
            and not _BYTE.fullmatch(token.content)
            and (token.special or token.content in written)
            and (token.content != tokenizer.unk_token or token.content in others)
        }
        self._ids = np.array(sorted(self.spelt.values()), dtype=np.int64)
        self._serialised = tokenizer.backend_tokenizer.to_str

    def among(self, ids: Sequence[int]) -> NDArray[np.bool_]:
        """Which of some tokens control the model."""
        return np.isin(np.asarray(ids, dtype=np.int64), self._ids)

    def marked(self, texts: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Texts in which a character of its own stands for what is spelt like a control token.

        A template may cut contents, move them and say them twice; the characters tell where.

        Returns:
            The texts, and for each character what it stands for.
        """
        suspects = [text for text in texts if any(first in text for first in self._firsts)]
        found = dict.fromkeys(match[0] for text in suspects for match in self._any.finditer(text))
        if not found:
            return [*texts], {}
        taken = set().union(*texts)
        free = (chr(code) for code in count(_PRIVATE) if chr(code) not in taken)
        marks = dict(zip(found, free, strict=False))
        written = [self._any.sub(lambda match: marks[match[0]], text) for text in texts]
        return written, {mark: spelt for spelt, mark in marks.items()}

    def as_text(
        self, text: str, ids: Sequence[int], spans: Integers, foreign: Spans
    ) -> tuple[list[int], Integers]:
        """Tokens in which nothing foreign is a control token.

        What stands between the template's own control tokens is read anew wherever there is one
        of others in it; all other tokens stay as they are.

        Args:
            text: What was read.
            ids: Its tokens.
            spans: The characters that each covers, ``(tokens, 2)``.
            foreign: Where others have written, in characters.
        """
        controls = self.among(ids) & (spans[:, 1] > spans[:, 0])
        if not controls.any():
            return [*ids], spans
        theirs = controls & _overlapping(spans, foreign)
        if not theirs.any():
            return [*ids], spans
        kept, places = [*ids], [*map(tuple, spans.tolist())]
        own = np.flatnonzero(controls & ~theirs).tolist()
        for before, after in reversed([*pairwise([-1, *own, len(ids)])]):
            stretch = range(before + 1, after)
            if not theirs[stretch].any():
                continue
            first = next(token for token in stretch if spans[token, 1] > spans[token, 0])
            start = int(spans[before, 1]) if before >= 0 else 0
            end = int(spans[after, 0]) if after < len(ids) else len(text)
            at = [int(spans[token, 0]) for token in stretch if theirs[token]]
            found = self._read(text[start:end], [place - start for place in at])
            kept[first:after] = [token for token, _ in found]
            places[first:after] = [(start + begin, start + stop) for _, (begin, stop) in found]
        return kept, np.array(places, dtype=np.int64).reshape(-1, 2)

    def _read(self, text: str, at: Sequence[int]) -> list[tuple[int, tuple[int, int]]]:
        """Tokens and places of a text without control tokens, which begin ``at`` these places."""
        read = self._blind.encode(text, add_special_tokens=False)
        if not self.among(read.ids).any():
            return [*zip(read.ids, read.offsets, strict=True)]
        # A vocabulary that has their names among its pieces: those are cut.
        found = []
        for start, end in pairwise([0, *(place + 1 for place in at), len(text)]):
            part = self._blind.encode(text[start:end], add_special_tokens=False)
            found += [
                (token, (start + begin, start + stop))
                for token, (begin, stop) in zip(part.ids, part.offsets, strict=True)
            ]
        return found

    @cached_property
    def _firsts(self) -> frozenset[str]:
        return frozenset(spelt[0] for spelt in self.spelt)

    @cached_property
    def _any(self) -> re.Pattern[str]:
        longest_first = sorted(self.spelt, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)))

    @cached_property
    def _blind(self) -> Tokenizer:
        """The same tokenizer without an eye for them; made when it is first needed."""
        written = json.loads(self._serialised())
        for token in written["added_tokens"]:
            token["special"] |= token["content"] in self.spelt
        blind = Tokenizer.from_str(json.dumps(written))
        blind.encode_special_tokens = True
        blind.no_truncation()
        blind.no_padding()
        return blind


_KNOWN: WeakKeyDictionary[PreTrainedTokenizerFast, ControlTokens] = WeakKeyDictionary()


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> ControlTokens:
    """A tokenizer's, looked up once; anew where tokens were added to it."""
    found = _KNOWN.get(tokenizer)
    if found is None or found.size != len(tokenizer):
        found = _KNOWN[tokenizer] = ControlTokens(tokenizer)
    return found


def _overlapping(spans: Integers, foreign: Spans) -> NDArray[np.bool_]:
    """Which tokens cover a foreign character."""
    found = np.zeros(len(spans), dtype=bool)
    for start, end in foreign:
        found |= (spans[:, 0] < end) & (spans[:, 1] > start)
    return found
