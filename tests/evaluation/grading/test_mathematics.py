"""Mathematical answers, compared by value."""

from __future__ import annotations

import threading

import pytest

from c2c_search.evaluation.grading.mathematics import math
from c2c_search.evaluation.items import Item


pytest.importorskip("math_verify")


def item(*references: str) -> Item:
    return Item(id="1", group="g", cluster="1", messages=(), references=references)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("\\frac{1}{2}", "So the answer is \\boxed{\\frac{1}{2}}."),
        ("\\frac{1}{2}", "The answer is 0.5"),
        ("\\frac{1}{2}", "We get $\\frac{2}{4}$."),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "It is \\boxed{(3, \\pi/2)}."),
        ("2x+1", "Hence $\\boxed{1 + 2x}$"),
        ("10", "First 3, then 7, so \\boxed{10}"),
    ],
)
def test_equal_expressions_are_right_however_they_are_written(reference, text):
    assert math(item(reference), text).credit == 1.0


def test_another_value_is_wrong():
    graded = math(item("\\frac{1}{2}"), "\\boxed{\\frac{1}{3}}")
    assert (graded.credit, graded.parsed) == (0.0, "\\frac{1}{3}")


def test_no_expression_earns_nothing():
    graded = math(item("5"), "I cannot tell.")
    assert (graded.credit, graded.parsed) == (0.0, None)


def test_any_reference_will_do():
    assert math(item("3", "4"), "\\boxed{4}").credit == 1.0


def test_it_grades_in_any_thread():
    graded = []
    thread = threading.Thread(target=lambda: graded.append(math(item("4"), "\\boxed{4}")))
    thread.start()
    thread.join()
    assert [one.credit for one in graded] == [1.0]
