"""Examples become items, chosen from or answered in words."""

from __future__ import annotations

from dataclasses import replace

from c2c_search.data.schema import Row
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import clusters


ROW = Row(
    id="1",
    group="capitals",
    cluster="Peru",
    messages=[{"role": "user", "content": "What is the capital of Peru?"}],
    sharer_messages=[{"role": "user", "content": "Lima is."}],
    response="Lima",
    choices=["Quito", "Lima"],
    answer=1,
)


def test_a_row_with_choices_has_no_reference_in_words() -> None:
    item = Item.of_row(ROW)
    assert (item.choices, item.answer, item.references) == (("Quito", "Lima"), 1, ())
    assert item.sharer_messages == ({"role": "user", "content": "Lima is."},)


def test_a_row_without_choices_is_answered_by_its_response() -> None:
    item = Item.of_row({**ROW, "choices": [], "answer": -1})
    assert (item.choices, item.answer, item.references) == ((), -1, ("Lima",))


def test_clusters_are_counted_once() -> None:
    item = Item.of_row(ROW)
    assert clusters([item, replace(item, id="2"), replace(item, cluster="Cuba")]) == 2
