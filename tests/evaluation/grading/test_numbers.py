"""Numbers read out of worked answers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.grading.numbers import number
from c2c_search.evaluation.grading.numbers import read_number
from c2c_search.evaluation.items import Item


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Natalia sold 48/2 = 24 in May.\n#### 72", "72"),
        ("#### 72\nThat took 5 steps.", "72"),
        ("The answer is 18.", "18"),
        ("The final answer is: $1,234.50, in 2020.", "1234.50"),
        ("Answer: 12", "12"),
        ("So \\boxed{18} in 3 steps", "18"),
        ("First #### 1, but then #### 2", "2"),
        ("It costs \\$10", "10"),
        ("She has 5 - 3 = 2 apples", "2"),
        ("48-24", "24"),
        ("It is -5 degrees", "-5"),
        ("-$7", "-7"),
        ("$-7", "-7"),
        ("\u22123", "-3"),
        ("about 1,234,567 people", "1234567"),
        ("1,2", "2"),
        ("half is .5", "0.5"),
        ("it ends with 3.", "3"),
        ("18 km", "18"),
        ("The answer is unknown", None),
        ("x2", None),
        ("", None),
    ],
)
def test_the_number_that_a_text_means(text, found):
    assert read_number(text) == (None if found is None else Decimal(found))


def item(*references: str) -> Item:
    return Item(id="1", group="g", cluster="1", messages=(), references=references)


@pytest.mark.parametrize("text", ["#### 1200", "1,200", "1200.00", "The answer is $1,200."])
def test_numbers_are_compared_as_numbers(text):
    assert number(item("1,200"), text).credit == 1.0


def test_any_reference_will_do():
    assert number(item("3", "4"), "4").credit == 1.0


def test_another_number_earns_nothing():
    graded = number(item("72"), "The answer is 27")
    assert (graded.credit, graded.parsed) == (0.0, "27")


def test_no_number_earns_nothing():
    graded = number(item("72"), "seventy-two")
    assert (graded.credit, graded.parsed) == (0.0, None)


@given(st.integers(-(10**9), 10**9), st.sampled_from(["{}", "{:,}", "#### {:,}", "So it is {}."]))
def test_every_whole_number_is_read_in_every_form(value, form):
    assert read_number(form.format(value)) == value
