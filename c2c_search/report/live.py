"""What the terminal shows while a study runs, as a live view or as plain lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager

from rich.console import Group
from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from c2c_search.host.terminal import Console
from c2c_search.host.wording import counted
from c2c_search.report.state import Best
from c2c_search.report.state import Current
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState


SPARKS = "▁▂▃▄▅▆▇█"
REFRESH_PER_SECOND = 4
PLAIN_SECONDS = 15.0  # at most one line of progress in this time where there is no terminal
LEGEND = (
    "matched: accuracy with the right message; deranged: with another item's; "
    "P: matched - deranged; G: matched - receiver alone"
)
_NOTHING = ("", float("-inf"))  # said, and when
_OF_TRAINING = ("train", "calibrate", "evaluate")  # stages whose time a trial costs


class View:
    """What the driver tells; subclasses decide how it looks."""

    def __init__(self, state: StudyState, console: Console) -> None:
        self.state = state
        self.console = console

    def stage(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        message: str = "",
        *,
        worker: int | None = None,
    ) -> None:
        """A stage has got this far; ``total`` 0 when unknown. ``worker``: one of several's own."""
        if worker is not None:
            self.state.workers[worker] = _join(stage, message, f"{done}/{total}" if total else "")
            return
        self.state.stage, self.state.done, self.state.total = stage, done, total
        self.state.message = message
        if stage not in _OF_TRAINING:
            self.state.rest()

    def begin(
        self,
        name: str,
        settings: Mapping[str, object],
        steps: int,
        *,
        of_budget: bool = True,
        worker: int | None = None,
    ) -> None:
        """A training starts; a twin's is not of the budget of trials."""
        self.state.begin(name, settings, steps, of_budget, worker)

    def step(self, name: str, step: int, loss: float) -> None:
        """A step of a training was logged."""
        self.state.advance(name, step, loss)

    def rung(self, name: str, step: int, score: Score) -> None:
        """A trial in training was validated."""
        if (current := self.state.currents.get(name)) is not None:
            current.rungs.append((step, score))

    def end(self, name: str, how: str, score: Score | None = None) -> None:
        """A training is over: ``complete``, ``pruned`` or ``failed``.

        Args:
            name: Of the trial or twin.
            how: It ended.
            score: On validation; None if it failed.
        """
        current = self.state.currents.get(name)
        of_budget = current is None or current.of_budget
        self.state.end(name)
        if not of_budget:
            return
        self.state.counts[how] += 1
        if score is not None and how == "complete":
            best = self.state.best
            if best is None or score.worth > best.score.worth:
                self.state.best = Best(name, score, self.state.objective)

    def twins(self, still: int) -> None:
        """So many controls of finalists, twins among them, are still to be trained in steps."""
        self.state.twins = still

    def note(self, text: str) -> None:
        """Something worth a line of its own, kept above the view."""
        self.console.print(Text(text))


class WorkerView(View):
    """What one of several workers tells, shown as its own.

    Args:
        whole: The view of the study.
        number: Of the worker, from 1.
    """

    def __init__(self, whole: View, number: int) -> None:
        super().__init__(whole.state, whole.console)
        self.whole = whole
        self.number = number

    def stage(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        message: str = "",
        *,
        worker: int | None = None,
    ) -> None:
        self.whole.stage(stage, done, total, message, worker=self.number)

    def begin(
        self,
        name: str,
        settings: Mapping[str, object],
        steps: int,
        *,
        of_budget: bool = True,
        worker: int | None = None,
    ) -> None:
        self.whole.begin(name, settings, steps, of_budget=of_budget, worker=self.number)

    def step(self, name: str, step: int, loss: float) -> None:
        self.whole.step(name, step, loss)

    def rung(self, name: str, step: int, score: Score) -> None:
        self.whole.rung(name, step, score)

    def end(self, name: str, how: str, score: Score | None = None) -> None:
        self.whole.end(name, how, score)

    def note(self, text: str) -> None:
        self.whole.note(text)


class LiveView(View):
    """The view on a terminal, redrawn in place."""

    def __rich__(self) -> RenderableType:
        return render(self.state)


