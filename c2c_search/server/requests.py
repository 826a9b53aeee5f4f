"""What clients send, read strictly: what is not done here is refused, never ignored."""

from __future__ import annotations

import json
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeVar

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic import model_validator

from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.server.failures import ApiError


Text = Annotated[str, Field(max_length=200_000)]
Stop = Annotated[str, Field(min_length=1, max_length=100)]
Token = Annotated[int, Field(ge=0, lt=2**31)]

_TOP = 20  # most alternatives of a token
_Request = TypeVar("_Request", bound="AnswerRequest")


class TextPart(BaseModel):
    """A part of a message; parts of other kinds are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: Text


class Turn(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: str | None = None

    @property
    def text(self) -> str:
        """Its words."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    """What a stream holds beside the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class AnswerRequest(BaseModel):
    """What both kinds of request have in common.

    Greedy unless a temperature is given: so champions are measured.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=300)]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] | None = None
    sharer_context: Text | None = None
    """What the sharer alone reads (ours): a document that the question is about."""

    @property
    def answers(self) -> int:
        """To each prompt."""
        return self.n or 1

    @property
    def usage_in_stream(self) -> bool:
        """Whether a stream ends with what it took."""
        return self.stream_options is not None and self.stream_options.include_usage

    def settings(self, max_tokens: int) -> GenerationSettings:
        """How tokens are chosen and where an answer ends."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return GenerationSettings(
            max_new_tokens=max_tokens,
            do_sample=bool(self.temperature),
            temperature=self.temperature or 1.0,
            top_p=1.0 if self.top_p is None else self.top_p,
            stop_strings=tuple(stop),
        )


class ChatRequest(AnswerRequest):
    """``/v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=_TOP)] | None = None
    heard: bool | None = None
    """Whether to tell what the receiver has heard of the sharer (ours)."""

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> ChatRequest:
        if self.messages[-1].role == "assistant":
            raise ValueError("messages must end with what is to be answered, not with an answer")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        return self

    @property
    def tokens(self) -> int | None:
        """Most of an answer, as asked."""
        return self.max_completion_tokens or self.max_tokens


class CompletionRequest(AnswerRequest):
    """``/v1/completions``: text, or the receiver's token ids, that are gone on from."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=64)]
        | Annotated[list[Token], Field(min_length=1)]
        | Annotated[list[Annotated[list[Token], Field(min_length=1)]], Field(min_length=1)]
    )
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=_TOP)] | None = None
    echo: bool | None = None
    best_of: Literal[1] | None = None
    suffix: None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return [*self.prompt]


def read(kind: type[_Request], body: bytes) -> _Request:
    """A request's body.

    Raises:
        ApiError: Names the first field at fault, and how many more there are.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "The body must be JSON.", code="invalid_json") from error
    if not isinstance(given, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _told(error) from error
    except RecursionError as error:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from error


def _told(error: ValidationError) -> ApiError:
    first, *others = error.errors(include_url=False, include_context=False)
    # Of a union, pydantic names the branch too: the field alone is the client's.
    where = str(first["loc"][0]) if first["loc"] else None
    rule = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        rule = "this field is unknown or not done here; leave it out"
    more = f" ({len(others)} more)" if others else ""
    return ApiError(400, f"{where or 'body'}: {rule}{more}", param=where, code="invalid_value")
