"""Examples and items as texts that can be compared, whatever they were read from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import replace

from c2c_search.data.schema import Message
from c2c_search.data.schema import Row


@dataclass(frozen=True)
class Text:
    """An example, or an item of a test set, as it is compared.

    Args:
        id: Of the example or item.
        questions: What it asks, in every form that may equal another's question.
        text: Everything in it that is searched for n-grams.
        group: What it is reported under; a template is often one group's.
        cluster: The fact that it is about, where its names are those of the other side; or empty.
    """

    id: str
    questions: tuple[str, ...]
    text: str
    group: str = ""
    cluster: str = ""


def learnt_text(row: Row) -> Text:
    """A row that is trained or selected on: all of it.

    Every turn of the user counts as a question, and so does the whole conversation.
    """
    asked = [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
    turns = [turn["content"] for turn in (*row["messages"], *row["sharer_messages"])]
    return Text(
        id=row["id"],
        questions=tuple(dict.fromkeys([_conversation(row["messages"]), *asked])),
        text="\n".join([*turns, *row["choices"], row["response"]]),
        group=row["group"],
        cluster=row["cluster"],
    )


def judged_text(row: Row) -> Text:
    """A row that is judged on: its question, and its choices or its answer in words."""
    answers = row["choices"] or [row["response"]]
    text = item_text(row["id"], row["messages"], answers, group=row["group"])
    return replace(text, cluster=row["cluster"])


def item_text(
    id: str, messages: Iterable[Message], answers: Iterable[str], *, group: str = ""
) -> Text:
    """An item of any task.

    What a sharer reads in its place is a source and no question, and is left out.

    Args:
        id: Of the item.
        messages: The conversation that asks it; the system's turns are left out.
        answers: Its choices or, without any, its right answers in words.
        group: What it is reported under.
    """
    question = _conversation(messages)
    return Text(id, (question,), "\n".join([question, *answers]), group)


def _conversation(messages: Iterable[Message]) -> str:
    return "\n".join(turn["content"] for turn in messages if turn["role"] != "system")
