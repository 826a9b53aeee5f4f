"""A worker in the process of the test, where the start of one proves nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from c2c_search.config.pipeline import Pipeline
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Request
from c2c_search.training.worker import Server


class WorkerHere(Server):
    """`training.launch.Worker` as far as its requests go: the real server, which reads no pipe.

    Every training goes on at its rungs; what is told is heard when a request has ended.
    """

    def __init__(self, pipeline: Pipeline, log_file: Path, *_: Any, **__: Any) -> None:
        super().__init__(io.StringIO(), io.StringIO(), pipeline.model_dump_json(), "")
        self._told: list[Event] = []

    def __enter__(self) -> WorkerHere:
        return self

    def __exit__(self, *error: object) -> None:
        self._service = None

    def ask(self, request: Request) -> Iterator[Event]:
        self._told.clear()
        last = self._run(request)
        yield from self._told
        yield last

    def emit(self, event: Event) -> None:
        self._told.append(event)

    def answer(self, go_on: bool) -> None:
        assert go_on

    def interrupt(self) -> None:
        """Its requests are short, and end by themselves."""

    def _go_on(self) -> bool:
        return True
