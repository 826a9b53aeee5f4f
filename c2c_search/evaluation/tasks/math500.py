"""MATH-500, competition mathematics, answered by an expression."""

from __future__ import annotations

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@task(
    "math500",
    reference="MATH (arXiv 2103.03874), the 500 problems of arXiv 2305.20050",
    hub=Hub(
        repository="HuggingFaceH4/MATH-500",
        configuration=None,
        split="test",
        exemplars=None,
        columns=frozenset(("problem", "answer", "subject")),
    ),
    methods=("generate",),
    grader="math",
    instruction="Solve the problem step by step. Put the final answer in \\boxed{}.",
    max_new_tokens=1024,
)
def convert(row: HubRow, fallback_id: str) -> Item:
    """The answer is LaTeX; subjects are groups."""
    own = str(row.get("unique_id") or fallback_id)
    return Item(
        id=own,
        group=text(row, "subject"),
        cluster=own,
        messages=({"role": "user", "content": text(row, "problem")},),
        references=(text(row, "answer"),),
        facts={key: row[key] for key in ("solution", "level") if row.get(key) is not None},
    )
