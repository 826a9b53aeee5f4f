"""QASC, elementary science questions, with the two facts that answer them for the sharer alone."""

from __future__ import annotations

from dataclasses import replace

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import label_index
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about


@task(
    "qasc",
    reference="QASC (arXiv 1910.11473)",
    hub=Hub(
        repository="allenai/qasc",
        configuration=None,
        split="validation",
        exemplars="train",
        columns=frozenset(("question", "choices", "answerKey", "fact1", "fact2")),
    ),
    split_evidence=True,
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Eight options; a row without key or facts, as in ``test``, is left out.

    Questions that rest on one first fact, which their writers were given, are one cluster.
    """
    if not (row["answerKey"] and row["fact1"] and row["fact2"]):
        return None
    choices, question = row["choices"], text(row, "question")
    item = choice_item(
        str(row.get("id") or fallback_id),
        question,
        choices["text"],
        label_index(row["answerKey"], choices["label"]),
        group="qasc",
        cluster=f"fact-{digest(text(row, 'fact1'))}",
    )
    facts = " ".join(f"{text(row, name).rstrip('.')}." for name in ("fact1", "fact2"))
    read = asked(asked_about(facts, question))
    return None if item is None else replace(item, sharer_messages=tuple(read))
