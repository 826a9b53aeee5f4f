"""What a server takes on, so that no client can make it take more."""

from __future__ import annotations

from dataclasses import dataclass


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
        kept_bytes: Caches of prompts and conversations, of all systems together, that are kept
            for whoever asks them again.
    """

    batch: int = 16
    queue: int = 64
    max_tokens: int = 1024
    context_tokens: int = 8192
    choices: int = 16
    body_bytes: int = 1_000_000
    seconds: float = 300.0
    kept_bytes: int = 512 * 2**20
