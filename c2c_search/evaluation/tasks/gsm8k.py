"""GSM8K, grade-school mathematics in a few steps, answered by a number."""

from __future__ import annotations

import re
from dataclasses import replace

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


_MARK = "####"
# What a calculator is to be asked, e.g. <<48/2=24>>.
_CALCULATOR = re.compile(r"<<[^>]*>>")


def _ends_with_answer(item: Item) -> Item:
    """An exemplar's working, with the answer as the instruction asks for it."""
    solution = item.facts.get("solution")
    if solution is None or _MARK in solution:
        return item
    whole = f"{solution}\n{_MARK} {item.references[0]}"
    return replace(item, facts={**item.facts, "solution": whole})


@task(
    "gsm8k",
    reference="GSM8K (arXiv 2110.14168)",
    hub=Hub(
        repository="openai/gsm8k",
        configuration="main",
        split="test",
        exemplars="train",
        columns=frozenset(("question", "answer")),
    ),
    adapt=_ends_with_answer,
    methods=("generate",),
    grader="number",
    instruction=f"Solve the problem step by step. Write the result on a last line after {_MARK}.",
    max_new_tokens=512,
)
def convert(row: HubRow, fallback_id: str) -> Item:
    """The column ``answer`` is the working and, after ``####``, the number."""
    solution = _CALCULATOR.sub("", text(row, "answer"))
    result = solution.rpartition(_MARK)[2].strip()
    if _MARK not in solution or not result:
        raise ValueError(f"answer must end in {_MARK} and a number, not in {solution[-40:]!r}.")
    return Item(
        id=fallback_id,
        group="gsm8k",
        cluster=fallback_id,
        messages=({"role": "user", "content": text(row, "question")},),
        references=(result,),
        facts={"solution": solution},
    )
