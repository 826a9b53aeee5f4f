"""MuSiQue: supporting paragraphs for the sharer, groups by hops."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"answer_aliases": "Hull"}, "answer_aliases must be a list of texts, not 'Hull'"),
        ({"answer_aliases": {"Hull": 1}}, "answer_aliases must be a list of texts"),
        ({"answerable": "false"}, "answerable must be true or false, not 'false'"),
        (
            {"paragraphs": [{"title": "A", "paragraph_text": "B.", "is_supporting": "false"}]},
            "is_supporting must be true or false, not 'false'",
        ),
        (
            {"paragraphs": [{"title": "A", "paragraph_text": " ", "is_supporting": True}]},
            "paragraph_text must be a non-empty text",
        ),
    ],
    ids=["alias", "mapping", "answerable", "supporting", "empty"],
)
def test_columns_of_another_kind_are_told(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convert("musique", **columns)
