"""From messages to the text that each model reads, and where its contents stand."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypedDict
from typing import get_args

from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic_core import PydanticKnownError

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


Template = Literal["plain", "chat"]
Role = Literal["receiver", "sharer"]
LINES: dict[Template, tuple[str, ...]] = {"plain": ("\n",), "chat": ()}
"""What ends an answer: in the plain template the next line is another question."""

_TODAY = "strftime_now"  # the only clock that chat templates have
_DIRECTIVES = (
    "%-d",
    "%-m",
    "%-y",
    "%-j",
    *(f"%{letter}" for letter in "aAbBcdDeFgGhjmuUVwWxyYHIMSfpX"),
)

_Spans = tuple[tuple[int, int], ...]


class RoleTemplates(BaseModel):
    """A template for each role: an instructed receiver, say, beside a base sharer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receiver: Template = Field(description="Of the model that answers.")
    sharer: Template = Field(description="Of the model that speaks.")

    def __str__(self) -> str:
        return f"receiver {self.receiver}, sharer {self.sharer}"


def _pair_template(value: Any) -> Template | RoleTemplates:
    """One word where both roles have the same, so that equal data is told alike."""
    if value in ("plain", "chat"):
        template: Template = value
        return template
    if not isinstance(value, dict | RoleTemplates):
        names = " or ".join(f"'{name}'" for name in get_args(Template))
        raise PydanticKnownError("literal_error", {"expected": names})
    try:
        found = RoleTemplates.model_validate(value)
    except ValidationError:
        raise ValueError(
            "must be plain, chat, or one of them for each role, as {receiver: chat, sharer: plain}"
        ) from None
    return found.receiver if found.receiver == found.sharer else found


PairTemplate = Annotated[Template | RoleTemplates, BeforeValidator(_pair_template)]
"""How a question becomes a prompt, for both models or for each."""


def template_of(template: Template | RoleTemplates, role: Role) -> Template:
    """The template that a role's prompts are written in."""
    if not isinstance(template, RoleTemplates):
        return template
    return template.receiver if role == "receiver" else template.sharer


def spelled(template: Template | RoleTemplates) -> str | dict[str, str]:
    """A template as JSON has it."""
    return template.model_dump() if isinstance(template, RoleTemplates) else template


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
        quoted: Where contents are spelt like a control token, wherever the template has put them.
    """

    text: str
    contents: tuple[tuple[int, int], ...]
    special: bool
    quoted: tuple[tuple[int, int], ...] = ()

    @property
    def foreign(self) -> tuple[tuple[int, int], ...]:
        """Where others have written; the template has all else."""
        return (*self.contents, *self.quoted)


class TemplateRefusedError(DataError):
    """A model's chat template cannot write a conversation.

    Args:
        index: Of the conversation among those that were to be written.
        tokenizer: Whose template it is.
        roles: Of the conversation's turns.
        reason: What the template says.
    """

    def __init__(
        self,
        index: int,
        tokenizer: PreTrainedTokenizerFast,
        roles: Sequence[str],
        reason: Exception,
        *,
        model: str = "",
        where: str = "",
    ) -> None:
        self.index, self.tokenizer, self.roles, self.reason = index, tokenizer, roles, reason
        said = str(reason) or type(reason).__name__
        super().__init__(
            f"The chat template of {model or tokenizer.name_or_path} must be able to write every "
            f"conversation; it refuses this one, of {', '.join(roles)}: {said}.",
            value=where or f"conversation {index + 1}",
            hint="Change these turns, set the template to plain, or choose another model.",
        )

    def named(self, model: str, where: str) -> TemplateRefusedError:
        """The same, with the model's source and the place of the row."""
        return TemplateRefusedError(
            self.index, self.tokenizer, self.roles, self.reason, model=model, where=where
        )


def asked(text: str) -> list[Message]:
    """A conversation of one question."""
    return [Message(role="user", content=text)]


def asked_about(document: str, question: str) -> str:
    """What a sharer reads where it alone has the document: that, and the question below it."""
    return f"{document}\nQuestion: {question}"


def both_asked(
    questions: Sequence[str], sharer_contexts: Sequence[str] | None
) -> tuple[list[list[Message]], list[list[Message]] | None]:
    """Conversations of one question each, of the receiver and, where it reads others, the sharer.

    Args:
        questions: What the receiver is asked.
        sharer_contexts: What the sharer reads instead.
    """
    theirs = None if sharer_contexts is None else [asked(text) for text in sharer_contexts]
    return [asked(text) for text in questions], theirs


def render(
    messages: Sequence[Message],
    template: Template,
    tokenizer: PreTrainedTokenizerFast,
    date: str | None = None,
) -> Rendered:
    """Write messages out for one model.

    ``plain`` is ``Question: …`` and ``Answer:`` lines, the same text for any model. ``chat`` is
    the model's own chat template; a base model without one reads ``plain``, which whoever loads
    it says (see `lacks_chat_template`).

    Args:
        messages: The turns.
        template: ``plain`` or ``chat``.
        tokenizer: The model's.
        date: The day, as ``2026-07-31``, that a dated chat template writes; see `is_dated`.

    Raises:
        ConfigError: The tokenizer has several chat templates, and none is the default.
        TemplateRefusedError: The chat template cannot write these turns.
    """
    return render_all([messages], template, tokenizer, date)[0]


