"""What is reported was neither learnt nor chosen by, and the code sees to it."""

from __future__ import annotations

import pytest

from c2c_search.data.schema import Row
from c2c_search.errors import DataError
from c2c_search.evaluation.guard import clean
from c2c_search.evaluation.guard import not_reported
from c2c_search.evaluation.guard import refuse_report_split
from c2c_search.evaluation.guard import refuse_selection_split
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult


def _result(split: str) -> SystemResult:
    item = ItemResult(id="q", group="g", cluster="c", answer=0, chosen=0)
    return SystemResult(system="relay", split=split, items=(item,))


def _row(id: str, question: str) -> Row:
    return Row(
        id=id,
        group="g",
        cluster=id,
        messages=[{"role": "user", "content": question}],
        sharer_messages=[],
        response="yes",
        choices=["yes", "no"],
        answer=0,
    )


def _item(id: str, question: str) -> Item:
    return Item.of_row(_row(id, question))


ITEMS = [_item("a", "Who?"), _item("b", "Where?"), _item("c", "When?")]
TRAINED, SELECTED = [_row("t", "who")], [_row("v", "where?")]


def test_validation_may_be_chosen_by_and_nothing_else() -> None:
    refuse_report_split(_result("validation"))
    for split in ("test", "train", "dev", ""):
        with pytest.raises(DataError, match="Only the validation split") as error:
            refuse_report_split(_result(split))
        assert f"relay on {split}" in str(error.value)
        assert "Measure it on validation" in str(error.value)


def test_test_may_prove_and_nothing_else() -> None:
    refuse_selection_split(_result("test"), _result("test"))
    with pytest.raises(DataError, match=r"Only the test split .*relay on validation"):
        refuse_selection_split(_result("test"), _result("validation"))


def test_what_is_reported_is_not_chosen_by() -> None:
    assert not_reported(ITEMS[:1], ITEMS[1:]) == ITEMS[:1]
    assert not_reported([_item("z", "WHERE")], ITEMS) == []


def test_items_that_were_trained_or_selected_on_are_left_out() -> None:
    kept, found = clean(ITEMS, TRAINED, SELECTED, "exclude", name="quiz")
    assert kept == ITEMS[2:]
    assert found.sets["quiz"].ids == ("a", "b")
    assert found.sentence() == (
        "2 of 2 examples overlap with 2 of 3 quiz items (2 by the same question, 0 by 13 words in "
        "a row). These items are left out."
    )


def test_items_that_overlap_can_be_kept() -> None:
    kept, found = clean(ITEMS, TRAINED, SELECTED, "report")
    assert kept == ITEMS
    assert found.overlapping == ("t", "v")
    assert found.left_out == "nothing"


def test_items_that_overlap_can_be_refused() -> None:
    with pytest.raises(DataError, match="must not overlap") as error:
        clean(ITEMS, TRAINED, SELECTED, "refuse")
    assert "t and test item a ask the same" in str(error.value)
    assert "v and test item b ask the same" in str(error.value)


def test_no_item_left_is_refused() -> None:
    with pytest.raises(DataError, match="An item must be left"):
        clean(ITEMS[:2], TRAINED, SELECTED, "exclude")


def test_nothing_seen_leaves_every_item() -> None:
    kept, found = clean(ITEMS, [], [], "refuse")
    assert kept == ITEMS
    assert not found.found


def test_a_written_answer_counts_as_an_items_own_words() -> None:
    answer = "a b c d e f g h i j k l m"
    item = Item("q", "g", "q", ({"role": "user", "content": "Translate."},), references=(answer,))
    kept, found = clean([item, ITEMS[2]], [_row("t", f"He wrote {answer}.")], [], "exclude")
    assert kept == ITEMS[2:]
    assert found.sets["test"].ngram[0].ngram == answer
