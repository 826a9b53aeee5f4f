"""TruthfulQA as multiple choice with one right answer (MC1).

Published MC1 prompts show six questions with answers first; here few-shot prompts are a system
of their own, so a question stands alone unless that system asks it.
"""

from __future__ import annotations

from c2c_search.errors import in_yaml
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import choice_item
from c2c_search.evaluation.tasks.columns import shuffled
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


@task(
    "truthfulqa_mc",
    reference="TruthfulQA (arXiv 2109.07958), MC1",
    hub=Hub(
        repository="truthfulqa/truthful_qa",
        configuration="multiple_choice",
        split="validation",
        exemplars=None,
        columns=frozenset(("question", "mc1_targets")),
    ),
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """The right answer always comes first, so the options are put in an order by hash."""
    question, targets = text(row, "question"), row["mc1_targets"]
    if sum(targets["labels"]) != 1:
        raise ValueError(f"One label must be 1, the others 0, not {in_yaml(targets['labels'])}.")
    choices, answer = shuffled(targets["choices"], list(targets["labels"]).index(1), question)
    return choice_item(fallback_id, question, choices, answer, group="truthfulqa_mc")
