"""ROPES: background and situation are the sharer's."""

from __future__ import annotations

from tests.evaluation.hub_samples import items


def test_ropes_gives_background_and_situation_to_the_sharer_alone() -> None:
    more, less = items("ropes")
    assert more.messages[0]["content"] == "Which lake has more oxygen?"
    assert more.sharer_messages[0]["content"] == (
        "Warm water holds less oxygen than cold water.\nLake A is warm. Lake B is cold.\n"
        "Question: Which lake has more oxygen?"
    )
    assert (more.references, less.references) == (("Lake B",), ("Lake A",))
    assert more.cluster == less.cluster
