"""LongBench's metrics, each by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.evaluation.grading.longbench import METRICS
from c2c_search.evaluation.grading.longbench import longbench
from c2c_search.evaluation.items import Item


def item(subset: str, *references: str, classes: tuple[str, ...] = ()) -> Item:
    return Item(
        id="1",
        group=subset,
        cluster="1",
        messages=(),
        references=references,
        facts={"subset": subset, "classes": classes},
    )


def credit(subset: str, text: str, *references: str, classes: tuple[str, ...] = ()) -> float:
    return longbench(item(subset, *references, classes=classes), text).credit


def test_there_is_a_metric_for_each_of_the_21_data_sets():
    assert len(METRICS) == 21


def test_english_answers_are_compared_by_their_words():
    # Shared: red. Precision 1/1 (the article is dropped), recall 1/2: 2 * 1/2 / (3/2) = 2/3.
    assert credit("qasper", "The red.", "red car") == pytest.approx(2 / 3)
    assert credit("hotpotqa", "no", "yes", "No!") == 1.0


def test_chinese_answers_are_compared_by_their_words():
    pytest.importorskip("jieba")
    # Words: 今天天气 | 很 | 好, the full stop dropped. Against the first two: precision 2/3,
    # recall 1, F = 4/5.
    text, reference = (
        "今天天气很好\u3002",
        "今天天气很",
    )
    assert credit("multifieldqa_zh", text, reference) == pytest.approx(0.8)
    assert credit("multifieldqa_zh", "\uff1f\uff01", reference) == 0.0


def test_summaries_are_compared_by_their_longest_common_subsequence():
    pytest.importorskip("rouge_score")
    # "the cat sat": precision 3/3, recall 3/4, F = 6/7.
    assert credit("gov_report", "The cat sat.", "the cat sat down") == pytest.approx(6 / 7)
    # Shared in order: one, three. 2/3 of both.
    assert credit("qmsum", "one two three", "three one three") == pytest.approx(2 / 3)


def test_chinese_summaries_are_cut_into_words():
    pytest.importorskip("rouge_score")
    pytest.importorskip("jieba")
    # 今天天气 | 很 | 好 against 今天天气 | 很: precision 2/3, recall 1.
    assert credit("vcsum", "今天天气很好", "今天天气很") == pytest.approx(0.8)


def test_a_class_is_right_if_it_alone_is_named():
    classes = ("Food", "Animal", "City")
    assert credit("trec", "Food", "Food", classes=classes) == 1.0
    assert credit("trec", "Food or Animal", "Food", classes=classes) == 0.5
    assert credit("trec", "City", "Food", classes=classes) == 0.0
    assert credit("trec", "nothing", "Food", classes=classes) == 0.0


def test_a_class_within_the_right_ones_name_is_no_answer_of_its_own():
    classes = ("location", "Other location")
    assert credit("trec", "Other location", "Other location", classes=classes) == 1.0


@pytest.mark.parametrize("subset", ["trec", "lsht", "triviaqa"])
def test_few_shot_answers_are_the_first_line(subset):
    text = "\nFood\nQuestion: What is a cat?\nType: Animal"
    graded = longbench(item(subset, "Food", classes=("Food", "Animal")), text)
    assert (graded.credit, graded.parsed) == (1.0, "Food")


def test_a_count_is_shared_among_the_numbers_given():
    assert credit("passage_count", "There are 7.", "7") == 1.0
    assert credit("passage_count", "7 or 8, I think 7", "7") == pytest.approx(2 / 3)
    assert credit("passage_count", "many", "7") == 0.0
    assert credit("passage_count", "17", "7") == 0.0


def test_a_paragraph_is_found_by_its_number():
    assert credit("passage_retrieval_en", "Paragraph 15", "Paragraph 15") == 1.0
    assert credit("passage_retrieval_en", "15 or 3", "Paragraph 15") == 0.5
    assert credit("passage_retrieval_zh", "段落3", "段落3") == 1.0


def test_code_is_compared_by_its_first_line():
    pytest.importorskip("rapidfuzz")
    text = "```python\n# a comment\n    return x\n    return y"
    assert credit("lcc", text, "return x") == 1.0
    # 8 characters each, 7 in common: 1 - (1 + 1) / 16 = 0.875.
    assert credit("repobench-p", "return y", "return x") == pytest.approx(0.875)
    assert credit("lcc", "// only a comment", "return x") == 0.0


ENGLISH = sorted(set(METRICS) - {"multifieldqa_zh", "dureader", "vcsum"})


@settings(deadline=None)
@given(st.sampled_from(ENGLISH), st.text(max_size=30))
def test_credit_is_between_0_and_1_whatever_is_written(subset, text):
    pytest.importorskip("rouge_score")
    pytest.importorskip("rapidfuzz")
    reference = "Paragraph 7"
    assert 0 <= credit(subset, text, reference, classes=(reference, "7")) <= 1


@pytest.mark.parametrize("subset", ENGLISH)
def test_the_reference_itself_is_right(subset):
    pytest.importorskip("rouge_score")
    pytest.importorskip("rapidfuzz")
    reference = "7" if subset == "passage_count" else "Paragraph 7"
    assert credit(subset, reference, reference, classes=(reference,)) == pytest.approx(1)
