"""What a server tells of itself, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Gauge
from prometheus_client import Histogram
from prometheus_client import ProcessCollector
from prometheus_client import generate_latest


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "c2c_requests",
            "Requests, by what they asked and their status.",
            ["system", "status"],
            registry=registry,
        )
        self.tokens = Counter(
            "c2c_tokens",
            "Tokens read (prompt) and written (answer).",
            ["system", "kind"],
            registry=registry,
        )
        self.first_token = Histogram(
            "c2c_first_token_seconds",
            "From a request to its answer's first words.",
            ["system"],
            registry=registry,
        )
        self.waiting = Gauge("c2c_open_answers", "Answers that are waited for.", registry=registry)
        self.queued = Gauge(
            "c2c_queued_answers", "Answers that wait for a place.", registry=registry
        )
        self.kept = Gauge("c2c_kept_bytes", "Caches of what was read, kept.", registry=registry)
        self.listened = Counter(
            "c2c_listened",
            "Answers of confident champions, by whether the sharer was asked.",
            ["system", "listened"],
            registry=registry,
        )
        self._prefilled = Counter(
            "c2c_prefill_tokens",
            "Tokens of prompts, of both models, by whether their caches were kept from before.",
            ["kept"],
            registry=registry,
        )

    def prefilled(self, read: int, reused: int) -> None:
        """Count tokens of prompts that a model has read, and those that were kept."""
        self._prefilled.labels("no").inc(read)
        self._prefilled.labels("yes").inc(reused)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
