"""LongBench: rows of each kind in the hub's columns as items, and their answers."""

from __future__ import annotations

import pytest

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.grading.longbench import METRICS
from c2c_search.evaluation.tasks.longbench import SUBSETS
from c2c_search.evaluation.tasks.longbench import convert
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.written_samples import LONGBENCH


ROWS = {row["dataset"]: row for row in LONGBENCH}


def test_each_of_the_21_data_sets_has_a_prompt_and_a_metric():
    assert set(SUBSETS) == set(METRICS) == set(TASKS["longbench"].hub.configuration)
    assert len(SUBSETS) == 21


def test_a_row_is_an_item_of_its_data_set():
    item = convert(LONGBENCH[0], "fallback")
    assert item.id == "qasper/qasper-Which data?"
    assert item.group == "qasper"
    assert item.references == ("Tatoeba", "the Tatoeba corpus")
    assert item.facts == {"subset": "qasper", "classes": (), "max_new_tokens": 128}


def test_questions_about_one_text_are_one_cluster():
    assert convert(LONGBENCH[0], "a").cluster == convert(LONGBENCH[1], "b").cluster
    assert convert(LONGBENCH[0], "a").cluster != convert(LONGBENCH[2], "b").cluster


@pytest.mark.parametrize("row", LONGBENCH, ids=lambda row: row["dataset"])
def test_the_long_text_stands_before_the_question(row):
    (message,) = convert(row, "id").messages
    content = message["content"]
    assert row["context"] in content
    assert content.rindex(row["input"]) > content.index(row["context"])
    assert "{input}" not in content


def test_braces_in_a_text_are_left_alone():
    row = {**ROWS["lcc"], "context": "{input} = {}"}
    assert "{input} = {}" in convert(row, "id").messages[0]["content"]


def test_an_unequal_length_of_answers_is_asked_for():
    # Nearly a page for a summary, a line for a number.
    tokens = {name: convert(row, "id").facts["max_new_tokens"] for name, row in ROWS.items()}
    assert (tokens["gov_report"], tokens["passage_count"], tokens["lcc"]) == (512, 32, 64)
    assert TASKS["longbench"].max_new_tokens == 512


def test_classes_go_to_the_grader():
    item = convert(ROWS["trec"], "id")
    assert item.facts["classes"] == ("Animal", "Individual")
    assert grade(TASKS["longbench"], item, "Animal").credit == 1.0
    assert grade(TASKS["longbench"], item, "Animal or Individual").credit == 0.5


@pytest.mark.parametrize("row", LONGBENCH, ids=lambda row: row["dataset"])
def test_a_reference_is_right(row):
    pytest.importorskip("rouge_score")
    pytest.importorskip("rapidfuzz")
    item = convert(row, "id")
    assert grade(TASKS["longbench"], item, item.references[-1]).credit == pytest.approx(1)


def test_rows_of_longbench_e_are_of_the_same_kinds():
    assert convert({**ROWS["lcc"], "dataset": "lcc_e"}, "id").group == "lcc"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"dataset": "squad"}, "dataset must be one of narrativeqa"),
        ({"answers": []}, "answers must be a list of texts"),
        ({"answers": "a text"}, "answers must be a list of texts"),
        ({"dataset": "passage_count", "answers": ["two"]}, "numbers of paragraphs"),
    ],
)
def test_a_row_that_cannot_be_graded_does_not_fit(change, rule):
    with pytest.raises(ValueError, match=rule):
        convert({**LONGBENCH[0], **change}, "id")
