"""A system's answers: accuracy, by group, and a JSON round trip."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_differ
from c2c_search.evaluation.results import answers_table
from c2c_search.evaluation.results import tie_notes


def _item(number: int, group: str, chosen: int) -> ItemResult:
    return ItemResult(
        id=f"i{number}", group=group, cluster="FR", answer=1, chosen=chosen, scores=(-1.0, -0.5)
    )


def _result() -> SystemResult:
    items = (_item(0, "country/zh", 1), _item(1, "country/ja", 0), _item(2, "country/ja", 1))
    return SystemResult(system="c2c", split="test", items=items)


def test_an_item_is_right_when_the_right_choice_was_chosen() -> None:
    assert _item(0, "g", 1).correct
    assert not _item(0, "g", 0).correct


def test_accuracy_is_the_share_of_right_items() -> None:
    assert _result().accuracy == pytest.approx(2 / 3)


def test_accuracy_by_group_is_sorted_by_name() -> None:
    assert list(_result().accuracy_by_group().items()) == [("country/ja", 0.5), ("country/zh", 1)]


def test_json_round_trip_keeps_everything() -> None:
    assert SystemResult.model_validate_json(_result().model_dump_json()) == _result()


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError):
        SystemResult.model_validate({"system": "c2c", "split": "test", "items": (), "extra": 1})


def test_answers_differ_by_more_than_rounding() -> None:
    one = ItemResult(id="a", group="g", cluster="a", answer=0, chosen=0, scores=(-1.0, -1.01))
    near = one.model_copy(update={"chosen": 1, "scores": (-1.01, -1.0)})
    far = one.model_copy(update={"chosen": 1, "scores": (-2.0, -1.0)})
    assert not answers_differ(one, near)
    assert answers_differ(one, far)
    written = ItemResult(id="a", group="g", cluster="a", text="yes", graded=1.0)
    assert answers_differ(written, written.model_copy(update={"text": "no"}))


@pytest.mark.parametrize(
    ("scores", "credit"),
    [
        ((-1.0, -0.5, -0.5), 0.5),
        ((-0.5, -0.5, -0.5), 1 / 3),
        ((-0.5, -1.0, -0.5), 0.0),
        ((-0.5, -0.4, -0.5), 1.0),
        ((-0.4, -0.5, -0.5), 0.0),
    ],
)
def test_a_tie_is_worth_what_a_lot_would_be(scores, credit) -> None:
    chosen = max(range(3), key=scores.__getitem__)
    item = ItemResult(id="a", group="g", cluster="a", answer=1, chosen=chosen, scores=scores)
    assert item.credit == pytest.approx(credit)
    result = SystemResult(system="c2c", split="test", items=(item, _item(0, "g", 1)))
    assert result.accuracy == pytest.approx((credit + 1) / 2)
    assert result.ties == (credit not in (0.0, 1.0) or scores == (-0.5, -1.0, -0.5))


def test_ties_are_counted_and_told() -> None:
    tied = _item(0, "g", 0).model_copy(update={"scores": (-0.5, -0.5)})
    results = {"c2c": SystemResult(system="c2c", split="test", items=(tied, _item(1, "g", 1)))}
    assert list(tie_notes({"receiver": _result()})) == []
    (note,) = tie_notes(results)
    assert note.startswith("c2c finds several options of 1 of 2 items exactly equally likely")


def _asked_thrice(*chosen: int) -> ItemResult:
    times = tuple(_item(7, "g", each) for each in chosen)
    return ItemResult(id="i7", group="g", cluster="FR", answer=1, repeats=times)


def test_an_item_answered_several_times_is_worth_the_mean() -> None:
    item = _asked_thrice(1, 0, 1)
    assert item.credit == pytest.approx(2 / 3)
    assert not item.correct
    assert _asked_thrice(1, 1, 1).correct
    once = _item(7, "g", 1)
    assert item.loss == pytest.approx(once.loss)
    assert item.confidence == pytest.approx(once.confidence)
    assert item.tied == 1


def test_each_times_accuracy_is_seen_beside_the_mean() -> None:
    items = (_asked_thrice(1, 0, 1), _asked_thrice(1, 0, 0))
    result = SystemResult(system="deranged", split="test", items=items)
    assert result.averaged
    assert result.graded
    assert result.accuracy == pytest.approx(0.5)
    assert result.accuracies() == (1.0, 0.0, 0.5)
    assert _result().accuracies() == (pytest.approx(2 / 3),)
    assert not _result().averaged
    assert SystemResult.model_validate_json(result.model_dump_json()) == result


def test_an_item_that_was_answered_once_counts_each_time() -> None:
    """As where a receiver is sure, and hears none of several wrong messages."""
    items = (_asked_thrice(1, 0, 1), _item(0, "g", 1))
    result = SystemResult(system="deranged", split="test", items=items)
    assert result.accuracies() == (1.0, 0.5, 1.0)
    assert result.accuracy == pytest.approx(5 / 6)
    table = json.loads(answers_table(result))
    place = table["columns"].index("repeats")
    assert [len(row[place]) for row in table["data"]] == [3, 0]
    assert [len(row) for row in table["data"]] == [len(table["columns"])] * 2
    assert table["data"][1][-1] == 1


def test_only_a_table_of_repeated_answers_has_a_column_of_them() -> None:
    plain = json.loads(answers_table(_result()))
    assert "repeats" not in plain["columns"]
    assert [row[plain["columns"].index("credit")] for row in plain["data"]] == [1, 0, 1]
    result = SystemResult(system="deranged", split="test", items=(_asked_thrice(1, 0, 1),))
    table = json.loads(answers_table(result))
    ((*_, repeats, credit),) = table["data"]
    assert table["columns"][-2:] == ["repeats", "credit"]
    assert [each["chosen"] for each in repeats] == [1, 0, 1]
    assert credit == pytest.approx(2 / 3)
