"""chrF of a translation and of a corpus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.evaluation.grading.translations import chrf
from c2c_search.evaluation.grading.translations import corpus_chrf
from c2c_search.evaluation.items import Item


pytest.importorskip("sacrebleu")


def item(*references: str) -> Item:
    return Item(id="1", group="g", cluster="1", messages=(), references=references)


def test_chrf_of_two_letters_by_hand():
    # Runs of one: "a" is shared, precision 1/2 and recall 1/2. Runs of two: none is shared, 0.
    # Runs of three and more are in neither. Means 1/4 and 1/4, so F = 1/4.
    assert chrf(item("ac"), "ab").credit == pytest.approx(0.25)


def test_recall_weighs_more_than_precision():
    # "ab" of "abc": runs of one: precision 1, recall 2/3; of two: 1 and 1/2; "abc" has one run of
    # three and "ab" none, so that only two lengths count. P = 1, R = 7/12,
    # F = (1 + 4) * P * R / (4 * P + R) = 35/12 / (55/12) = 7/11.
    assert chrf(item("abc"), "ab").credit == pytest.approx(7 / 11)


def test_the_best_reference_counts():
    assert chrf(item("something else", "hello there"), "hello there").credit == pytest.approx(1)


def test_nothing_written_earns_nothing():
    graded = chrf(item("hello"), " ")
    assert (graded.credit, graded.parsed) == (0.0, None)


def test_a_corpus_sums_counts_before_it_compares():
    # "ab" against "ac" and "d" against "d". Runs of one: 1 + 1 of 2 + 1 shared, 2/3; of two: 0 of
    # 1. Means 1/3, so F = 1/3; the mean of the sentences' own would be (1/4 + 1) / 2 = 5/8.
    assert corpus_chrf(["ab", "d"], [["ac"], ["d"]]) == pytest.approx(1 / 3)


def test_texts_may_have_different_numbers_of_references():
    assert corpus_chrf(["ab", "cd"], [["xx", "ab"], ["cd"]]) == pytest.approx(1)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip()))
def test_a_text_is_its_own_best_translation(text):
    assert chrf(item(text), text).credit == pytest.approx(1)
    assert corpus_chrf([text], [[text]]) == pytest.approx(1)


@settings(deadline=None)
@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_chrf_is_between_0_and_1(text, reference):
    assert 0 <= chrf(item(reference), text).credit <= 1
