"""Answers in words, read and judged."""

from __future__ import annotations

from c2c_search.evaluation.grading.choices import choice
from c2c_search.evaluation.grading.grade import grade
from c2c_search.evaluation.grading.longbench import longbench
from c2c_search.evaluation.grading.matching import exact_match
from c2c_search.evaluation.grading.matching import f1
from c2c_search.evaluation.grading.mathematics import math
from c2c_search.evaluation.grading.numbers import number
from c2c_search.evaluation.grading.translations import chrf
from c2c_search.evaluation.grading.translations import corpus_chrf


__all__ = [
    "choice",
    "chrf",
    "corpus_chrf",
    "exact_match",
    "f1",
    "grade",
    "longbench",
    "math",
    "number",
]
