"""Short answers against references."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c2c_search.evaluation.grading.matching import exact_match
from c2c_search.evaluation.grading.matching import f1
from c2c_search.evaluation.grading.matching import normalised
from c2c_search.evaluation.items import Item


def item(*references: str) -> Item:
    return Item(id="1", group="g", cluster="1", messages=(), references=references)


@pytest.mark.parametrize(
    "text", ["Eiffel Tower", "the Eiffel Tower.", "  eiffel\n tower! ", "An Eiffel-Tower"]
)
def test_case_articles_punctuation_and_white_space_do_not_matter(text):
    # A hyphen is dropped like all punctuation, so that only its own spelling matches it.
    assert exact_match(item("Eiffel Tower", "EiffelTower"), text).credit == 1.0


def test_any_reference_will_do():
    assert exact_match(item("Tokio", "Tokyo"), "tokyo").credit == 1.0
    assert exact_match(item("Tokio", "Tokyo"), "Kyoto").credit == 0.0


def test_what_was_read_is_the_answer_itself():
    assert exact_match(item("Tokyo"), " Kyoto \n").parsed == "Kyoto"
    assert exact_match(item("Tokyo"), "  ").parsed is None


def test_an_article_within_a_word_stays():
    assert normalised("The theatre, an android") == "theatre android"


def test_f1_of_words():
    # Shared: big, red. Precision 2/3, recall 2/4: 2 * (2/3 * 1/2) / (2/3 + 1/2) = 4/7.
    assert f1(item("one big red house"), "big red car").credit == pytest.approx(4 / 7)


def test_f1_counts_a_repeated_word_once_for_each_time_that_both_have_it():
    # Shared: "x" once. Precision 1/3, recall 1: 2/4.
    assert f1(item("x"), "x x x").credit == pytest.approx(0.5)


def test_f1_takes_the_best_reference():
    assert f1(item("red", "blue car"), "the blue car").credit == 1.0


def test_f1_of_nothing_is_nothing():
    assert f1(item("red"), "").credit == 0.0
    assert f1(item("the"), "the").credit == 0.0  # nothing is left of either


WORDS = st.lists(st.sampled_from(["red", "blue", "car", "house", "The"]), max_size=6).map(" ".join)


@given(WORDS, WORDS)
def test_f1_is_symmetric_and_between_0_and_1(one, other):
    score = f1(item(one), other).credit
    assert 0 <= score <= 1
    assert score == pytest.approx(f1(item(other), one).credit)


@given(st.text(min_size=1).filter(lambda text: normalised(text)))
def test_a_text_matches_itself(text):
    assert exact_match(item(text), text).credit == 1.0
    assert f1(item(text), text).credit == 1.0
