"""A running study as lines of a log: one an event, and progress now and then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from c2c_search.host.terminal import Console
from c2c_search.report.live_words import LEGEND
from c2c_search.report.live_words import doing
from c2c_search.report.live_words import duration
from c2c_search.report.live_words import left
from c2c_search.report.live_words import settings_line
from c2c_search.report.state import Current
from c2c_search.report.state import Doing
from c2c_search.report.state import Ended
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState


SECONDS = 15.0  # between lines of progress, at least
MOST_SECONDS = 300.0
_PART = 60  # of the time that has gone by: in a day there are not more lines than in an hour
_SILENCE = 60.0  # after which what goes on is said again


class Lines:
    """Writes what a study tells to a file, each line with the time since its start.

    Args:
        state: Of the study, up to date whenever something is told.
        console: Writes.
    """

    def __init__(self, state: StudyState, console: Console) -> None:
        self._state = state
        self._console = console
        self._said: dict[int | None, tuple[str, float]] = {}
        self._last = state.clock()
        self._explained = False

    def write(self, text: str) -> None:
        """A line, whatever its length: what cuts or wraps it is whatever shows the file."""
        self._last = self._state.clock()
        self._console.print(Text(f"[{duration(self._state.elapsed)}] {text}"), soft_wrap=True)

    def work(self, worker: int | None, what: Doing) -> None:
        """A worker, or the driver, is at something."""
        if self._due(worker, f"{what.stage} {what.message}"):
            self.write(f"{_of(worker)}{doing(what, self._state.clock())}")

    def begin(self, current: Current) -> None:
        """A training starts."""
        device = self._state.devices.get(current.worker, "")
        worker = "" if current.worker is None else f"worker {current.worker}"
        where = ", ".join(part for part in (worker, device) if part)
        settings = settings_line(current.settings)
        self.write(f"{current.name}{f' ({where})' if where else ''}: {settings}")

    def step(self, current: Current) -> None:
        """A step was logged."""
        if self._due(current.worker, ""):
            done = f"step {current.step}/{current.steps}, loss {current.losses[-1]:.3f}"
            self.write(f"{current.name}: {'; '.join([done, *left(self._state)])}")

    def rung(self, name: str, step: int, score: Score) -> None:
        """A training was validated."""
        if score.deranged is not None and not self._explained:
            self._explained = True
            self.write(LEGEND)
        self.write(f"{name}: {score} at step {step}")

    def end(self, ended: Ended) -> None:
        """A training is over."""
        how = f"{ended.how} {ended.why}".strip()
        parts = [how if ended.score is None else f"{how}, {ended.score}"]
        if self._state.best is not None:
            parts.append(f"best so far {self._state.best}")
        self.write(f"{ended.name}: {'; '.join(parts)}")

    def again(self) -> None:
        """Say what goes on, if nothing was said for long."""
        now = self._state.clock()
        if now - self._last < max(_SILENCE, self._seconds()):
            return
        phase = self._state.phase
        found = [] if phase is None else [doing(phase, now)]
        found += [f"{_of(n)}{doing(what, now)}" for n, what in list(self._state.doing.items())]
        found += [f"{one.name}, step {one.step}" for one in list(self._state.currents.values())]
        self.write(f"still at {'; '.join(found)}")

    @contextmanager
    def kept_up(self) -> Iterator[None]:
        """Break long silences, from a thread of its own, as long as the block lasts."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(_SILENCE / 4):
                self.again()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _seconds(self) -> float:
        return min(MOST_SECONDS, max(SECONDS, self._state.elapsed / _PART))

    def _due(self, worker: int | None, what: str) -> bool:
        """Whether it is new, or is to be said again; it is taken for said then."""
        said, when = self._said.get(worker, ("", float("-inf")))
        now = self._state.clock()
        if now - when < self._seconds() and what in ("", said):
            return False
        self._said[worker] = (what, now)
        return True


def _of(worker: int | None) -> str:
    return "" if worker is None else f"worker {worker}: "
