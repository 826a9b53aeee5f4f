"""GPQA Diamond, graduate-level science that searching the web does not answer.

The data set is gated: its terms are accepted on its page, and they forbid publishing its items.
"""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import shuffled
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


_RIGHT = "Correct Answer"
_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


@task(
    "gpqa",
    reference="GPQA (arXiv 2311.12022)",
    hub=Hub(
        repository="Idavidrein/gpqa",
        configuration="gpqa_diamond",
        split="train",
        exemplars=None,
        columns=frozenset(("Question", _RIGHT, *_WRONG)),
    ),
    methods=("letter", "cloze", "generate"),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """The right answer has a column of its own, so the options are put in an order by hash."""
    question = text(row, "Question")
    choices, answer = shuffled([text(row, column) for column in (_RIGHT, *_WRONG)], 0, question)
    return choice_item(
        str(row.get("Record ID") or fallback_id),
        question,
        choices,
        answer,
        group=str(row.get("High-level domain") or "gpqa"),
    )
