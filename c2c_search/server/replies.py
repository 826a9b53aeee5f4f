"""Answers in the shapes of OpenAI's API, whole and as parts of a stream."""

from __future__ import annotations

import json
from abc import ABC
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from itertools import chain
from math import isfinite
from typing import TYPE_CHECKING
from typing import Any
from typing import ClassVar


if TYPE_CHECKING:
    from c2c_search.inference.message_effect import MessageEffect
    from c2c_search.server.writing import ToldToken
    from c2c_search.server.writing import Written

END = "data: [DONE]\n\n"


def usage(answers: Sequence[Written], of_each: int) -> dict[str, int]:
    """Tokens that answers took.

    Args:
        answers: All of a request.
        of_each: Answers to each prompt, which is counted once.
    """
    read = sum(answer.prompt_tokens for answer in answers) // of_each
    written = sum(answer.new_tokens for answer in answers)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def event(body: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


@dataclass(frozen=True)
class Reply(ABC):
    """What all parts of a reply begin with.

    Args:
        id: Of the request.
        created: Unix time.
        model: The system's name.
        likelihoods: Whether tokens' log-probabilities were asked for.
    """

    id: str
    created: int
    model: str
    likelihoods: bool

    whole_kind: ClassVar[str]
    part_kind: ClassVar[str]

    def whole(self, answers: Sequence[Written], tokens: dict[str, int]) -> dict[str, Any]:
        """All answers, and what they took."""
        choices = [
            self._choice(number, self._said(answer), answer.tokens, answer.reason)
            for number, answer in enumerate(answers)
        ]
        return {**self._head(self.whole_kind), "choices": choices, "usage": tokens}

    def part(
        self, number: int, text: str, tokens: Sequence[ToldToken], *, first: bool = False
    ) -> dict[str, Any]:
        """Some words of an answer."""
        choice = self._choice(number, self._words(text, first=first), tokens, None)
        return {**self._head(self.part_kind), "choices": [choice]}

    def end(self, number: int, answer: Written) -> dict[str, Any]:
        """An answer's end, when all its words were told."""
        words = {**self._words(None, first=False), **_beside(answer)}
        choice = self._choice(number, words, (), answer.reason)
        return {**self._head(self.part_kind), "choices": [choice]}

    def last(self, tokens: dict[str, int]) -> dict[str, Any]:
        """What a stream took."""
        return {**self._head(self.part_kind), "choices": [], "usage": tokens}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _choice(
        self, number: int, said: dict[str, Any], tokens: Sequence[ToldToken], reason: str | None
    ) -> dict[str, Any]:
        logprobs = self._logprobs(tokens) if self.likelihoods else None
        return {"index": number, **said, "logprobs": logprobs, "finish_reason": reason}

    @abstractmethod
    def _said(self, answer: Written) -> dict[str, Any]:
        """An answer's own fields of a choice."""

    @abstractmethod
    def _words(self, text: str | None, *, first: bool) -> dict[str, Any]:
        """The same of some words that have come."""

    @abstractmethod
    def _logprobs(self, tokens: Sequence[ToldToken]) -> dict[str, Any]:
        """Log-probabilities of tokens."""


class ChatReply(Reply):
    """``/v1/chat/completions``."""

    whole_kind = "chat.completion"
    part_kind = "chat.completion.chunk"

    def _said(self, answer: Written) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return {"message": message, **_beside(answer)}

    def _words(self, text: str | None, *, first: bool) -> dict[str, Any]:
        delta = {"role": "assistant"} if first else {}
        return {"delta": delta if text is None else {**delta, "content": text}}

    def _logprobs(self, tokens: Sequence[ToldToken]) -> dict[str, Any]:
        return {
            "content": [
                {
                    **_token(token.text, token.likelihood),
                    "top_logprobs": [_token(*each) for each in token.top],
                }
                for token in tokens
            ],
            "refusal": None,
        }


class TextReply(Reply):
    """``/v1/completions``."""

    whole_kind = part_kind = "text_completion"

    def _said(self, answer: Written) -> dict[str, Any]:
        return {"text": answer.text}

    def _words(self, text: str | None, *, first: bool) -> dict[str, Any]:
        return {"text": text or ""}

    def _logprobs(self, tokens: Sequence[ToldToken]) -> dict[str, Any]:
        texts = [token.text for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.likelihood for token in tokens],
            # Of tokens with one text the likeliest is told: it comes last.
            "top_logprobs": [
                None if token.likelihood is None else dict(reversed(token.top)) for token in tokens
            ],
            "text_offset": [*accumulate(map(len, texts[:-1]), initial=0)] if texts else [],
        }


def _beside(answer: Written) -> dict[str, Any]:
    """What OpenAI's API has no field for."""
    found: dict[str, Any] = {} if answer.listened is None else {"listened": answer.listened}
    if answer.heard is not None:
        effect = answer.heard.effect
        found["heard"] = {
            "text": answer.heard.text,
            "effect": None if effect is None else _effect(effect),
            **({} if answer.heard.words is None else {"words": answer.heard.words}),
        }
    return found


def _effect(effect: MessageEffect) -> dict[str, Any]:
    rows = [[round(value, 4) for value in row] for row in effect.effect.tolist()]
    return {
        "of": "sharer" if effect.of_sharer else "receiver",
        "first": effect.first,
        "second": effect.second,
        "layers": effect.layers,
        "tokens": effect.tokens,
        "logits": rows if all(map(isfinite, chain.from_iterable(rows))) else None,
    }


def _token(text: str, likelihood: float | None) -> dict[str, Any]:
    return {"token": text, "logprob": likelihood, "bytes": [*text.encode()]}
