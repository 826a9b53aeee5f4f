"""BoolQ, yes-or-no questions that people typed, about a passage.

A local copy may lack the passages; the questions are then asked closed-book.
"""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import label_index
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@task(
    "boolq",
    reference="BoolQ (arXiv 1905.10044)",
    hub=Hub(
        repository="google/boolq",
        configuration=None,
        split="validation",
        exemplars="train",
        columns=frozenset(("question", "answer", "passage")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Questions come without a question mark; those about one passage are one cluster."""
    passage = text(row, "passage")
    return choice_item(
        fallback_id,
        f"{passage}\n{text(row, 'question').rstrip('?')}?",
        ["no", "yes"],
        # A CSV file holds "False", the hub False.
        label_index(str(row["answer"]).lower(), ("false", "true")),
        group="boolq",
        cluster=f"passage-{digest(passage)}",
    )
