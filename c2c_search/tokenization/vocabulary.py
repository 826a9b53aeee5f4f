"""What a receiver's token is in the sharer's vocabulary, looked up once and kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING
from typing import NamedTuple
from weakref import WeakKeyDictionary

from c2c_search.tokenization.alignments import Choice
from c2c_search.tokenization.control_tokens import control_tokens
from c2c_search.tokenization.spans import tokenize


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


# Later roles win where one token has several, e.g. PAD and EOS.
_ROLES = ("pad_token_id", "unk_token_id", "eos_token_id", "bos_token_id")

# Larger than any vocabulary; what receivers' tokens say hardly ever exceeds one.
_LIMIT = 2**19

# What may stand before a text; the first that keeps apart from it serves.
_ANCHORS = ("\n", ".", "a")

# What decoders write for bytes that are no character.
_CUT = "\N{REPLACEMENT CHARACTER}"

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Wanted(NamedTuple):
    """A text to tokenize for the sharer.

    Args:
        text: The text.
        first: Whether nothing stands in front of it.
        control: Whether it is what a control token says, and may be one of the sharer's.
    """

    text: str
    first: bool = False
    control: bool = False


class Pieces(NamedTuple):
    """The sharer's tokens of a text, and how many characters each covers."""

    ids: tuple[int, ...]
    lengths: tuple[int, ...]


class SharerVocabulary:
    """A sharer's tokens of short texts, and of a receiver's tokens, remembered.

    It holds no tokenizer: it is kept for as long as the sharer's lives.
    """

    def __init__(self, sharer: PreTrainedTokenizerFast) -> None:
        self.size = len(sharer)
        self._known: dict[Wanted, Pieces] = {}
        self._tables: WeakKeyDictionary[
            PreTrainedTokenizerFast, tuple[int, dict[Choice, dict[int, int]]]
        ] = WeakKeyDictionary()
        # SentencePiece and its like put a space before any text, so "ing" becomes "▁ing". Such
        # a sharer reads each text behind another character, as in the middle of a prompt.
        probe = Wanted("a")
        alone = _behind("", [probe], sharer)[probe]
        anchored = [_behind(anchor, [probe], sharer).get(probe, alone) for anchor in _ANCHORS]
        self._anchors = _ANCHORS if any(found.ids != alone.ids for found in anchored) else ()

    def pieces(
        self, texts: Iterable[Wanted], sharer: PreTrainedTokenizerFast
    ) -> dict[Wanted, Pieces]:
        """The sharer's tokens of each text; those not seen before are tokenized together."""
        if len(self._known) > _LIMIT:
            self._known = {}
        known = self._known
        for anchor in (*self._anchors, ""):
            missing = [text for text in texts if text not in known and not (anchor and text.first)]
            known.update(_behind(anchor, missing, sharer))
        return known

    def table(self, receiver: PreTrainedTokenizerFast, choice: Choice) -> dict[int, int]:
        """Sharer tokens of the receiver's tokens, as far as they are known."""
        size, tables = self._tables.get(receiver, (0, {}))
        if size != len(receiver):
            tables = {}
            self._tables[receiver] = (len(receiver), tables)
        return tables.setdefault(choice, {})


_VOCABULARIES: WeakKeyDictionary[PreTrainedTokenizerFast, SharerVocabulary] = WeakKeyDictionary()


def vocabulary(sharer: PreTrainedTokenizerFast) -> SharerVocabulary:
    """What is remembered of a sharer; begun anew once tokens were added to it."""
    found = _VOCABULARIES.get(sharer)
    if found is None or found.size != len(sharer):
        found = _VOCABULARIES[sharer] = SharerVocabulary(sharer)
    return found


def by_role(receiver: PreTrainedTokenizerFast, sharer: PreTrainedTokenizerFast) -> dict[int, int]:
    """The special tokens that both have: BOS for BOS, EOS for EOS, and so on."""
    pairs = [(getattr(receiver, role), getattr(sharer, role)) for role in _ROLES]
    return {ours: theirs for ours, theirs in pairs if ours is not None and theirs is not None}


