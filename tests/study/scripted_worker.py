"""A worker process without models: the real protocol in front of the scripted worker.

Started in place of `c2c_search.training.worker`. The driver that starts it, in place of the
command line, is `drive`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from c2c_search.host.terminal import Console
from c2c_search.models.pair import PairSpec
from c2c_search.study import start
from c2c_search.study.driver import run_study
from c2c_search.study.findings import Findings
from c2c_search.tracking import StudyRun
from c2c_search.training import launch
from c2c_search.training import retries
from c2c_search.training import worker
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainTogether
from tests.study.conftest import FakeWorker
from tests.study.conftest import Script
from tests.study.conftest import fake_promotion


SECONDS = float(os.environ.get("SCRIPTED_SECONDS", "0.05"))  # of an event


class Service:
    """`training.service.WorkerService` by script; an answer is asked for as the real one asks."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        script = Script(at=lambda number: time.sleep(SECONDS))
        script.dates.append(None)
        self._fake = FakeWorker(script)
        self._emit = emit

    def prepare(self, pair: PairSpec) -> Any:
        return self._run(Prepare(pair=pair))

    def train(
        self, config: Any, directory: Path, go_on: Callable[[], bool], **options: Any
    ) -> Any:
        return self._run(Train(config=config, directory=str(directory), **options), go_on)

    def train_together(
        self, trials: Any, go_on: Callable[[], bool], joining: Callable[[], Any]
    ) -> Any:
        return self._run(TrainTogether(trials=trials), go_on, joining)

    def evaluate(self, request: Evaluate) -> Any:
        return self._run(request)

    def _run(
        self,
        request: Request,
        go_on: Callable[[], bool] = lambda: True,
        joining: Callable[[], Any] = tuple,
    ) -> Event:
        last: Event
        held: Event | None = None
        for last in self._fake.ask(request):
            if held is not None:
                self._emit(held)
            held = last
            told = getattr(last, "event", last)
            if isinstance(told, Rung):
                self._emit(last)
                held = None
                if told.step < 4:
                    self._fake.answer(go_on())
            elif isinstance(told, Trained) and isinstance(last, OfTrial):
                self._emit(last)
                held = None
                self._fake.join(joining())
        assert held is not None
        return held


class ScriptedServer(worker.Server):
    """The real server in front of it."""

    def service(self) -> Any:
        if self._service is None:
            self._service = Service(self.emit)  # type: ignore[assignment]
        return self._service


def undrawn(run: StudyRun, found: Findings) -> None:
    """Keep no figures."""


def drive(
    space: str, root: str, workers: str, storage: str | None = None, tracking: str | None = None
) -> None:
    """Run a study with worker processes of this module."""
    launch.PROGRAM = "tests.study.scripted_worker"
    retries.BACK_OFF = dict.fromkeys(retries.BACK_OFF, (0.0,) * 20)
    start.log_figures = undrawn  # as in the tests of one process
    run_study(
        Path(space),
        root=Path(root),
        workers=int(workers),
        storage_url=storage,
        tracking_uri=tracking,
        console=Console(),
        promotion=fake_promotion,
        ready=lambda space, file: None,
    )


if __name__ == "__main__":
    if sys.argv[1] == "drive":
        drive(*sys.argv[2:])
    else:
        worker.Server = ScriptedServer  # type: ignore[misc]
        worker.main()
