"""ROPES, what a text's causes and effects mean for a situation; the sharer alone reads both."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import evidence_item
from c2c_search.evaluation.tasks.columns import evidence_task
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow


@evidence_task(
    "ropes",
    reference="ROPES (arXiv 1908.05852)",
    hub=Hub(
        repository="allenai/ropes",
        configuration=None,
        split="validation",
        exemplars="train",
        columns=frozenset(("background", "situation", "question", "answers")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Questions about one background text are one cluster; ``test`` has no answers."""
    background = text(row, "background")
    return evidence_item(
        str(row.get("id") or fallback_id),
        f"{background}\n{text(row, 'situation')}",
        text(row, "question"),
        row["answers"]["text"],
        group="ropes",
        cluster=f"passage-{digest(background)}",
    )
