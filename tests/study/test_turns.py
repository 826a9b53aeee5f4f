"""Threads of a driver that take turns, and the jobs that they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from c2c_search.study.drivers import SOLE
from c2c_search.study.drivers import Drivers
from c2c_search.study.turns import Turns
from c2c_search.study.workers import Workers
from c2c_search.training.protocol import Notice


class FakeView:
    """Shows nothing."""

    def rest(self) -> None:
        """The worker has nothing to do."""


@dataclass(eq=False)
class FakeTrainer:
    """Of a worker; what it does can be waited for, and interrupted."""

    view: FakeView = field(default_factory=FakeView)
    interrupted: threading.Event = field(default_factory=threading.Event)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        """There is no process."""


@dataclass(frozen=True)
class FakeSession:
    """What `Workers.share` replaces of a session."""

    trainer: Any = None
    view: Any = None
    drivers: Drivers = SOLE


@pytest.fixture
def workers(tmp_path: Path) -> Workers:
    trainers: Any = [FakeTrainer(), FakeTrainer()]
    return Workers(trainers, Turns(), tmp_path / "stop")


def share(workers: Workers, jobs: Any) -> list[Any]:
    session: Any = FakeSession(workers.trainers[0])
    return workers.share(session, jobs)


def test_results_come_in_the_order_of_the_jobs(workers: Workers) -> None:
    both = threading.Barrier(2)

    def job(session: FakeSession, number: int) -> tuple[int, int]:
        with workers.turns.waiting():
            both.wait(10)
            time.sleep(0.02 * (4 - number))
        return number, threading.get_ident()

    found = share(workers, [partial(job, number=number) for number in range(4)])
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert len({thread for _, thread in found}) == 2


def test_one_works_while_the_other_waits_and_never_beside_it(workers: Workers) -> None:
    inside, most, waited = [0], [0], threading.Barrier(2)

    def job(session: FakeSession) -> None:
        with workers.turns.waiting():
            waited.wait(10)  # only both together come through
        for _ in range(200):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0)
            inside[0] -= 1

    share(workers, [job, job])
    assert most == [1]


def test_the_same_piece_is_worked_at_once_by_one(workers: Workers) -> None:
    done: list[str] = []

    def job(session: FakeSession) -> bool:
        with workers.turns.sole({"a", "b"}):
            known = bool(done)
            with workers.turns.waiting():
                time.sleep(0.05)
            done.append("a")
        return known

    assert sorted(share(workers, [job, job])) == [False, True]


def test_an_error_ends_the_others_and_is_raised(workers: Workers) -> None:
    left: list[type[BaseException]] = []

    def wait(session: FakeSession) -> None:
        def events() -> Iterator[Any]:
            assert session.trainer.interrupted.wait(10)
            yield Notice(message="it died")

        try:
            list(workers.turns.events(events()))
        except BaseException as error:
            left.append(type(error))
            raise

    def fail(session: FakeSession) -> None:
        with workers.turns.waiting():
            time.sleep(0.05)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        share(workers, [wait, fail])
    assert left == [KeyboardInterrupt]


def test_what_is_asked_to_stop_begins_nothing_new(workers: Workers) -> None:
    done, both = [], threading.Barrier(2)

    def job(session: FakeSession, number: int) -> None:
        with workers.turns.waiting():
            both.wait(10)
        workers.stop.touch()
        done.append(number)

    with pytest.raises(KeyboardInterrupt, match="asked to stop"):
        share(workers, [partial(job, number=number) for number in range(8)])
    assert sorted(done) == [0, 1]


def test_a_pause_ends_with_the_study(workers: Workers) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            workers.turns.end()

    with pytest.raises(KeyboardInterrupt):
        workers.turns.pause(60.0, sleep)
    assert slept == [1.0, 1.0]
    slept.clear()
    Turns().pause(1.5, slept.append)
    assert slept == [1.0, 0.5]


def test_a_thread_that_takes_no_turns_waits_for_nobody() -> None:
    turns = Turns()
    with turns, turns.sole({"a"}):
        thread = threading.Thread(target=partial(outside, turns))
        thread.start()
        thread.join(5)
        assert not thread.is_alive()


def outside(turns: Turns) -> None:
    with turns.sole({"a"}), turns.waiting():
        assert list(turns.events(iter([Notice(message="n")]))) == [Notice(message="n")]
