"""The thread that computes: it takes answers on, and decodes all systems' in turns."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from queue import SimpleQueue
from typing import TYPE_CHECKING

from c2c_search.host.freed_memory import give_back_memory
from c2c_search.prompt_cache.prefix_cache import PrefixCache
from c2c_search.server.failures import ApiError
from c2c_search.server.failures import busy
from c2c_search.server.group import Asked
from c2c_search.server.group import Group
from c2c_search.server.prompt_reader import PromptReader


if TYPE_CHECKING:
    from c2c_search.inference.model import C2CModel
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.metrics import Metrics
    from c2c_search.server.systems import Part
    from c2c_search.server.systems import Parts
    from c2c_search.server.writing import Tell
    from c2c_search.server.writing import Written


_IDLE_SECONDS = 0.2
_log = logging.getLogger("c2c_search.server")


@dataclass(eq=False)
class Job:
    """An answer that a client waits for.

    Args:
        parts: What is to be decoded for it.
        tell: Told its words while they come.
        done: Called with the answer, or with what went wrong.
        deadline: By `time.monotonic`, when nobody waits any longer.
    """

    parts: Parts
    tell: Tell
    done: Callable[[Written | Exception], None]
    deadline: float
    cancelled: bool = False

    def alive(self) -> bool:
        """Whether anybody still waits."""
        return not self.cancelled and time.monotonic() < self.deadline


class Engine:
    """Answers jobs in a thread of its own.

    Args:
        limits: What it takes on.
        metrics: What it tells of itself.
    """

    def __init__(self, limits: ServerLimits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self.groups: list[Group] = []
        self.kept = PrefixCache(limits.kept_bytes, metrics.prefilled)
        metrics.kept.set_function(lambda: self.kept.bytes)
        self._new: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._open: list[Job] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def group(self, model: C2CModel) -> Group:
        """A group of a model, which this engine steps."""
        made = Group(PromptReader(model, self.limits, self.kept))
        self.groups.append(made)
        return made

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, when the step that runs has ended; whoever waits is told."""
        self._stopped.set()
        self._thread.join(timeout=30)

    @property
    def ready(self) -> bool:
        """Whether jobs are answered."""
        return self._thread.is_alive() and not self._stopped.is_set()

    @property
    def waiting(self) -> int:
        """Jobs that are not answered yet."""
        return len(self._open)

    @property
    def _busy(self) -> bool:
        return any(group.busy for group in self.groups)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs on, all or none.

        Raises:
            ApiError: As many as may wait are waiting, or the server is ending.
        """
        if self._stopped.is_set():
            raise ApiError(503, "The server is shutting down.", code="shutting_down")
        with self._lock:
            room = self.limits.queue + self.limits.batch - len(self._open)
            if len(jobs) > room:
                raise busy(len(self._open))
            self._open.extend(jobs)
        self.metrics.waiting.set(len(self._open))
        for job in jobs:
            self._new.put(job)

    def _run(self) -> None:
        used = False  # since memory was given back
        while not self._stopped.is_set():
            self._take(wait=not self._busy)
            if used and not self._busy:  # nobody has come for a while
                give_back_memory()
                used = False
            self._drop()
            for group in self.groups:
                if group.busy:
                    group.step()
                    used = True
            self.metrics.queued.set(sum(group.queued for group in self.groups))
        for job in [*self._open]:
            self._end(job, ApiError(503, "The server is shutting down.", code="shutting_down"))

    def _take(self, *, wait: bool) -> None:
        try:
            while True:
                job = self._new.get(timeout=_IDLE_SECONDS) if wait else self._new.get(False)
                self._go_on(job, None)
                wait = False
        except Empty:
            return

    def _drop(self) -> None:
        """Forget jobs for which nobody waits; their groups drop them at the next step."""
        for job in [*self._open]:
            if not job.alive():
                late = not job.cancelled
                rule = f"No answer within {self.limits.seconds:g} s."
                self._end(job, ApiError(504 if late else 499, rule, code="timeout"))

    def _go_on(self, job: Job, written: Written | None) -> None:
        """Decode a job's next part, or end it."""
        try:
            part: Part = next(job.parts) if written is None else job.parts.send(written)
        except StopIteration as end:
            self._end(job, end.value)
            return
        except Exception as error:
            self._end(job, error)
            return
        part.group.add(
            Asked(
                part.wanted,
                tell=job.tell if part.told else _nobody,
                done=lambda done: self._go_on(job, done),
                failed=lambda error: self._end(job, error),
                alive=lambda: job.alive() and job in self._open,
            )
        )

    def _end(self, job: Job, outcome: Written | Exception) -> None:
        with self._lock:
            if job not in self._open:
                return
            self._open.remove(job)
        self.metrics.waiting.set(len(self._open))
        if isinstance(outcome, Exception) and not isinstance(outcome, ApiError):
            _log.error("an answer failed", exc_info=outcome)
        job.done(outcome)


def _nobody(text: str, tokens: Sequence[object]) -> None:
    """What is not the answer's is told to nobody."""
