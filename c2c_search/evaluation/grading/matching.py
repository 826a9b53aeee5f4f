"""Grades short answers, compared with references word for word."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.items import Item


_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@grader("exact_match", reference="SQuAD (arXiv 1606.05250)")
def exact_match(item: Item, text: str) -> Graded:
    """1 if the answer is one of the references, both normalised; else 0.

    Source: SQuAD's evaluation (arXiv 1606.05250).
    """
    answer = normalised(text)
    right = any(answer == normalised(reference) for reference in item.references)
    return Graded(float(right), text.strip() or None)


@grader("f1", reference="SQuAD (arXiv 1606.05250)")
def f1(item: Item, text: str) -> Graded:
    """F1 of the answer's words, normalised, against the reference that it meets best.

    Source: SQuAD's evaluation (arXiv 1606.05250).
    """
    words = normalised(text).split()
    best = max((overlap(words, normalised(one).split()) for one in item.references), default=0.0)
    return Graded(best, text.strip() or None)


def normalised(text: str) -> str:
    """Lower case, without punctuation (ASCII) and articles, words apart by one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def overlap(words: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two bags of words, in [0, 1]; 0 where they share none."""
    shared = (Counter(words) & Counter(reference)).total()
    return 2 * shared / (len(words) + len(reference)) if shared else 0.0
