"""MMLU-Pro, harder questions in 14 categories with up to ten options."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import passage_cluster
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@task(
    "mmlu_pro",
    reference="MMLU-Pro (arXiv 2406.01574)",
    hub=Hub(
        repository="TIGER-Lab/MMLU-Pro",
        configuration=None,
        split="test",
        exemplars="validation",
        columns=frozenset(("question", "options", "answer_index", "category")),
    ),
    methods=("letter", "cloze", "generate"),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """``answer_index`` counts from 0; questions have their number in ``question_id``."""
    number = row.get("question_id")
    id = fallback_id if number is None else f"mmlu_pro:{number}"
    question = text(row, "question")
    return choice_item(
        id,
        question,
        row["options"],
        int(row["answer_index"]),
        group=text(row, "category"),
        cluster=passage_cluster(question, id),
    )
