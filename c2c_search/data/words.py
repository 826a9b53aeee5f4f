"""Texts as words and as questions, to tell whether two of them say the same."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from c2c_search.data.schema import Row


class _Characters(dict[int, str | None]):
    """A table for `str.translate` that is filled as characters are met."""

    def __init__(self, rule: Callable[[str], str | None]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str | None:
        self[code] = self._rule(chr(code))
        return self[code]


# Scripts that put no spaces between words: Thai, Lao; Myanmar; Khmer; kana; Han.
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3005, 0x3007),
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}"
_SIGNS = "-*/%"  # punctuation to Unicode, and another sum to a pupil
_AROUND_SIGNS = re.compile(r" ?([-*/%+=<>^|~\u00d7\u00f7\u2212\u2260\u2264\u2265]) ?")


def words(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation.

    Where a script has no spaces, each letter is a word, without its marks.
    """
    return _folded(text).translate(_WORDS).split()


def question_key(text: str) -> str:
    """A question without what does not change it: case, punctuation, spaces.

    Signs stay: ``3 + 4`` is not ``3 - 4``.
    """
    key = " ".join(_folded(text).translate(_QUESTIONS).split())
    return _AROUND_SIGNS.sub(r"\1", key)


def asked_key(row: Row) -> str:
    """`question_key` of a row's whole prompt, to tell whether two rows ask the same."""
    turns = (f"{turn['role']}: {turn['content']}" for turn in row["messages"])
    return question_key("\n".join(turns))


def _folded(text: str) -> str:
    # Full-width and composed forms are the same letters.
    return text.casefold() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _in_words(char: str) -> str | None:
    kind = unicodedata.category(char)
    if kind == "Cf" or char in _APOSTROPHES:
        return None
    if any(first <= ord(char) <= last for first, last in _UNSPACED):
        return None if kind[0] == "M" else f" {char} "
    return char if kind[0] in "LMN" else " "


def _in_questions(char: str) -> str | None:
    kind = unicodedata.category(char)
    if kind == "Cf" or char in _APOSTROPHES:
        return None
    return char if kind[0] in "LMNS" or char in _SIGNS else " "


_WORDS = _Characters(_in_words)
_QUESTIONS = _Characters(_in_questions)
