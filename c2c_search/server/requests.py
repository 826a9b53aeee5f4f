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
from pydantic import ValidationInfo
from pydantic import field_validator

from c2c_search.errors import suggestion
from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.server.failures import ApiError


Text = Annotated[str, Field(max_length=200_000)]
Stop = Annotated[str, Field(min_length=1, max_length=100)]
Token = Annotated[int, Field(ge=0, lt=2**31)]

_TOP = 20  # most alternatives of a token
_SHOWN = 64  # characters of a foreign name
_NOT_DONE = {
    "audio": "answers are plain text",
    "best_of": "ask for several answers by n",
    "frequency_penalty": "repetition is not penalised",
    "function_call": "champions call no functions",
    "functions": "champions call no functions",
    "logit_bias": "no token is made likelier than the models have it",
    "modalities": "answers are plain text",
    "parallel_tool_calls": "champions call no tools",
    "presence_penalty": "repetition is not penalised",
    "response_format": "answers are plain text, of no given form",
    "store": "no answer is stored",
    "suffix": "text is gone on from, not filled in",
    "tool_choice": "champions call no tools",
    "tools": "champions call no tools",
}
_FORMS = {
    "prompt": "must be a text, up to 64 texts, token ids, or lists of token ids",
    "stop": "must be a text, or up to 16, each of 1 to 100 characters",
}
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


class PlainText(BaseModel):
    """The only form of answers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]


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
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    sharer_context: Text | None = None
    """What the sharer alone reads (ours): a document that the question is about."""

    @field_validator("stream_options")
    @classmethod
    def _of_a_stream(cls, value: StreamOptions, info: ValidationInfo) -> StreamOptions:
        if not info.data.get("stream"):
            raise ValueError("is for streams: set stream to true")
        return value

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

    response_format: PlainText | None = None
    modalities: list[Literal["text"]] | None = None
    tool_choice: Literal["none"] | None = None

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, value: list[Turn]) -> list[Turn]:
        if value[-1].role == "assistant":
            raise ValueError("must end with what is to be answered, not with an answer")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _beside_likelihoods(cls, value: int, info: ValidationInfo) -> int:
        if not info.data.get("logprobs"):
            raise ValueError("needs logprobs: true")
        return value

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
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _told(error, kind, given) from error
    except RecursionError as error:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from error


def _told(error: ValidationError, kind: type[AnswerRequest], given: dict[str, Any]) -> ApiError:
    """The first field at fault; of what may have several forms, what is deepest within it."""
    errors = error.errors(include_url=False, include_context=False)
    found = [(_place(each["loc"], given), str(each["msg"]), each["type"]) for each in errors]
    field = str(found[0][0][0])
    others = len({place[0] for place, _, _ in found}) - 1
    alike = [each for each in found if each[0][0] == field]
    place, rule, fault = max(alike, key=lambda each: len(each[0]))
    where, rule = ".".join(map(_shown, place)), rule.removeprefix("Value error, ")
    if field in _NOT_DONE:
        where, rule = field, f"{_NOT_DONE[field]}; leave it out"
    elif len(place) == 1 and len(alike) > 1:
        rule = _FORMS.get(field, rule)
    elif fault == "extra_forbidden":
        rule = "no such field is known here: leave it out"
        if len(place) == 1:
            rule += f". {suggestion(field, kind.model_fields)}"
    more = f" ({others} more)" if others else ""
    return ApiError(400, f"{where}: {rule}{more}", param=_shown(field), code="invalid_value")


def _shown(name: str | int) -> str:
    """A name that a client gave, short, and such as can be sent."""
    return str(name).encode("ascii", "backslashreplace").decode()[:_SHOWN]


def _place(loc: tuple[str | int, ...], given: Any) -> tuple[str | int, ...]:
    """Where an error is in what was given: pydantic also names which form it was held against.

    A name that is no Unicode has no place.
    """
    found: list[str | int] = []
    for number, part in enumerate(loc):
        if isinstance(part, int) and isinstance(given, list):
            given = given[part]
        elif isinstance(given, dict) and (part in given or number == len(loc) - 1):
            given = given.get(part)
        else:
            continue
        found.append(part)
    return tuple(found) or ("body",)
