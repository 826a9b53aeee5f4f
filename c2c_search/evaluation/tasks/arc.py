"""ARC-Challenge and ARC-Easy, grade-school science in two sets."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import label_index
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


_REFERENCE = "ARC (arXiv 1803.05457)"


def _hub(configuration: str) -> Hub:
    return Hub(
        repository="allenai/ai2_arc",
        configuration=configuration,
        split="test",
        exemplars="train",
        columns=frozenset(("question", "choices", "answerKey")),
    )


@task("arc_challenge", reference=_REFERENCE, hub=_hub("ARC-Challenge"))
def challenge(row: HubRow, fallback_id: str) -> Item | None:
    """The questions that retrieval and word co-occurrence got wrong."""
    return _item(row, fallback_id, "arc_challenge")


@task("arc_easy", reference=_REFERENCE, hub=_hub("ARC-Easy"))
def easy(row: HubRow, fallback_id: str) -> Item | None:
    """The other questions."""
    return _item(row, fallback_id, "arc_easy")


def _item(row: HubRow, fallback_id: str, group: str) -> Item | None:
    """Labels are letters or the digits 1 to 4, and there may be three or five of them."""
    choices = row["choices"]
    return choice_item(
        str(row.get("id") or fallback_id),
        text(row, "question"),
        choices["text"],
        label_index(row["answerKey"], choices["label"]),
        group=group,
    )
