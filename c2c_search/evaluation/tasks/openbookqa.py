"""OpenBookQA, elementary science questions, without the open book."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import label_index
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@task(
    "openbookqa",
    reference="OpenBookQA (arXiv 1809.02789)",
    hub=Hub(
        repository="allenai/openbookqa",
        configuration="main",
        split="test",
        exemplars="train",
        columns=frozenset(("question_stem", "choices", "answerKey")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """``choices`` holds the lists ``text`` and ``label``; ``answerKey`` is one of the labels."""
    choices = row["choices"]
    return choice_item(
        str(row.get("id") or fallback_id),
        text(row, "question_stem"),
        choices["text"],
        label_index(row["answerKey"], choices["label"]),
        group="openbookqa",
    )