def render_all(
    conversations: Sequence[Sequence[Message]],
    template: Template,
    tokenizer: PreTrainedTokenizerFast,
    date: str | None = None,
) -> list[Rendered]:
    """Write several conversations out for one model, each as `render` does."""
    from c2c_search.tokenization.control_tokens import control_tokens  # needs numpy

    if template != "chat" or chat_template(tokenizer) is None:
        return [_render_plain(messages) for messages in conversations]
    frames: dict[tuple[str, ...], tuple[str, ...] | None] = {}
    controls = control_tokens(tokenizer)
    rendered = []
    for index, messages in enumerate(conversations):
        roles = tuple(message["role"] for message in messages)
        contents, marks = controls.marked([message["content"] for message in messages])
        turns = [
            Message(role=role, content=content)
            for role, content in zip(roles, contents, strict=True)
        ]
        try:
            text = _apply(turns if marks else messages, tokenizer, date)
        except Exception as error:  # a template is a program, which raises what it likes
            raise TemplateRefusedError(index, tokenizer, roles, error) from error
        if roles not in frames:
            frames[roles] = _frame(roles, tokenizer, date)
        spans = _spans_in_frame(text, contents, frames[roles]) or _spans_by_search(text, contents)
        rendered.append(_unmarked(text, spans, marks))
    return rendered


def continuation(response: str, template: Template, tokenizer: PreTrainedTokenizerFast) -> str:
    """A response as it follows a prompt of this template: after ``Answer:`` comes a space."""
    chat = template == "chat" and chat_template(tokenizer) is not None
    return response if chat else f" {response}"


def chat_template(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """A tokenizer's chat template; None if it has none.

    Raises:
        ConfigError: It has several, and none is the default.
    """
    found = tokenizer.chat_template
    if isinstance(found, dict):
        if "default" not in found:
            raise ConfigError(
                "One of several chat templates must be the default.",
                value=f"{', '.join(sorted(found))} of {tokenizer.name_or_path}",
                hint="Name one of them default in the tokenizer's configuration, or set the "
                "template to plain.",
            )
        found = found["default"]
    assert found is None or isinstance(found, str)
    return found


def lacks_chat_template(template: Template, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether prompts are to be chats and the model has no way to write one."""
    return template == "chat" and chat_template(tokenizer) is None


def is_dated(template: Template, tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether prompts depend on the day on which they are written."""
    found = chat_template(tokenizer) if template == "chat" else None
    return found is not None and _TODAY in found


def any_dated(
    template: Template | RoleTemplates,
    receiver: PreTrainedTokenizerFast,
    sharer: PreTrainedTokenizerFast,
) -> bool:
    """Whether prompts of either model do; see `is_dated`."""
    ours, theirs = template_of(template, "receiver"), template_of(template, "sharer")
    return is_dated(ours, receiver) or is_dated(theirs, sharer)


def written_on(date: str | None, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """What makes ``apply_chat_template`` take a day, as ``2026-07-31``, for today.

    The template gets a clock of its own, which stands: transformers hands no other to it.
    """
    template = chat_template(tokenizer)
    if date is None or template is None or _TODAY not in template:
        return {}
    day = datetime.date.fromisoformat(date)
    stands = "".join(f"|replace('{each}', {day.strftime(each)!r})" for each in _DIRECTIVES)
    macro = f"{{%- macro {_TODAY}(format) -%}}{{{{ format{stands} }}}}{{%- endmacro %}}"
    # An expression between: a block would swallow a line break that the template begins with.
    return {"chat_template": macro + "{{ '' }}" + template}


def _render_plain(messages: Sequence[Message]) -> Rendered:
    labels = {"user": "Question: ", "assistant": "Answer: ", "system": ""}
    text = ""
    contents = []
    for message in messages:
        text += labels.get(message["role"], f"{message['role']}: ")
        contents.append((len(text), len(text) + len(message["content"])))
        text += message["content"] + "\n"
    return Rendered(text + "Answer:", tuple(contents), special=True)


def _apply(
    messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast, date: str | None
) -> str:
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **written_on(date, tokenizer)
    )
    assert isinstance(text, str)
    return text


def _unmarked(text: str, contents: _Spans, marks: Mapping[str, str]) -> Rendered:
    """A chat in which each mark is what it stands for; see `ControlTokens.marked`."""
    if not marks:
        return Rendered(text, contents, special=False)
    written = [marks.get(character, character) for character in text]
    starts = [0, *accumulate(map(len, written))]
    quoted = tuple(
        (starts[place], starts[place + 1])
        for place, character in enumerate(text)
        if character in marks
    )
    moved = tuple((starts[start], starts[end]) for start, end in contents)
    return Rendered("".join(written), moved, special=False, quoted=quoted)


def _frame(
    roles: Sequence[str], tokenizer: PreTrainedTokenizerFast, date: str | None
) -> tuple[str, ...] | None:
    """The template's own text before, between and after the contents of these turns.

    Placeholders tell it: a content such as ``user`` is found in the template's text, too. None
    where the template leaves a turn out, changes the order or refuses such contents.
    """
    placeholders = [f"<c2c-content-{turn}>" for turn in range(len(roles))]
    turns = [
        Message(role=role, content=content)
        for role, content in zip(roles, placeholders, strict=True)
    ]
    try:
        rest = _apply(turns, tokenizer, date)
    except Exception:  # it has written the real ones
        return None
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
