"""What tasks' columns have in common: options in an order, groups, and rows that do not fit."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.tasks.columns import shuffled
from tests.evaluation.hub_samples import convert


@pytest.mark.parametrize("name", ["mmlu_redux", "ceval"])
def test_a_configuration_is_the_group(name: str) -> None:
    for group in (convert(name, configuration="anatomy"), convert(name, subject="anatomy")):
        assert group is not None
        assert group.group == "anatomy"


@pytest.mark.parametrize(
    ("name", "column", "count"), [("gpqa", "Question", 4), ("truthfulqa_mc", "question", 3)]
)
def test_options_are_shuffled_by_the_question_alone(name: str, column: str, count: int) -> None:
    asked = [convert(name, **{column: f"Question number {number}?"}) for number in range(400)]
    places = Counter(item.answer for item in asked if item is not None)
    # Binomial(400, 1/4) has mean 100 and deviation 8.7; 1/3: 133 and 9.4. Five of them are 47.
    assert set(places) == set(range(count))
    assert all(abs(seen - 400 / count) < 47 for seen in places.values())
    assert convert(name, **{column: "Why?"}) == convert(name, **{column: " Why? "})


@given(choices=st.lists(st.text(), min_size=1, max_size=10), data=st.data())
def test_shuffling_loses_nothing(choices: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.integers(0, len(choices) - 1))
    order, place = shuffled(choices, answer, "key")
    assert sorted(order) == sorted(choices)
    assert order[place] == choices[answer]


def test_an_option_without_text_leaves_the_item_out() -> None:
    assert convert("mmlu_pro", options=["coffee", " "], answer_index=0) is None
    assert convert("mmlu_pro", options=["coffee", None], answer_index=0) is None


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"question": " "}, "question must be a non-empty text"),
        ({"options": ["one"]}, "at least two choices"),
        ({"options": "abc"}, "at least two choices"),
        ({"answer_index": 10}, "one of 10 choices, not 10"),
        ({"answer_index": -1}, "one of 10 choices, not -1"),
    ],
)
def test_a_row_that_does_not_fit_is_told(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        convert("mmlu_pro", **changes)
