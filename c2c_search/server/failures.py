"""What a client is told when something is wrong, in the shape that OpenAI's clients read."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        message: The rule, the value and the way out; never a path or a stack trace.
        param: The field at fault.
        code: For programs.
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def body(self) -> dict[str, Any]:
        """Of the answer."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {
            "error": {
                "message": self.message,
                "type": "server_error" if self.status >= 500 else kind,
                "param": self.param,
                "code": self.code,
            }
        }


def busy(waiting: int) -> ApiError:
    """The queue is full."""
    return ApiError(
        429,
        f"As many answers as may wait are waiting: {waiting}. Ask again later.",
        code="queue_full",
        retry_after=1,
    )


def too_long(tokens: int, limit: int) -> ApiError:
    """A prompt that a model cannot read, or is not to."""
    return ApiError(
        400,
        f"Prompt and answer may have {limit} tokens together, and these have {tokens}. Shorten "
        "the prompt, or ask for a shorter answer.",
        code="context_length_exceeded",
    )


def failed() -> ApiError:
    """Something is wrong here, which is told in the server's own log alone."""
    return ApiError(500, "The server could not answer; its log says why.", code="internal_error")
