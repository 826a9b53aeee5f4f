"""The items of a task, and the questions that systems are asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

from c2c_search.tokenization.templates import Message


if TYPE_CHECKING:
    from c2c_search.data.schema import Row


Method = Literal["cloze", "letter", "generate"]
"""How an item is answered: by the likeliest option text, the likeliest option letter, in words."""


@dataclass(frozen=True)
class Item:
    """One item of a task, before it is put into words for a method.

    Args:
        id: Unique in its task.
        group: What it is reported under, e.g. a subject.
        cluster: The fact it is about; items of a cluster are not independent.
        messages: The conversation that asks it, without options and instructions.
        choices: What can be chosen; empty where the answer is written.
        answer: Index of the right choice; -1 where there are none.
        references: Right answers in words, any of which will do; empty where there are choices.
        sharer_messages: What the sharer reads, where it is something else.
        facts: What the task's grader needs to know beyond that, e.g. a subset's name.
        draft: What a sharer that drafts is taken to have written; empty where it writes it.
    """

    id: str
    group: str
    cluster: str
    messages: tuple[Message, ...]
    choices: tuple[str, ...] = ()
    answer: int = -1
    references: tuple[str, ...] = ()
    sharer_messages: tuple[Message, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    draft: str = ""

    def columns(self) -> dict[str, Any]:
        """All that it is, as it is hashed: an item without a draft is what it was before any."""
        columns = asdict(replace(self, facts=dict(self.facts)))
        if not self.draft:
            del columns["draft"]
        return columns

    @classmethod
    def of_row(cls, row: Row) -> Item:
        """An example of the data, as an item."""
        open_ended = not row["choices"]
        return cls(
            id=row["id"],
            group=row["group"],
            cluster=row["cluster"],
            messages=tuple(row["messages"]),
            choices=tuple(row["choices"]),
            answer=row["answer"],
            references=(row["response"],) if open_ended else (),
            sharer_messages=tuple(row["sharer_messages"]),
            draft=row.get("draft", ""),
        )


@dataclass(frozen=True)
class Question:
    """An item in the very words that every system is asked.

    Args:
        item: What is asked.
        messages: The conversation up to the answer.
        options: The texts whose likelihoods are compared; empty where the answer is written.
        sharer_messages: What the sharer reads, where it is something else.
    """

    item: Item
    messages: tuple[Message, ...]
    options: tuple[str, ...] = ()
    sharer_messages: tuple[Message, ...] = ()

    @classmethod
    def of_row(cls, row: Row) -> Question:
        """An example in its own words, answered by the likeliest of its choices."""
        item = Item.of_row(row)
        return cls(item, item.messages, item.choices, item.sharer_messages)


def clusters(items: Sequence[Item]) -> int:
    """How many facts the items are about."""
    return len({item.cluster for item in items})
