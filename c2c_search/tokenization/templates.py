"""From messages to the text that each model reads, and where its contents stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal
from typing import TypedDict


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Template = Literal["plain", "chat"]

_Spans = tuple[tuple[int, int], ...]


class Message(TypedDict):
    """One turn of a conversation, as chat templates take it."""

    role: str
    content: str


@dataclass(frozen=True)
class Rendered:
    """A prompt as one model reads it.

    Args:
        text: The whole prompt.
        contents: ``(start, end)`` of each message's content in ``text``, in characters; empty
            where the template leaves the message out.
        special: Whether the tokenizer still has to add its special tokens.
    """

    text: str
    contents: tuple[tuple[int, int], ...]
    special: bool


def asked(text: str) -> list[Message]:
    """A conversation of one question."""
    return [Message(role="user", content=text)]


def render(
    messages: Sequence[Message], template: Template, tokenizer: PreTrainedTokenizerFast
) -> Rendered:
    """Write messages out for one model.

    ``plain`` is ``Question: …`` and ``Answer:`` lines, the same text for any model. ``chat`` is
    the model's own chat template; a base model without one reads ``plain``.
    """
    return render_all([messages], template, tokenizer)[0]


def render_all(
    conversations: Sequence[Sequence[Message]],
    template: Template,
    tokenizer: PreTrainedTokenizerFast,
) -> list[Rendered]:
    """Write several conversations out for one model, each as `render` does."""
    if template != "chat" or tokenizer.chat_template is None:
        return [_render_plain(messages) for messages in conversations]
    frames: dict[tuple[str, ...], tuple[str, ...] | None] = {}
    rendered = []
    for messages in conversations:
        roles = tuple(message["role"] for message in messages)
        if roles not in frames:
            frames[roles] = _frame(roles, tokenizer)
        text = _apply(messages, tokenizer)
        contents = [message["content"] for message in messages]
        spans = _spans_in_frame(text, contents, frames[roles]) or _spans_by_search(text, contents)
        rendered.append(Rendered(text, spans, special=False))
    return rendered


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


def _apply(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> str:
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True
    )
    assert isinstance(text, str)
    return text


def _frame(roles: Sequence[str], tokenizer: PreTrainedTokenizerFast) -> tuple[str, ...] | None:
    """The template's own text before, between and after the contents of these turns.

    Placeholders tell it: a content such as ``user`` is found in the template's text, too. None
    where the template leaves a turn out or changes the order.
    """
    placeholders = [f"<c2c-content-{turn}>" for turn in range(len(roles))]
    rest = _apply(
        [
            Message(role=role, content=content)
            for role, content in zip(roles, placeholders, strict=True)
        ],
        tokenizer,
    )
    parts = []
    for placeholder in placeholders:
        before, found, rest = rest.partition(placeholder)
        if not found:
            return None
        parts.append(before)
    return (*parts, rest)


def _spans_in_frame(
    text: str, contents: Sequence[str], frame: tuple[str, ...] | None
) -> _Spans | None:
    """Where the contents stand between the parts of the frame; None if they do not fit in."""
    if frame is None or not text.startswith(frame[0]):
        return None
    spans = []
    start = len(frame[0])
    for content, after in zip(contents, frame[1:], strict=True):
        # Templates may trim a message, never change it otherwise.
        for written in (content, content.strip(), content.lstrip(), content.rstrip()):
            if text.startswith(written + after, start):
                break
        else:
            return None
        spans.append((start, start + len(written)))
        start += len(written) + len(after)
    return tuple(spans) if start == len(text) else None


def _spans_by_search(text: str, contents: Sequence[str]) -> _Spans:
    """One content after the other, wherever it is first found: the template follows no frame."""
    spans = []
    after = 0
    for content in contents:
        start = text.find(content.strip(), after)
        length = len(content.strip()) if start >= 0 else 0
        start = max(start, after)
        spans.append((start, start + length))
        after = start + length
    return tuple(spans)
