"""SQuAD, questions about a paragraph that the sharer alone reads."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import evidence_item
from c2c_search.evaluation.tasks.columns import evidence_task
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow


@evidence_task(
    "squad",
    reference="SQuAD (arXiv 1606.05250)",
    hub=Hub(
        repository="rajpurkar/squad",
        configuration=None,
        split="validation",
        exemplars="train",
        columns=frozenset(("context", "question", "answers")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Questions about one paragraph are one cluster; SQuAD 2's without an answer are left out."""
    paragraph = text(row, "context")
    return evidence_item(
        str(row.get("id") or fallback_id),
        paragraph,
        text(row, "question"),
        row["answers"]["text"],
        group="squad",
        cluster=f"passage-{digest(paragraph)}",
    )
