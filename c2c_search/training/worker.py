"""The process that runs trials; models and caches stay in it from trial to trial.

Started by `c2c_search.training.launch` as ``python -m c2c_search.training.worker``. Requests
come in on standard input, events go out on the file descriptor given, one JSON line each.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.errors import C2CError
from c2c_search.errors import StoreError
from c2c_search.host.files import is_full
from c2c_search.training.followers import LAST_WORDS_SECONDS
from c2c_search.training.leader import Leader
from c2c_search.training.process import die_with_parent
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.process import release_memory
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import REQUEST
from c2c_search.training.protocol import Answer
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Failure
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Pace
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainTogether


if TYPE_CHECKING:
    from typing import TextIO

    from c2c_search.training.service import WorkerService


def main() -> None:
    """Serve requests until standard input closes."""
    descriptor, parent, pipeline, cache_dir = sys.argv[1:5]
    die_with_parent(int(parent))
    keep_freed_memory()
    events = os.fdopen(int(descriptor), "w", buffering=1, encoding="utf-8")
    Server(sys.stdin, events, pipeline, cache_dir).serve()


class TimeLimitError(Exception):
    """A training has taken longer than it may."""


class Server:
    """Reads requests, runs them at the `WorkerService`, writes events.

    Args:
        requests: Where requests come in.
        events: Where events go out.
        pipeline: The study's pipeline, as JSON.
        cache_dir: Where models and prompt caches are kept; empty for the user's cache folder.
    """

    def __init__(self, requests: TextIO, events: TextIO, pipeline: str, cache_dir: str) -> None:
        self.requests = requests
        self.events = events
        self.pipeline = pipeline
        self.cache_dir = cache_dir
        self._service: WorkerService | None = None
        self._deadlines: dict[int, float] = {}  # by the trial's index; of one alone it is 0
        self._begun = 0  # trainings of the request
        self._writing = threading.RLock()
        self._leader = Leader(pipeline, cache_dir, self._break_off)

    def serve(self) -> None:
        """Answer one request after the other."""
        while (request := self._read()) is not None:
            try:
                self.emit(self._run(request))
            except Exception as error:
                traceback.print_exc()
                if self._leader.leads:
                    if isinstance(error, RuntimeError):  # another rank's end may be behind it,
                        time.sleep(2 * LAST_WORDS_SECONDS)  # and is being told
                    self._break_off(describe(error))
                self.emit(describe(error))
                release_memory()

    def emit(self, event: Event) -> None:
        """Send one event to the driver.

        Raises:
            TimeLimitError: It was a step, after the time that its training may take.
        """
        index, told = (event.index, event.event) if isinstance(event, OfTrial) else (0, event)
        if isinstance(told, Trained):
            self._deadlines.pop(index, None)
        with self._writing:
            self.events.write(EVENT.dump_json(event).decode() + "\n")
            self.events.flush()
        if isinstance(told, Step) and time.monotonic() > self._deadlines.get(index, math.inf):
            raise TimeLimitError(f"it has not ended by its time limit, at step {told.step}")

    def _read(self) -> Request | None:
        line = self.requests.readline()
        return REQUEST.validate_json(line) if line else None

    def _run(self, request: Request) -> Event:
        if isinstance(request, Pace):
            with self._leader.leading(request):
                return self._answer(request)
        if not isinstance(request, (Train, TrainTogether)):
            return self._answer(request)
        self._begun = len(request.trials) if isinstance(request, TrainTogether) else 1
        limit = time.monotonic() + seconds_of(request)
        self._deadlines = dict.fromkeys(range(self._begun), limit)
        with self._leader.leading(request):
            return self._answer(request)

    def _answer(self, request: Request) -> Event:
        service = self.service()
        if isinstance(request, Prepare):
            return service.prepare(request.pair)
        if isinstance(request, Train):
            return service.train(
                request.config,
                Path(request.directory),
                self._go_on,
                learner=request.learner,
                parameters=request.parameters,
                objective=request.objective,
            )
        if isinstance(request, TrainTogether):
            return service.train_together(request.trials, self._go_on, self._joining)
        if isinstance(request, Pace):
            return service.pace(request)
        if isinstance(request, Evaluate):
            return service.evaluate(request)
        if isinstance(request, Cost):
            return service.cost(request)
        raise TypeError(f"{request.type!r} is only expected after a rung or a trial's end")

    def _break_off(self, failed: Failed) -> None:
        """End this process and its followers: who has lost a rank cannot make a new group."""
        with self._writing:  # one of the two threads that may come here
            try:
                self.emit(failed)
                self._leader.close()
            finally:
                os._exit(1)

    def service(self) -> WorkerService:
        """The service, set up at the first request: torch takes a while to import."""
        if self._service is None:
            from c2c_search.config.pipeline import Pipeline
            from c2c_search.training.service import WorkerService

            self._service = WorkerService(
                Pipeline.model_validate_json(self.pipeline),
                cache_dir=Path(self.cache_dir) if self.cache_dir else None,
                emit=self.emit,
            )
        return self._service

    def _go_on(self) -> bool:
        answer = self._read()
        if not isinstance(answer, Answer):
            raise TypeError("after a rung the driver must answer")
        return answer.go_on

    def _joining(self) -> tuple[Train, ...]:
        """Who joins a group; each has as long as those with whom it is in it would have."""
        answer = self._read()
        if not isinstance(answer, Join):
            raise TypeError("after a trial's end in a group the driver must say who joins it")
        for train in answer.trials:
            together = 1 + len(self._deadlines)
            self._deadlines[self._begun] = time.monotonic() + together * seconds_of(train)
            self._begun += 1
        return answer.trials


def seconds_of(request: Request) -> float:
    """How long a request may take: trainings in lockstep as long as one after the other."""
    if isinstance(request, TrainTogether):
        return sum(map(seconds_of, request.trials))
    if isinstance(request, Train) and request.seconds is not None:
        return request.seconds
    return math.inf


_NOT_IN_PLACE = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
_REPEATABLE = (
    ImportError,
    LookupError,
    ValueError,
    ArithmeticError,
    AttributeError,
    *_NOT_IN_PLACE,
)


def describe(error: Exception) -> Failed:
    """An exception as the driver needs it: what kind of failure, and in which words.

    What the same input raises again and again is ``invalid``: trying again would only take time.
    Input and output may fail once; what is not known is tried once more.
    """
    import torch
    from jinja2 import TemplateError

    from c2c_search.training.divergence import DivergedError

    failure: Failure = "unknown"
    exit_code = 2
    if isinstance(error, DivergedError):
        failure = "diverged"
    elif isinstance(error, TimeLimitError):
        failure = "timeout"
    elif isinstance(error, StoreError) or is_full(error):
        failure = "fatal"
    elif isinstance(error, C2CError):
        failure, exit_code = "invalid", error.exit_code
    elif isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _is_cpu_oom(error):
        failure = "out_of_memory"
    elif isinstance(error, (TypeError, AssertionError, NotImplementedError)):
        failure = "fatal"
    elif isinstance(error, (*_REPEATABLE, TemplateError)):
        failure = "invalid"
    elif isinstance(error, OSError):
        failure = "transient"
    return Failed(failure=failure, message=_words(error), exit_code=exit_code)


def _words(error: Exception) -> str:
    """What the user can put right speaks for itself; any other exception is named."""
    if isinstance(error, C2CError):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _is_cpu_oom(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


if __name__ == "__main__":
    main()
