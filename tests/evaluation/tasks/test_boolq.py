"""BoolQ: questions below their passage."""

from __future__ import annotations

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_boolq_asks_below_the_passage_and_clusters_by_it() -> None:
    ice, gas, cats = items("boolq")
    assert ice.messages[0]["content"] == "Ice is frozen water.\nis ice water?"
    assert [right(item) for item in (ice, gas, cats)] == ["yes", "no", "no"]
    assert ice.cluster == gas.cluster != cats.cluster
