"""QASC: eight options, and two facts that the sharer alone reads."""

from __future__ import annotations

from tests.evaluation.hub_samples import items
from tests.evaluation.hub_samples import right


def test_qasc_gives_both_facts_to_the_sharer_alone() -> None:
    formation, makes = items("qasc")
    assert (len(formation.choices), right(formation)) == (8, "rain")
    assert formation.messages[0]["content"] == "What type of water formation is formed by clouds?"
    assert formation.sharer_messages[0]["content"] == (
        "beads of water are formed by water vapor condensing. Clouds are made of water vapor.\n"
        "Question: What type of water formation is formed by clouds?"
    )
    assert formation.cluster == makes.cluster
