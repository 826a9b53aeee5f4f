"""What a server takes on, so that no client can make it take more."""

from __future__ import annotations

from dataclasses import dataclass

from c2c_search.prompt_cache.prefix_cache import KEPT_BYTES


@dataclass(frozen=True)
class ServerLimits:
    """Bounds on requests, and on what is done at once.

    Args:
        batch: Answers of one system that are decoded together.
        queue: Answers that may wait for a place; more are refused (429).
        max_tokens: Of an answer.
        context_tokens: That a prompt may have with its answer; fewer where a model reads fewer.
        choices: Answers that one request may ask for.
        body_bytes: Of a request.
        seconds: That an answer may take, waiting included.
        kept_bytes: Caches of what was read, of all systems together, that are kept for prompts
            that begin so.
    """

    batch: int = 16
    queue: int = 64
    max_tokens: int = 1024
    context_tokens: int = 8192
    choices: int = 16
    body_bytes: int = 1_000_000
    seconds: float = 300.0
    kept_bytes: int = KEPT_BYTES
