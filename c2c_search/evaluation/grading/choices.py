"""Grades choices: which option a text takes, however it says so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from collections.abc import Sequence
from string import ascii_uppercase

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.items import Item


# What may stand around an option or its letter: quotes, brackets, Markdown, LaTeX.
_AROUND = r"[\s:=*_\"'`(\[【{$]"
_WORDS = r"(?i:\\?(?:text|textbf|mathrm|mathbf)\s*\{|(?:the\s+)?(?:option|choice|letter)\b|选项)"
_LEAD = re.compile(
    r"\b(?:answer|option|choice)\b[^\n.:=]{0,40}?(?:\bis\b|\bbe\b|[:=])"
    r"|\b(?:choose|pick|select|go(?:ing)? with)\b"
    r"|(?:答案|选项|选择)\s*(?:应该|应当|应)?\s*[是为:]|选"
    r"|\\boxed\s*\{",
    re.IGNORECASE,
)
# A and I are words too: not where a small word follows, unless it gives the reason.
_CAPITAL = r"[A-Z](?!'?\w)(?!(?<=[AI])\s+(?!because|since|as\b|which\b|and\b|is\b)[a-z])"
_SMALL_AT_END = r"[a-z](?=[\s*_).\]}$\"'`]*(?:\n|$))"
_LETTER = re.compile(rf"(?:{_AROUND}|{_WORDS})*({_CAPITAL}|{_SMALL_AT_END})", re.ASCII)
_CONFIRMED = re.compile(
    r"(?<!\w)([A-Z])[)\]*_]*\s+is\s+(?:the\s+)?(?:most\s+)?"
    r"(?:correct|right|best|true|accurate|appropriate)\b"
)
_LEADING = re.compile(
    rf"(?:{_AROUND}|{_WORDS})*"
    r"(?:([A-Z])[*_\"']*(?:[)\]】}.:,、]+|(?=\n|$))|([a-z])[)\].]+(?=\s|$))"
)
# What begins with an option to talk about it does not answer with it yet.
_TALK = re.compile(r"[\s*]+(?:is|are|was|were|can|could|may|might|and|or)\b")
_ALONE = re.compile(r"^[\s*_\"'`(\[【{$]*([A-Za-z])[\s*_\"'`)\]】}$.:。]*$", re.MULTILINE)
_BRACKETED = re.compile(r"(?<!\w)[(\[【]([A-Za-z])[)\]】]|\*\*([A-Z])[.:)]?\*\*")
_QUOTES = str.maketrans(dict.fromkeys("\u2018\u2019", "'") | dict.fromkeys("\u201c\u201d", '"'))


@grader("choice", reference="c2c-search: what is said outright, then letters, then texts")
def choice(item: Item, text: str) -> Graded:
    """1 if the option that the text chooses is the right one; else 0.

    Args:
        item: With choices, lettered from A in the prompt.
        text: A letter, an option's text, or a reasoned answer with one of them.
    """
    chosen = read_choice(item.choices, text)
    if chosen is None:
        return Graded(0.0, None)
    return Graded(float(chosen == item.answer), ascii_uppercase[chosen])


def read_choice(choices: Sequence[str], text: str) -> int | None:
    """Index of the option that a text chooses; None if it does not choose one.

    What is said outright counts first, and the last of it ("Answer: B", "the answer is **B**",
    ``\\boxed{B}``); then how the text begins ("B.", "(B)", the option's text); then the last line
    that is a letter alone; then the last bracketed letter; then the one option whose text occurs.
    """
    options = _Options([_plain(option) for option in choices])
    text = _plain(text)
    for found in (
        options.stated(text),
        options.leading(text),
        options.lettered(_ALONE.finditer(text)),
        options.lettered(_BRACKETED.finditer(text)),
    ):
        if found:
            return found[-1]
    occurring = options.occurring(text)
    return occurring.pop() if len(occurring) == 1 else None


class _Options:
    """The options of an item, found by letter or by text."""

    def __init__(self, choices: Sequence[str]) -> None:
        self.count = len(choices)
        # Longest first: an option may begin with another.
        order = sorted(range(len(choices)), key=lambda index: -len(choices[index]))
        patterns = [(index, _pattern(choices[index])) for index in order]
        texts = "|".join(f"(?P<o{index}>{pattern})" for index, pattern in patterns if pattern)
        # A pattern that matches nothing stands in where no option has a text of its own.
        texts = rf"(?:{texts or '(?!)'})(?!\w)(?![.,]\d)"
        self.anywhere = re.compile(rf"(?<!\w){texts}", re.IGNORECASE)
        self.here = re.compile(rf"{_AROUND}*?{texts}", re.IGNORECASE)

    def stated(self, text: str) -> list[int]:
        """What the text says is the answer, in its order."""
        said: list[tuple[int, int]] = []
        for lead in _LEAD.finditer(text):
            named = self.here.match(text, lead.end())
            letter = _LETTER.match(text, lead.end())
            found = _option(named) if named is not None else self._index(letter)
            if found is not None:
                said.append((lead.end(), found))
        for match in _CONFIRMED.finditer(text):
            if (found := self._index(match)) is not None:
                said.append((match.start(), found))
        return [found for _, found in sorted(said)]

    def leading(self, text: str) -> list[int]:
        """What the text begins with."""
        for pattern, read in ((self.here, _option), (_LEADING, self._index)):
            match = pattern.match(text)
            if match is not None and _TALK.match(text, match.end()) is None:
                found = read(match)
                return [] if found is None else [found]
        return []

    def lettered(self, matches: Iterator[re.Match[str]]) -> list[int]:
        """The options that letters stand for."""
        return [found for match in matches if (found := self._index(match)) is not None]

    def occurring(self, text: str) -> set[int]:
        """All options whose text is somewhere in it."""
        return {_option(match) for match in self.anywhere.finditer(text)}

    def _index(self, match: re.Match[str] | None) -> int | None:
        if match is None:
            return None
        letter = next(group for group in match.groups() if group)
        index = ascii_uppercase.index(letter.upper())
        return index if index < self.count else None


def _plain(text: str) -> str:
    """Full-width letters and punctuation, and quotes, as ASCII has them."""
    return unicodedata.normalize("NFKC", text).translate(_QUOTES)


def _pattern(option: str) -> str:
    """An option's text, whatever its spaces and full stop; empty for a letter alone."""
    words = option.strip().rstrip(".").split()
    if not words or (len(words) == 1 and len(words[0]) == 1 and words[0].isalpha()):
        return ""
    return r"\s+".join(re.escape(word) for word in words)


def _option(match: re.Match[str]) -> int:
    assert match.lastgroup is not None
    return int(match.lastgroup[1:])
