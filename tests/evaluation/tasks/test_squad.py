"""SQuAD: the paragraph is the sharer's, the question both models'."""

from __future__ import annotations

from c2c_search.evaluation.grading import grade
from c2c_search.evaluation.tasks.task import TASKS
from tests.evaluation.hub_samples import items


def test_squad_gives_the_paragraph_to_the_sharer_alone() -> None:
    built, when = items("squad")
    assert built.messages[0]["content"] == "Who built the mill?"
    assert built.sharer_messages[0]["content"] == (
        "The mill stands by the Osk. It was built in 1820 by Ann Reed.\n"
        "Question: Who built the mill?"
    )
    assert built.references == ("Ann Reed", "Reed")
    assert built.cluster == when.cluster


def test_squad_is_graded_by_normalised_f1() -> None:
    built, _ = items("squad")
    credit = [grade(TASKS["squad"], built, text).credit for text in ("the Reed.", "Ann", "by it")]
    assert credit == [1.0, 2 / 3, 0.0]
