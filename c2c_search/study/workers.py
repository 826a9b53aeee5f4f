"""The workers of a study, and how its work is shared out among them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Generic
from typing import TypeVar

from c2c_search.errors import StudyStoppedError
from c2c_search.host.devices import Share
from c2c_search.host.json_store import JsonStore
from c2c_search.models.pair import PairSpec
from c2c_search.report.live import View
from c2c_search.study.trainer import TrainerClient
from c2c_search.study.trainer import WorkerProcess
from c2c_search.study.turns import Turns
from c2c_search.training.protocol import Prepared
from c2c_search.training.remote.cluster import NoPlaceError


if TYPE_CHECKING:
    from c2c_search.study.session import Session

T = TypeVar("T")
Job = Callable[["Session"], T]
"""A piece of a study's work, done with the session of the worker that is free for it."""

_LOOK_SECONDS = 0.2  # between looks at threads that work


@dataclass(frozen=True)
class Workers:
    """The workers of one start of a study.

    Args:
        trainers: One for each worker.
        turns: Of the threads that drive them.
        stop: File that asks the study to stop when what has begun has ended.
    """

    trainers: Sequence[TrainerClient]
    turns: Turns
    stop: Path

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.trainers)

    @property
    def stopping(self) -> bool:
        """Whether nothing new is to begin."""
        return self.stop.exists()

    def close(self) -> None:
        """End every worker's process; the next piece of work starts another."""
        for trainer in self.trainers:
            trainer.close()

    def share(self, session: Session, jobs: Sequence[Job[T]]) -> list[T]:
        """Do every job, each as soon as a worker is free; one worker does them in their order.

        Args:
            session: Of the study.
            jobs: Pieces that do not wait for each other.

        Returns:
            What they return, in their order.

        Raises:
            KeyboardInterrupt: A signal came, or the study was asked to stop.
            StudyStoppedError: No worker finds a node.
            BaseException: What a job raised; the others are ended as by a signal.
        """
        shared = _Shared(self, deque(enumerate(jobs)))
        while shared.jobs and not self.stopping:
            # Work that a worker without a node gave back is for those that have one.
            able = [one for one in self.trainers if one not in shared.lost]
            if not able:
                raise no_node(next(iter(shared.lost.values())))
            if len(able) == 1 or len(jobs) == 1:
                shared.work(replace(session, trainer=able[0]))
            else:
                self._in_threads(session, shared, able)
        if shared.jobs or self.stopping:
            raise KeyboardInterrupt("asked to stop")
        return [shared.results[index] for index in range(len(jobs))]

    def _in_threads(
        self, session: Session, shared: _Shared[T], trainers: Sequence[TrainerClient]
    ) -> None:
        sessions = [replace(session, trainer=one, view=one.view) for one in trainers]
        threads = [
            threading.Thread(target=shared.work_in_turn, args=(each,), daemon=True)
            for each in sessions
        ]
        try:
            for thread in threads:
                thread.start()
            while (alive := _alive(threads)) and not self.turns.ended:
                alive[0].join(_LOOK_SECONDS)
        finally:
            self._end(threads)
        for error in sorted(shared.errors, key=lambda one: isinstance(one, KeyboardInterrupt)):
            raise error

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for threads that have nothing left to do, or have them leave what they do."""
        if _alive(threads):
            self.turns.end()
        while alive := _alive(threads):
            for trainer in self.trainers:
                trainer.interrupt()
            alive[0].join(_LOOK_SECONDS)


def no_node(error: NoPlaceError) -> StudyStoppedError:
    """What a study says that ends for want of a node."""
    return StudyStoppedError(
        f"No worker finds a node: {error}.",
        hint="Finished trials are kept: bring nodes back, or ask for fewer --workers, and run the "
        "same command again.",
    )


def _alive(threads: Sequence[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threads if thread.is_alive()]


def make_workers(
    count: int,
    start: Callable[[Share, str | None, str | None], AbstractContextManager[WorkerProcess]],
    pairs: Mapping[str, PairSpec],
    store: JsonStore,
    view: View,
    stop: Path,
    *,
    sleep: Callable[[float], None],
    device: Callable[[Share], str],
    devices: int = 1,
) -> Workers:
    """The workers of one start of a study; each process starts with its first piece of work.

    Args:
        count: How many.
        start: Starts a process, told its part of the machine, what models compute in and the day
            that dated chat templates write; None where that is not known yet.
        pairs: Of the study, by name.
        store: Of the study.
        view: Of the study.
        stop: See `Workers`.
        sleep: Waits before a new attempt.
        device: Tells what a part of the machine computes on.
        devices: That a trial trains on.
    """
    prepared: dict[str, Prepared] = {}
    turns = Turns()

    def trainer(share: Share) -> TrainerClient:
        return TrainerClient(
            lambda dtype: start(share, dtype, trainers[0].date),
            pairs,
            store,
            view.of(None if count == 1 else share.index + 1, device(share)),
            sleep=sleep,
            prepared=prepared,
            turns=turns,
        )

    trainers = [trainer(Share(index, count, devices)) for index in range(count)]
    return Workers(trainers, turns, stop)


@dataclass
class _Shared(Generic[T]):
    """Jobs that several workers take from.

    Args:
        workers: Who takes them.
        jobs: Those that nobody has taken, with their numbers.
        results: Of those that are done, by number.
        errors: That ended a thread.
        lost: Workers that found no node, and why.
    """

    workers: Workers
    jobs: deque[tuple[int, Job[T]]]
    results: dict[int, T] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)
    lost: dict[TrainerClient, NoPlaceError] = field(default_factory=dict)

    def work(self, session: Session) -> None:
        """Do jobs until none is left, the study is to stop, or no node has room for the worker."""
        while self.jobs and not self.workers.stopping:
            session.drivers.check()
            index, job = self.jobs.popleft()
            try:
                self.results[index] = job(session)
            except NoPlaceError as error:
                self.jobs.append((index, job))
                self.lost[session.trainer] = error
                session.view.note(f"A worker leaves its work to the others: {error}")
                break
        session.view.rest()

    def work_in_turn(self, session: Session) -> None:
        """The same beside other threads."""
        try:
            with self.workers.turns:
                self.work(session)
        except BaseException as error:
            self.errors.append(error)
            self.workers.turns.end()
