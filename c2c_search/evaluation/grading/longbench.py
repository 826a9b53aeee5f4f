"""LongBench's metrics, one for each of its data sets.

What each measures is as published (arXiv 2308.14508). Three differences: ROUGE-L comes from
another library, with another tokenizer for English; code is compared without the white space
around a line; and a class that contains the right one's name always counts as another answer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from collections.abc import Sequence
from functools import cache
from typing import Any

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.grading.matching import normalised
from c2c_search.evaluation.grading.matching import overlap
from c2c_search.evaluation.grading.optional import optional
from c2c_search.evaluation.items import Item


Metric = Callable[[str, str, Sequence[str]], float]
"""Credit in [0, 1] of a text, given a reference and the names of all classes."""

# Punctuation that is no part of a Chinese word, beside ASCII's: first and last of each range.
_CJK_MARKS = (
    (0x2013, 0x2014),
    (0x2018, 0x2019),
    (0x201B, 0x201F),
    (0x2026, 0x2027),
    (0x3001, 0x3003),
    (0x300B, 0x3011),
    (0x3014, 0x301F),
    (0x3030, 0x3030),
    (0x303E, 0x303F),
    (0xFE4F, 0xFE4F),
    (0xFF01, 0xFF0D),
    (0xFF0F, 0xFF0F),
    (0xFF1A, 0xFF20),
    (0xFF3B, 0xFF40),
    (0xFF5B, 0xFF64),
)
_MARKS = dict.fromkeys(
    [mark for first, last in _CJK_MARKS for mark in range(first, last + 1)]
    + [ord(mark) for mark in string.punctuation]
)
_FIRST_LINE_ALONE = frozenset(("trec", "triviaqa", "samsum", "lsht"))


@grader("longbench", reference="LongBench (arXiv 2308.14508)")
def longbench(item: Item, text: str) -> Graded:
    """Judge an answer by its data set's metric, against the reference that it meets best.

    Args:
        item: With ``subset`` in its facts, and ``classes`` where a class is to be named.
        text: The answer.

    Raises:
        ConfigError: The metric needs a library that is not installed.
    """
    subset = item.facts["subset"]
    read = text.strip()
    if subset in _FIRST_LINE_ALONE:
        read = read.split("\n")[0].strip()
    classes = item.facts.get("classes", ())
    scores = [METRICS[subset](read, reference, classes) for reference in item.references]
    return Graded(max(scores, default=0.0), read or None)


def qa_f1(text: str, reference: str, classes: Sequence[str]) -> float:
    """F1 of words, normalised."""
    return overlap(normalised(text).split(), normalised(reference).split())


def qa_f1_zh(text: str, reference: str, classes: Sequence[str]) -> float:
    """F1 of Chinese words."""
    return overlap(_words_zh(text), _words_zh(reference))


def rouge_l(text: str, reference: str, classes: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of words."""
    return _rouge().score(reference, text)["rougeL"].fmeasure


def rouge_l_zh(text: str, reference: str, classes: Sequence[str]) -> float:
    """The same, of Chinese words and punctuation."""
    return _rouge(chinese=True).score(reference, text)["rougeL"].fmeasure


def classification(text: str, reference: str, classes: Sequence[str]) -> float:
    """1 / the number of classes named, if the right one is among them."""
    named = [one for one in classes if one in text]
    # "Other location" also names "location"; that is no answer of its own.
    named = [one for one in named if one == reference or one not in reference]
    return 1 / len(named) if reference in named else 0.0


def retrieval(text: str, reference: str, classes: Sequence[str]) -> float:
    """Share of the numbers given that are the paragraph's; in English and Chinese."""
    return count(text, re.findall(r"\d+", reference)[0], classes)


def count(text: str, reference: str, classes: Sequence[str]) -> float:
    """Share of the numbers given that are the right one."""
    numbers = re.findall(r"\d+", text)
    return numbers.count(reference) / len(numbers) if numbers else 0.0


def code_similarity(text: str, reference: str, classes: Sequence[str]) -> float:
    """Similarity (Indel) of the first line of code, neither blank nor a comment, in [0, 1]."""
    lines = (line.strip() for line in text.split("\n"))
    code = (line for line in lines if line and not any(mark in line for mark in ("`", "#", "//")))
    ratio: float = optional("rapidfuzz.fuzz", "rapidfuzz").ratio(next(code, ""), reference.strip())
    return ratio / 100


METRICS: dict[str, Metric] = {
    "narrativeqa": qa_f1,
    "qasper": qa_f1,
    "multifieldqa_en": qa_f1,
    "multifieldqa_zh": qa_f1_zh,
    "hotpotqa": qa_f1,
    "2wikimqa": qa_f1,
    "musique": qa_f1,
    "dureader": rouge_l_zh,
    "gov_report": rouge_l,
    "qmsum": rouge_l,
    "multi_news": rouge_l,
    "vcsum": rouge_l_zh,
    "trec": classification,
    "triviaqa": qa_f1,
    "samsum": rouge_l,
    "lsht": classification,
    "passage_count": count,
    "passage_retrieval_en": retrieval,
    "passage_retrieval_zh": retrieval,
    "lcc": code_similarity,
    "repobench-p": code_similarity,
}
"""The metric of each data set."""


class _ChineseWords:
    """A tokenizer as `rouge_score` takes it."""

    def tokenize(self, text: str) -> list[str]:
        return [word for word in _cut(text) if word.strip()]


@cache
def _rouge(*, chinese: bool = False) -> Any:
    scorer = optional("rouge_score.rouge_scorer", "rouge-score").RougeScorer
    return scorer(["rougeL"], tokenizer=_ChineseWords() if chinese else None)


def _words_zh(text: str) -> list[str]:
    """Words in lower case, without punctuation and white space."""
    stripped = ("".join(word.lower().translate(_MARKS).split()) for word in _cut(text))
    return [word for word in stripped if word]


def _cut(text: str) -> list[str]:
    jieba = optional("jieba", "jieba")
    # It reports on standard error how it reads its dictionary.
    jieba.setLogLevel("WARNING")
    return list(jieba.cut(text, cut_all=False))