class PlainView(View):
    """The view where output is kept in a file: one line per event, progress now and then."""

    def __init__(self, state: StudyState, console: Console) -> None:
        super().__init__(state, console)
        self._said: dict[int | None, tuple[str, float]] = {}
        self._explained = False

    def stage(
        self,
        stage: str,
        done: int = 0,
        total: int = 0,
        message: str = "",
        *,
        worker: int | None = None,
    ) -> None:
        super().stage(stage, done, total, message, worker=worker)
        key, now = f"{stage} {message}", self.state.clock()
        said, when = self._said.get(worker, _NOTHING)
        if key == said and now - when < PLAIN_SECONDS:
            return
        self._said[worker] = (key, now)
        line = _join(stage, message, f"{done}/{total}" if total else "")
        self.note(line if worker is None else f"worker {worker}: {line}")

    def begin(
        self,
        name: str,
        settings: Mapping[str, object],
        steps: int,
        *,
        of_budget: bool = True,
        worker: int | None = None,
    ) -> None:
        super().begin(name, settings, steps, of_budget=of_budget, worker=worker)
        where = "" if worker is None else f" (worker {worker})"
        self.note(f"{name}{where}: {settings_line(settings)}")

    def step(self, name: str, step: int, loss: float) -> None:
        super().step(name, step, loss)
        now, worker = self.state.clock(), self.state.currents[name].worker
        if now - self._said.get(worker, _NOTHING)[1] >= PLAIN_SECONDS:
            self._said[worker] = ("", now)
            steps = self.state.currents[name].steps
            left = _left(self.state)
            self.note(f"{name}: " + ", ".join([f"step {step}/{steps}, loss {loss:.3f}", *left]))

    def rung(self, name: str, step: int, score: Score) -> None:
        super().rung(name, step, score)
        if name in self.state.currents:
            if score.deranged is not None and not self._explained:
                self._explained = True
                self.note(LEGEND)
            self.note(f"{name}: {score} at step {step}")

    def end(self, name: str, how: str, score: Score | None = None) -> None:
        super().end(name, how, score)
        value = "" if score is None else f" {score}"
        so_far = f", best so far {self.state.best}" if self.state.best else ""
        self.note(f"{name}: {how}{value}{so_far}")


@contextmanager
def watch(state: StudyState, console: Console) -> Iterator[View]:
    """Show a study: live on a terminal, as plain lines anywhere else."""
    if not console.is_terminal:
        yield PlainView(state, console)
        return
    view = LiveView(state, console)
    with Live(view, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True):
        yield view


def render(state: StudyState) -> RenderableType:
    """The live view of a state: header, stage, the trials in training, what is done."""
    parts: list[RenderableType] = [_header(state), _stage(state)]
    currents = sorted(state.currents.values(), key=lambda current: current.worker or 0)
    busy = {current.worker for current in currents}
    parts += [
        Text(f"worker {number}: {doing}", style="dim")
        for number, doing in sorted(state.workers.items())
        if number not in busy
    ]
    parts += [_training(current) for current in currents]
    parts.append(_summary(state))
    rungs = [score for current in state.currents.values() for _, score in current.rungs]
    if any(score.deranged is not None for score in (*rungs, *_scores(state.best))):
        parts.append(Text(LEGEND, style="dim"))
    return Group(*parts)


def _scores(best: Best | None) -> tuple[Score, ...]:
    return () if best is None else (best.score,)


def _header(state: StudyState) -> RenderableType:
    line = Table.grid(expand=True, padding=(0, 2))
    line.add_column()
    line.add_column(justify="right")
    line.add_row(
        Text(f"study {state.name}", style="bold"),
        Text("   ".join([f"elapsed {duration(state.elapsed)}", *_left(state)])),
    )
    return line


def _left(state: StudyState) -> list[str]:
    """The time that training will still take; nothing until it is known."""
    if (left := state.seconds_left()) is None:
        return []
    low, high = map(duration, left)
    return [f"left about {low}" + ("" if low == high else f" to {high}")]


def _stage(state: StudyState) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=state.total, completed=state.done, width=30) if state.total else ""
    share = f"{state.done}/{state.total}" if state.total else ""
    line.add_row(Text(state.stage, style="cyan"), bar, share, Text(state.message, style="dim"))
    return line


def _training(current: Current) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        ProgressBar(total=current.steps, completed=current.step, width=30),
        f"step {current.step}/{current.steps}",
    )
    worker = "" if current.worker is None else f" (worker {current.worker})"
    table.add_row(Text(current.name + worker, style="bold"), bar)
    table.add_row("settings", Text(settings_line(current.settings)))
    if current.losses:
        table.add_row("loss", f"{current.losses[-1]:.3f}  {sparkline(current.losses)}")
    if current.rungs:
        rungs = "\n".join(f"{score} at step {step}" for step, score in current.rungs)
        table.add_row("validation", Text(rungs))
    return table


def _summary(state: StudyState) -> RenderableType:
    counts = ", ".join(f"{state.counts[how]} {how}" for how in ("complete", "pruned", "failed"))
    best = f"best {state.best}" if state.best else "no best yet"
    return Text(
        f"{state.finished} of {counted(state.trials, 'trial')}: {counts}; {best}", style="green"
    )


def sparkline(values: Sequence[float] | deque[float]) -> str:
    """Draw values as a row of bars; a value that is not finite is drawn as the highest."""
    finite = [value for value in values if abs(value) != float("inf") and value == value]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2  # the difference itself may be too large for a float
    clipped = (value if value in finite else high for value in values)
    shares = ((value / 2 - low / 2) / span if span > 0 else 0.0 for value in clipped)
    return "".join(SPARKS[round(share * (len(SPARKS) - 1))] for share in shares)


def settings_line(settings: Mapping[str, object]) -> str:
    """Settings on one line, floats short."""
    return ", ".join(f"{name} {_short(value)}" for name, value in settings.items())


def duration(seconds: float | None) -> str:
    """Seconds as ``1:02:03`` or ``02:03``; ``--:--`` when unknown."""
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _short(value: object) -> str:
    if value is None:
        return "null"  # as the space file says it
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
