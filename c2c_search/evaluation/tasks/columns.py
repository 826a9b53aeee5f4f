"""What hub rows have in common, from letters and digits to items with choices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any
from typing import cast

from c2c_search.data.schema import Row
from c2c_search.errors import in_yaml
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about


def text(row: HubRow, column: str) -> str:
    """A column's text, without the white space around it.

    Raises:
        ValueError: It is no text, or empty.
    """
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{column} must be a non-empty text, not {in_yaml(value)}.")
    return value.strip()


def flag(row: HubRow, column: str) -> bool:
    """Whether a column says true; any word, also "false", would count as such.

    Raises:
        ValueError: It says neither true nor false.
    """
    value = row[column]
    if not isinstance(value, bool):
        raise ValueError(f"{column} must be true or false, not {in_yaml(value)}.")
    return value


def texts(value: Any, name: str) -> list[str]:
    """A list of texts as it is: a text alone would be read letter by letter, a mapping by keys.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{name} must be a list of texts, not {in_yaml(value)}.")
    return list(value)


def label_index(answer: Any, labels: Sequence[str]) -> int:
    """Which of the labels the answer is.

    Raises:
        ValueError: None of them.
    """
    if str(answer).strip() not in labels:
        raise ValueError(f"The answer must be one of {', '.join(labels)}, not {in_yaml(answer)}.")
    return labels.index(str(answer).strip())


def digest(text: str) -> str:
    """A short name for a text, the same in every file and on every machine."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(row: HubRow, fallback_id: str) -> Item:
    """A row in the columns of `data.schema.Row` as an item."""
    return Item.of_row(cast(Row, row))


def choice_item(
    id: str,
    question: str,
    choices: Sequence[Any],
    answer: int,
    *,
    group: str,
    cluster: str = "",
) -> Item | None:
    """A question with options as an item; None where an option has no text to be scored.

    Raises:
        ValueError: Fewer than two choices, or the answer is none of them.
    """
    if isinstance(choices, str) or len(choices) < 2:
        raise ValueError(f"There must be at least two choices, not {in_yaml(choices)}.")
    if not 0 <= answer < len(choices):
        raise ValueError(
            f"The answer must be one of {len(choices)} choices, not {in_yaml(answer)}."
        )
    stripped = tuple(str("" if choice is None else choice).strip() for choice in choices)
    if not all(stripped):
        return None
    return Item(
        id=id,
        group=group,
        cluster=cluster or id,
        messages=({"role": "user", "content": question},),
        choices=stripped,
        answer=answer,
    )


# A task in split-evidence form that is answered in a few words, graded as SQuAD's are.
evidence_task = partial(
    task,
    split_evidence=True,
    methods=("generate",),
    metric="f1",
    grader="f1",
    max_new_tokens=32,
)


def evidence_item(
    id: str,
    evidence: str,
    question: str,
    answers: Sequence[Any],
    *,
    group: str,
    cluster: str,
) -> Item | None:
    """A question that is answered in words from evidence that the sharer alone reads.

    Args:
        id: Of the item.
        evidence: What the sharer reads above the question.
        question: What both models read.
        answers: Right ones in words, any of which will do.
        group: What it is reported under.
        cluster: Of the evidence.

    Returns:
        The item; None where there is no answer, as in test splits that keep theirs.

    Raises:
        ValueError: There is no evidence, or answers are no list of texts.
    """
    if not evidence.strip():
        raise ValueError("There must be evidence for the sharer to read.")
    given = [answer.strip() for answer in texts(answers, "The answers")]
    references = tuple(dict.fromkeys(answer for answer in given if answer))
    if not references:
        return None
    return Item(
        id=id,
        group=group,
        cluster=cluster,
        messages=tuple(asked(question)),
        references=references,
        sharer_messages=tuple(asked(asked_about(evidence, question))),
    )


def shuffled(choices: Sequence[str], answer: int, key: str) -> tuple[list[str], int]:
    """Choices in an order that the key and their texts decide, and where the answer went.

    For data sets that list the right answer first: neither the seed nor the row's number in its
    file changes what is asked.
    """
    order = sorted(range(len(choices)), key=lambda index: digest(f"{key}\n{choices[index]}"))
    return [choices[index] for index in order], order.index(answer)


def passage_cluster(question: str, id: str) -> str:
    """Cluster of an MMLU question: the passage that it shares with others, else its own id.

    Such questions begin with "This question refers to the following information", and their last
    line is what is asked.
    """
    if not question.startswith("This question refers to the following information"):
        return id
    return f"passage-{digest(question.rpartition(chr(10))[0])}"
