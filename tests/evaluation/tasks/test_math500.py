"""MATH-500: a row in the hub's columns as an item, and its answers."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.tasks.math500 import convert
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.written_samples import MATH500


def test_a_row_is_an_item_of_its_subject():
    item = convert(MATH500[0], "fallback")
    assert item.id == item.cluster == "test/prealgebra/1.json"
    assert item.group == "Prealgebra"
    assert item.references == ("\\frac{1}{2}",)
    assert item.facts == {"solution": MATH500[0]["solution"], "level": 1}


def test_a_row_needs_no_more_than_problem_answer_and_subject():
    row = {key: MATH500[0][key] for key in TASKS["math500"].hub.columns}
    item = convert(row, "fallback")
    assert (item.id, item.facts) == ("fallback", {})


def test_answers_are_judged_by_their_value():
    pytest.importorskip("math_verify")
    item = convert(MATH500[0], "id")
    assert grade(TASKS["math500"], item, "We get \\boxed{0.5}.").credit == 1.0
    assert grade(TASKS["math500"], item, MATH500[0]["solution"]).credit == 1.0
    assert grade(TASKS["math500"], item, "We get \\boxed{2}.").credit == 0.0


def test_an_empty_answer_does_not_fit():
    with pytest.raises(ValueError, match="answer must be a non-empty text"):
        convert({**MATH500[0], "answer": ""}, "id")
