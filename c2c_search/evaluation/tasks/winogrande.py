"""Winogrande, which of two names fills the blank.

Published numbers compare the likelihood of the text *after* the blank under either name (partial
evaluation). Here, as for every other task, options are continuations of one prompt: the sentence
with its blank, and the question what the blank stands for. Accuracies are therefore comparable
between our systems, and not with published tables.
"""

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


_QUESTION = "What does the blank (_) stand for?"
# Twins differ in a word that turns the answer around, and that is hardly ever an early one.
_SAME_WORDS = 2


def ask(item: Item) -> Item:
    """Put the question, and give twins, two sentences that differ in a word, one cluster.

    Twins have the same options and begin alike; of the 284 neighbours with equal options in the
    validation set this finds 283.
    """
    *before, sentence = item.messages
    options = sorted(choice.casefold() for choice in item.choices)
    opening = sentence["content"].casefold().split()[:_SAME_WORDS]
    return replace(
        item,
        cluster=f"twins-{digest(' '.join([*options, *opening]))}",
        messages=(*before, {"role": "user", "content": f"{sentence['content']}\n{_QUESTION}"}),
    )


@task(
    "winogrande",
    reference="WinoGrande (arXiv 1907.10641)",
    hub=Hub(
        repository="allenai/winogrande",
        configuration="winogrande_xl",
        split="validation",
        exemplars="train",
        columns=frozenset(("sentence", "option1", "option2", "answer")),
    ),
    adapt=ask,
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """``answer`` is 1 or 2; a row without one, as in ``test``, is left out."""
    if not row["answer"]:
        return None
    return choice_item(
        fallback_id,
        text(row, "sentence"),
        [row["option1"], row["option2"]],
        label_index(row["answer"], ("1", "2")),
        group="winogrande",
    )
