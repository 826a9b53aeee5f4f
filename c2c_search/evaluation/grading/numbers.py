"""Grades numbers, read out of their working."""

from __future__ import annotations

import re
from decimal import Decimal

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.items import Item


_NUMBER = re.compile(
    r"(?<![\w.])"  # no part of a name or of another number
    r"(?P<minus>(?<!\))[-\u2212](?=[\\$€£¥\d.]))?"  # no subtraction
    r"(?:\\?[$€£¥]\s?)?"
    r"(?P<inner>[-\u2212])?"
    r"(?P<value>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
)
_STATED = re.compile(
    r"####|\\boxed\s*\{|\banswer\b[^\n.:=\d]{0,40}?(?:\bis\b|[:=])", re.IGNORECASE
)


@grader("number", reference="GSM8K (arXiv 2110.14168)")
def number(item: Item, text: str) -> Graded:
    """1 if the answer's number equals a reference's, as numbers; else 0.

    The number is the first one after the last ``####``, ``\\boxed{`` or "answer is", or else the
    last one of the text. Thousands separators and currency signs are not part of it.

    Source: GSM8K (arXiv 2110.14168), whose solutions end in ``#### number``.
    """
    found = read_number(text)
    if found is None:
        return Graded(0.0, None)
    right = any(found == read_number(reference) for reference in item.references)
    return Graded(float(right), f"{found:f}")


def read_number(text: str) -> Decimal | None:
    """The number that a text ends with or states as its answer; None if there is none."""
    for stated in reversed(list(_STATED.finditer(text))):
        if (match := _NUMBER.search(text, stated.end())) is not None:
            return _value(match)
    matches = list(_NUMBER.finditer(text))
    return _value(matches[-1]) if matches else None


def _value(match: re.Match[str]) -> Decimal:
    value = Decimal(match["value"].replace(",", ""))
    return -value if match["minus"] or match["inner"] else value
