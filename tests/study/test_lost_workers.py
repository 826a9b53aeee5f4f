"""Work of a worker that finds no node is done by those that have one."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest

from c2c_search.errors import StudyStoppedError
from c2c_search.study.drivers import SOLE
from c2c_search.study.drivers import Drivers
from c2c_search.study.turns import Turns
from c2c_search.study.workers import Workers
from c2c_search.training.remote.cluster import NoPlaceError
from tests.study.conftest import FakeWorker


class Trainer:
    """A worker that may have no node; it is its own view, and keeps what it is told."""

    def __init__(self, lost: bool = False) -> None:
        self.lost = lost
        self.asked = 0
        self.notes: list[str] = []

    @property
    def view(self) -> Trainer:
        return self

    def note(self, text: str) -> None:
        self.notes.append(text)

    def rest(self) -> None:
        pass

    def interrupt(self) -> None:
        return


@dataclass(frozen=True)
class Part:
    """Of a session, what sharing reads."""

    trainer: Trainer
    view: Trainer
    drivers: Drivers = SOLE


@dataclass
class Job:
    """Work that a lost worker gives back, once another has done what there was to do."""

    turns: Turns
    patience: float
    done: threading.Event = field(default_factory=threading.Event)

    def __call__(self, session: Any) -> str:
        trainer = session.trainer
        trainer.asked += 1
        if trainer.lost:
            assert trainer.asked == 1, "asked again"
            with self.turns.waiting():
                self.done.wait(self.patience)
            raise NoPlaceError("no node has 1 cores free")
        self.done.set()
        return "done"


def share(tmp_path: Path, trainers: list[Trainer], jobs: int) -> list[str]:
    turns, patience = Turns(), 0.0 if all(each.lost for each in trainers) or jobs == 1 else 30.0
    workers: Any = Workers(trainers, turns, tmp_path / "stop")  # type: ignore[arg-type]
    return workers.share(Part(trainers[0], trainers[0]), [Job(turns, patience)] * jobs)


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("lost", [[True, False], [True, False, True]])
def test_others_do_what_a_lost_worker_gives_back(
    tmp_path: Path, lost: list[bool], jobs: int
) -> None:
    trainers = [*map(Trainer, lost)]
    assert share(tmp_path, trainers, jobs) == ["done"] * jobs
    assert trainers[1].asked == jobs
    # Each says so once: it is not asked again while others have a node.
    assert all(len(trainer.notes) == trainer.asked <= 1 for trainer in trainers if trainer.lost)


@pytest.mark.parametrize("jobs", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_without_any_node_the_study_stops(tmp_path: Path, count: int, jobs: int) -> None:
    with pytest.raises(StudyStoppedError, match="No worker finds a node: no node has 1 cores"):
        share(tmp_path, [Trainer(lost=True) for _ in range(count)], jobs)


@pytest.mark.parametrize(
    ("asked", "bounds"), [("shut", ""), ("cost", "bounds: {gain: 0, latency_ms: 1000}, ")]
)
def test_what_is_done_alone_falls_to_a_worker_that_has_a_node(
    quick: Any, start_worker: Any, space_file: Path, asked: str, bounds: str
) -> None:
    """After the search the first worker has no node: the study ends all the same."""
    lost: list[str] = []

    class Lost(FakeWorker):
        def ask(self, request: Any) -> Any:
            if getattr(request, "system", request.type) == asked:
                lost.append(asked)
                raise NoPlaceError("no node has 1 cores free for 2 s")
            return super().ask(request)

    def start(pipeline: Any, log_file: Any, dtype: Any, share: Any) -> Any:
        worker = start_worker(pipeline, log_file, dtype, share)
        return Lost(worker.script) if share.index == 0 else worker

    if bounds:  # costs that are asked for after the search are measured then
        quick(workers=2)
        text = space_file.read_text()
        assert "search: {" in text
        space_file.write_text(text.replace("search: {", f"search: {{{bounds}"))
    outcome = quick(workers=2, worker_factory=start)
    assert set(lost) == {asked}
    assert outcome.champion is not None
