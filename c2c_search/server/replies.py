"""Answers in the shapes of OpenAI's API, whole and as parts of a stream."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any


if TYPE_CHECKING:
    from c2c_search.server.likelihoods import Likelihood
    from c2c_search.server.writing import ToldToken
    from c2c_search.server.writing import Written

END = "data: [DONE]\n\n"


def usage(answers: Sequence[Written]) -> dict[str, int]:
    """Tokens that answers took; a prompt that has several is counted once."""
    prompt = max((answer.prompt_tokens for answer in answers), default=0)
    written = sum(len(answer.tokens) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
    }


def event(body: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"


@dataclass(frozen=True)
class Reply:
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

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


class ChatReply(Reply):
    """``/v1/chat/completions``."""

    def whole(self, answers: Sequence[Written], tokens: dict[str, int]) -> dict[str, Any]:
        """All answers."""
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": self._logprobs(answer.tokens),
                "finish_reason": answer.reason,
                **({} if answer.listened is None else {"listened": answer.listened}),
            }
            for number, answer in enumerate(answers)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": tokens}

    def part(
        self,
        number: int,
        text: str | None,
        tokens: Sequence[ToldToken],
        reason: str | None = None,
        *,
        first: bool = False,
    ) -> dict[str, Any]:
        """Some words of an answer, or its end."""
        delta: dict[str, Any] = {"role": "assistant"} if first else {}
        if text is not None:
            delta["content"] = text
        choice = {
            "index": number,
            "delta": delta,
            "logprobs": self._logprobs(tokens),
            "finish_reason": reason,
        }
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last(self, tokens: dict[str, int]) -> dict[str, Any]:
        """What a stream took."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": tokens}

    def _logprobs(self, tokens: Sequence[ToldToken]) -> dict[str, Any] | None:
        if not self.likelihoods:
            return None
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

    def whole(self, answers: Sequence[Written], tokens: dict[str, int]) -> dict[str, Any]:
        """All answers."""
        choices = [
            {
                "index": number,
                "text": answer.text,
                "logprobs": self._logprobs(answer.tokens),
                "finish_reason": answer.reason,
            }
            for number, answer in enumerate(answers)
        ]
        return {**self._head("text_completion"), "choices": choices, "usage": tokens}

    def part(
        self,
        number: int,
        text: str | None,
        tokens: Sequence[ToldToken],
        reason: str | None = None,
        *,
        first: bool = False,
    ) -> dict[str, Any]:
        """Some words of an answer, or its end."""
        choice = {
            "index": number,
            "text": text or "",
            "logprobs": self._logprobs(tokens),
            "finish_reason": reason,
        }
        return {**self._head("text_completion"), "choices": [choice]}

    def last(self, tokens: dict[str, int]) -> dict[str, Any]:
        """What a stream took."""
        return {**self._head("text_completion"), "choices": [], "usage": tokens}

    def _logprobs(self, tokens: Sequence[ToldToken]) -> dict[str, Any] | None:
        if not self.likelihoods:
            return None
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.likelihood for token in tokens],
            "top_logprobs": [dict(token.top) for token in tokens],
            "text_offset": _offsets([token.text for token in tokens]),
        }

    def echoed(
        self, texts: Sequence[str], scored: Sequence[Sequence[Likelihood]], named: Named
    ) -> dict[str, Any]:
        """Texts with every token's log-probability, and nothing written behind them."""
        choices = []
        for number, (text, tokens) in enumerate(zip(texts, scored, strict=True)):
            words = [named(token) for token, _, _ in tokens]
            logprobs = {
                "tokens": words,
                "token_logprobs": [likelihood for _, likelihood, _ in tokens],
                "top_logprobs": [
                    {named(each): value for each, value in top} if likelihood is not None else None
                    for _, likelihood, top in tokens
                ],
                "text_offset": _offsets(words),
            }
            choices.append(
                {"index": number, "text": text, "logprobs": logprobs, "finish_reason": "length"}
            )
        read = sum(len(tokens) for tokens in scored)
        took = {"prompt_tokens": read, "completion_tokens": 0, "total_tokens": read}
        return {**self._head("text_completion"), "choices": choices, "usage": took}


class Named:
    """Tokens in words."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, token: int) -> str:
        """A token's text."""
        return str(self._tokenizer.decode([token]))


def _token(text: str, likelihood: float) -> dict[str, Any]:
    return {"token": text, "logprob": likelihood, "bytes": [*text.encode()]}


def _offsets(texts: Sequence[str]) -> list[int]:
    found, end = [], 0
    for text in texts:
        found.append(end)
        end += len(text)
    return found