def translate(
    ids: Sequence[int],
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
    choice: Choice,
) -> list[int]:
    """One sharer token for each receiver token, each by itself.

    A token that ends within a character becomes the sharer's token of the same bytes; without
    one, the whole characters in it count, or, if there are none, its first byte. What the sharer
    cannot read becomes its unknown token.

    Args:
        choice: Of several tokens that a text gives, the one to take.
    """
    known, roles = vocabulary(sharer), by_role(receiver, sharer)
    table = known.table(receiver, choice)
    if new := [token for token in dict.fromkeys(ids) if token not in table and token not in roles]:
        said = _said(new, receiver)
        controls = control_tokens(receiver).among(new).tolist()
        wanted = [
            Wanted(text, control=control)
            for (text, _), control in zip(said, controls, strict=True)
        ]
        pieces = known.pieces({each for each in wanted if each.text}, sharer)
        unknown = 0 if sharer.unk_token_id is None else sharer.unk_token_id
        for token, each, (_, cut) in zip(new, wanted, said, strict=True):
            read = pieces[each] if each.text else Pieces((), ())
            found = _token_of_bytes(cut, sharer)
            if found is None and read.ids:
                found = read.ids[choice(read.lengths)]
            if found is None:
                found = _token_of_bytes(cut[:1], sharer)
            table[token] = unknown if found is None else found
    return [roles[token] if token in roles else table[token] for token in ids]


def _behind(
    anchor: str, texts: Sequence[Wanted], sharer: PreTrainedTokenizerFast
) -> dict[Wanted, Pieces]:
    """Tokens of texts that stand behind an anchor, where none of them reaches over both."""
    anchored = tokenize(
        [anchor + text.text for text in texts],
        sharer,
        special=False,
        foreign=[() if text.control else ((0, len(anchor + text.text)),) for text in texts],
    )
    found = {}
    for text, (ids, spans) in zip(texts, anchored, strict=True):
        behind = spans[:, 0] >= len(anchor)
        if (spans[~behind, 1] <= len(anchor)).all():
            first = len(ids) - int(behind.sum())
            lengths = spans[first:, 1] - spans[first:, 0]
            found[text] = Pieces(tuple(ids[first:]), tuple(lengths.tolist()))
    return found


def _said(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast) -> list[tuple[str, bytes]]:
    """What each token says inside a text; also its bytes, if it cuts a character."""
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    once = tokenizer.batch_decode([[token] for token in ids], **options)
    # Decoders drop the space before a text's first token, so the second of two is read.
    twice = tokenizer.batch_decode([[token, token] for token in ids], **options)
    said = []
    for token, alone, pair in zip(ids, once, twice, strict=True):
        text, cut = pair[len(alone) :] if pair.startswith(alone) else alone, b""
        if _CUT in alone and (content := _bytes(tokenizer.convert_ids_to_tokens(token))):
            text = content.decode(errors="ignore")
            cut = b"" if text.encode() == content else content
        said.append((text, cut))
    return said


def _bytes(name: str) -> bytes:
    """What a token of byte-level BPE, or SentencePiece's ``<0xE4>``, stands for."""
    if match := _BYTE.fullmatch(name):
        return bytes.fromhex(match[1])
    values = {letter: value for value, letter in enumerate(_byte_letters())}
    return bytes(values[letter] for letter in name) if values.keys() >= set(name) else b""


def _token_of_bytes(content: bytes, sharer: PreTrainedTokenizerFast) -> int | None:
    """The sharer's token of exactly these bytes, which are no text; None if they are none."""
    if not content:
        return None
    find = sharer.backend_tokenizer.token_to_id
    letters = "".join(_byte_letters()[value] for value in content)
    token: int | None = find(letters)
    # In a vocabulary of text these letters are letters, not bytes.
    if token is not None and _CUT in sharer.decode([token]):
        return token
    token = find(f"<0x{content.hex().upper()}>")
    return token


@cache
def _byte_letters() -> str:
    """The letters that byte-level BPE writes for the bytes 0 to 255 (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in printable]
    return "".join(
        chr(value if value in printable else 256 + others.index(value)) for value in range(256)
    )
