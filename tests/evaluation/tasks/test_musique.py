"""MuSiQue: supporting paragraphs for the sharer, groups by hops."""

from __future__ import annotations

import pytest

from tests.evaluation.hub_samples import convert
from tests.evaluation.hub_samples import items


def test_musique_gives_the_supporting_paragraphs_to_the_sharer_alone() -> None:
    two, three = items("musique")
    assert two.sharer_messages[0]["content"] == (
        "Mill: It is Reed's.\nReed: She is from Hull.\n"
        "Question: Where is the owner of the mill from?"
    )
    assert two.references == ("Hull", "Kingston upon Hull")
    assert (two.group, three.group) == ("2hop", "3hop")
    assert two.cluster == three.cluster


def test_a_question_without_support_is_told() -> None:
    with pytest.raises(ValueError, match="must be evidence for the sharer"):
        convert("musique", paragraphs=[])
