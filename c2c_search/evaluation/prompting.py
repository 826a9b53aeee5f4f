"""An item in words, for each way of answering it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_uppercase

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Method
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.tasks.task import Task
from c2c_search.tokenization.templates import Message


_LETTER_INSTRUCTION = "Answer with the letter of the right option alone."


def question(item: Item, method: Method, task: Task) -> Question:
    """Ask an item, with what is chosen from or how to answer in the last turn.

    ``cloze`` asks without showing the options; ``letter`` shows them as ``A. ...`` and compares
    the letters; ``generate`` puts an instruction above the question, and above lettered options
    where there are any. What the sharer reads instead, if anything, stays as it is.

    Raises:
        ConfigError: The task is not answered by this method.
        DataError: An item without choices is to be chosen, or it has more of them than letters.
    """
    if method not in task.methods:
        raise ConfigError(
            f"{task.name} must be answered by one of its methods: {', '.join(task.methods)}.",
            value=method,
        )
    if method != "generate" and not item.choices:
        raise DataError(f"Method {method} needs choices; an item has none.", value=item.id)
    options: tuple[str, ...] = ()
    if method != "generate":
        options = item.choices if method == "cloze" else _letters(item)
    *before, last = item.messages
    asked: Message = {"role": last["role"], "content": _in_words(item, method, task)}
    return Question(
        item=item,
        messages=(*before, asked),
        options=options,
        sharer_messages=item.sharer_messages,
    )


def exemplar(item: Item, method: Method, task: Task) -> tuple[Message, Message]:
    """An answered item for a few-shot prompt: the user's turn, and the right answer to it.

    A written answer is the item's worked ``solution`` (of its facts) where it has one, so that
    what is shown ends like what is asked for.
    """
    *_, asked = question(item, method, task).messages
    if not item.choices:
        answer = str(item.facts.get("solution") or item.references[0])
    elif method == "cloze":
        answer = item.choices[item.answer]
    else:
        answer = _letters(item)[item.answer]
    return asked, {"role": "assistant", "content": answer}


def with_exemplars(question: Question, turns: Sequence[tuple[Message, Message]]) -> Question:
    """The same question behind answered ones; a system message stays first."""
    messages = question.messages
    system = sum(message["role"] == "system" for message in messages)
    shown = [message for turn in turns for message in turn]
    return replace(question, messages=(*messages[:system], *shown, *messages[system:]))


def _letters(item: Item) -> tuple[str, ...]:
    if len(item.choices) > len(ascii_uppercase):
        raise DataError(
            f"At most {len(ascii_uppercase)} choices can have letters.",
            value=f"{len(item.choices)} choices of {item.id}",
            hint="Answer by the method cloze, or leave the item out.",
        )
    return tuple(ascii_uppercase[: len(item.choices)])


def _in_words(item: Item, method: Method, task: Task) -> str:
    content = item.messages[-1]["content"]
    if method == "cloze":
        return content
    lettered = zip(_letters(item), item.choices, strict=True)
    content = "\n".join([content, *(f"{letter}. {choice}" for letter, choice in lettered)])
    if method == "letter":
        return content
    instruction = task.instruction or (_LETTER_INSTRUCTION if item.choices else "")
    return f"{instruction}\n\n{content}" if instruction else content
