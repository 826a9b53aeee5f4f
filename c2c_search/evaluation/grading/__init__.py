"""Answers in words, read and judged."""

from __future__ import annotations

from c2c_search.evaluation.grading.grader import GRADERS
from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import Grader
from c2c_search.evaluation.grading.grader import grade
from c2c_search.evaluation.grading.grader import grader


__all__ = ["GRADERS", "Graded", "Grader", "grade", "grader"]
