"""Pair room: from messages to the text that each model reads, and where its contents stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal
from typing import TypedDict


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Template = Literal["plain", "chat"]


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True)
class Rendered:
    """A prompt as one model reads it.

    Args:
        text: The whole prompt.
        contents: ``(start, end)`` of each message's content in ``text``, in characters.
        special: Whether the tokenizer still has to add its special tokens.
    """

    text: str
    contents: tuple[tuple[int, int], ...]
    special: bool


def render(
    messages: Sequence[Message], template: Template, tokenizer: PreTrainedTokenizerFast
) -> Rendered:
    """Write messages out for one model.

    ``plain`` is ``Question: …`` and ``Answer:`` lines, the same text for any model. ``chat`` is
    the model's own chat template; a base model without one reads ``plain``.
    """
    if template == "chat" and tokenizer.chat_template is not None:
        return _render_chat(messages, tokenizer)
    return _render_plain(messages)


def continuation(response: str, template: Template, tokenizer: PreTrainedTokenizerFast) -> str:
    """A response as it follows a prompt of this template: after ``Answer:`` comes a space."""
    chat = template == "chat" and tokenizer.chat_template is not None
    return response if chat else f" {response}"


def _render_plain(messages: Sequence[Message]) -> Rendered:
    labels = {"user": "Question: ", "assistant": "Answer: ", "system": ""}
    text = ""
    contents = []
    for message in messages:
        text += labels.get(message["role"], f"{message['role']}: ")
        contents.append((len(text), len(text) + len(message["content"])))
        text += message["content"] + "\n"
    return Rendered(text + "Answer:", tuple(contents), special=True)


def _render_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> Rendered:
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True
    )
    assert isinstance(text, str)
    contents = []
    after = 0
    for message in messages:
        # Templates may trim a message, never change it otherwise.
        content = message["content"].strip()
        start = text.find(content, after)
        if start < 0:
            continue
        after = start + len(content)
        contents.append((start, after))
    return Rendered(text, tuple(contents), special=False)
