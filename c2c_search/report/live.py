"""What a study tells while it runs, kept and shown: drawn on a terminal, as lines in a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace

from rich.live import Live
from rich.text import Text

from c2c_search.host.terminal import Console
from c2c_search.report.live_lines import Lines
from c2c_search.report.live_screen import Screen
from c2c_search.report.state import Doing
from c2c_search.report.state import Score
from c2c_search.report.state import Spent
from c2c_search.report.state import StudyState


REFRESH_PER_SECOND = 4


@dataclass(frozen=True)
class View:
    """What the driver tells, of one of several workers or of the whole.

    Args:
        state: Keeps it.
        console: What it is shown on.
        lines: Write it, where it is not drawn.
        worker: Of whom it is told, by number from 1; None where there is one alone.
        told: Hears each new phase of the study, too.
    """

    state: StudyState
    console: Console
    lines: Lines | None = None
    worker: int | None = None
    told: Callable[[Doing], None] | None = None

    def of(self, worker: int | None, device: str) -> View:
        """The view of what one worker does on its device."""
        self.state.devices[worker] = device
        return replace(self, worker=worker)

    def phase(self, name: str, done: int = 0, total: int = 0, message: str = "") -> None:
        """The study is in this phase; ``total`` 0 when unknown."""
        self.rest()
        before = self.state.phase
        entered = self.state.enter(name, message, done, total)
        if self.lines is not None:
            self.lines.work(None, entered)
        if self.told is not None and entered != before:
            self.told(entered)

    def stage(self, stage: str, done: int = 0, total: int = 0, message: str = "") -> None:
        """The worker has got this far in something; ``total`` 0 when unknown."""
        self.state.work(self.worker, stage, message, done, total)
        if self.lines is not None:
            self.lines.work(self.worker, self.state.doing[self.worker])

    def begin(
        self, name: str, settings: Mapping[str, object], steps: int, *, of_budget: bool = True
    ) -> None:
        """A training starts; a twin's is not of the budget of trials."""
        self.state.begin(name, settings, steps, of_budget, self.worker)
        if self.lines is not None:
            self.lines.begin(self.state.currents[name])

    def step(self, name: str, step: int, loss: float) -> None:
        """A step of a training was logged."""
        self.state.advance(name, step, loss)
        if self.lines is not None:
            self.lines.step(self.state.currents[name])

    def rung(self, name: str, step: int, score: Score) -> None:
        """A training was validated."""
        self.state.reach(name, step, score)
        if self.lines is not None:
            self.lines.rung(name, step, score)

    def end(self, name: str, how: str, score: Score | None = None, why: str = "") -> None:
        """A training is over: ``complete``, ``pruned`` or ``failed``.

        Args:
            name: Of the trial or twin.
            how: It ended.
            score: On validation; None if it failed.
            why: It was pruned, or failed.
        """
        ended = self.state.end(name, how, score, why)
        if self.lines is not None:
            self.lines.end(ended)
        elif how == "failed":  # to be read when the view has gone
            self.note(f"{name}: failed {why}".rstrip())

    def rest(self) -> None:
        """The worker has nothing to do."""
        self.state.doing.pop(self.worker, None)

    def recount(
        self, counts: Counter[str], idle: int, budgets: Mapping[str, Spent] | None = None
    ) -> None:
        """So many trials have ended, here or elsewhere, by how they did.

        Args:
            counts: They.
            idle: Trials since the last gain, by all objectives.
            budgets: Limits of the search beside its trials, by name.
        """
        self.state.counts, self.state.idle = counts, idle
        self.state.budgets = budgets or {}

    def controls(self, still: int) -> None:
        """The search is over; so many controls of finalists are still to be trained in steps."""
        self.state.searching, self.state.twins = False, still

    def note(self, text: str) -> None:
        """Something worth a line of its own, kept above what is drawn."""
        if self.lines is not None:
            self.lines.write(text)
        else:
            self.console.print(Text(text))


@contextmanager
def watch(state: StudyState, console: Console) -> Iterator[View]:
    """Show a study: drawn on a terminal, as lines anywhere else."""
    if not console.is_terminal:
        lines = Lines(state, console)
        with lines.kept_up():
            yield View(state, console, lines)
        return
    screen = Screen(state)
    with Live(screen, console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True):
        yield View(state, console)
