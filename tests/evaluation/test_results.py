"""A system's answers: accuracy, by group, and a JSON round trip."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import answers_differ


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
