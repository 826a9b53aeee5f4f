"""A running study as a terminal shows it, redrawn in place: what fits is shown, at any size."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import Group
from rich.console import RenderableType
from rich.console import RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from c2c_search.report.live_words import LEGEND
from c2c_search.report.live_words import doing
from c2c_search.report.live_words import duration
from c2c_search.report.live_words import progress
from c2c_search.report.live_words import settings_line
from c2c_search.report.live_words import sparkline
from c2c_search.report.state import Current
from c2c_search.report.state import Ended
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState


_RUNGS = 4  # the last ones of a training
_LOST = 10  # characters at the end of a line, whose last word stands on the next
_WIDE = 110  # columns from which a training's line has room for its settings
_BESIDE_SETTINGS = 54  # columns that the rest of that line takes, but its bar
_BAR = 12  # of a line
_HEADS = ("", "", "", "step", "loss", "validation")
_STYLES = {"pruned": "dim", "failed": "red"}


@dataclass(frozen=True)
class Screen:
    """The view of a state, drawn anew for the terminal's size at that moment.

    Args:
        state: Of the study; told by other threads meanwhile.
    """

    state: StudyState

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height, count = options.size.height, len(self.state.currents)
        for detail in (*(one for one in _DETAILS if count <= one.full), *_DETAILS_OF_MANY):
            page = render(self.state, options.max_width, detail)
            over = len(console.render_lines(page, options, pad=False)) - height
            if over <= 0:
                break
        else:
            fewer = replace(detail, rows=max(1, count - over - 1))
            page = render(self.state, options.max_width, fewer)
        yield page


@dataclass(frozen=True)
class Detail:
    """How much is shown.

    Args:
        full: So many trainings are shown with all that is known of them, more on a line each.
        endings: Trainings that are over, the last ones.
        legend: Whether what the figures are is said.
        rows: Trainings that are shown on a line each.
    """

    full: int = 0
    endings: int = 3
    legend: bool = True
    rows: int = 1000


_DETAILS = (
    Detail(full=2, endings=5),
    Detail(full=2),
    Detail(full=2, legend=False),
    Detail(full=2, endings=1, legend=False),
)
_DETAILS_OF_MANY = (Detail(), Detail(legend=False), Detail(endings=1, legend=False))


def render(state: StudyState, width: int, detail: Detail) -> RenderableType:
    """What a study does: how far, how well, what each worker is at, what has ended and why.

    Args:
        state: Of the study.
        width: Of the terminal, in characters.
        detail: How much is shown.
    """
    currents = sorted(state.currents.values(), key=lambda one: (one.worker or 0, one.name))
    parts: list[RenderableType] = [_head(state), Text(progress(state), style="green")]
    parts.append(Text(f"best {state.best}" if state.best else "no best yet", style="green"))
    parts += _phase(state, width)
    if len(currents) <= detail.full:
        parts += [_training(state, current, width) for current in currents]
    else:
        parts.append(_trainings(state, currents[: detail.rows], width))
        if (more := len(currents) - detail.rows) > 0:
            parts.append(Text(f"... and {more} more", style="dim"))
    parts += [_ended(one, width) for one in state.endings[-detail.endings :]]
    scores = [score for current in currents for _, score in list(current.rungs)]
    scores += [] if state.best is None else [state.best.score]
    if detail.legend and any(score.deranged is not None for score in scores):
        parts.append(Text(LEGEND, style="dim"))
    return Group(*parts)


def _head(state: StudyState) -> RenderableType:
    line = Table.grid(expand=True, padding=(0, 2))
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    alone = state.devices.get(None, "")
    name = Text.assemble((f"study {state.name}", "bold"), f" on {alone}" if alone else "")
    line.add_row(name, f"elapsed {duration(state.elapsed)}")
    return line


def _phase(state: StudyState, width: int) -> Iterator[RenderableType]:
    """What the study, and each worker that does not train, is at and since when."""
    now, phase = state.clock(), state.phase
    if phase is not None:
        line = Table.grid(padding=(0, 1))
        words = Text(doing(phase, now), style="cyan")
        bar = _bar(phase.done, phase.total, width) if phase.total else ""
        line.add_row(bar, words) if phase.total else line.add_row(words)
        yield line
    for worker, what in sorted(state.doing.items(), key=lambda each: each[0] or 0):
        yield Text(_who(state, worker) + doing(what, now), style="dim")


def _who(state: StudyState, worker: int | None) -> str:
    if worker is None:
        return ""
    device = state.devices.get(worker, "")
    return f"worker {worker}{f' on {device}' if device else ''}: "


def _bar(done: float, total: float, width: int) -> ProgressBar:
    return ProgressBar(total=total, completed=done, width=max(8, min(30, width // 6)))


def _training(state: StudyState, current: Current, width: int) -> RenderableType:
    """All that is known of a training."""
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    bar = Table.grid(padding=(0, 1))
    where = _who(state, current.worker).rstrip(": ")
    bar.add_row(
        _bar(current.step, current.steps, width), f"step {current.step}/{current.steps}", where
    )
    table.add_row(Text(current.name, style="bold"), bar)
    table.add_row("settings", Text(settings_line(current.settings)))
    if losses := list(current.losses):
        drawn = sparkline(losses[-max(8, width - len(current.name) - 12) :])
        table.add_row("loss", f"{losses[-1]:.3f} {drawn}")
    if rungs := list(current.rungs):
        table.add_row("validation", _rungs(rungs[-_RUNGS:]))
    return table


def _rungs(rungs: Sequence[tuple[int, Score]]) -> RenderableType:
    """Rungs below each other, the latest last; P beside accuracy."""
    table = Table.grid(padding=(0, 2))
    gained = any(score.pairing_gain is not None for _, score in rungs)
    names = ("matched", "deranged", "P", "G") if gained else ("accuracy",)
    for _ in range(1 + len(names)):
        table.add_column(justify="right", no_wrap=True)
    table.add_row("step", *names, style="dim")
    for step, score in rungs:
        cells = [f"{score.accuracy:.3f}"]
        if gained:
            cells.append("" if score.deranged is None else f"{score.deranged:.3f}")
            cells += [
                "" if gain is None else f"{gain:+.3f}"
                for gain in (score.pairing_gain, score.system_gain)
            ]
        table.add_row(str(step), *cells)
    return table


def _trainings(state: StudyState, currents: Sequence[Current], width: int) -> RenderableType:
    """Many trainings, one line each."""
    table = Table.grid(padding=(0, 1))
    for justify in ("left", "left", "left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    table.add_column(no_wrap=True)
    room = max(1, width - _BESIDE_SETTINGS - width // _BAR)
    table.add_column(no_wrap=True, overflow="ellipsis", style="dim", max_width=room)
    wide = width >= _WIDE
    table.add_row(*_HEADS, "settings" if wide else "", style="dim")
    for current in currents:
        worker = "" if current.worker is None else str(current.worker)
        device = "" if current.worker is None else state.devices.get(current.worker, "")
        losses, rungs = list(current.losses), list(current.rungs)
        table.add_row(
            Text(f"{worker} {device}".strip(), style="dim"),
            Text(current.name, style="bold"),
            ProgressBar(total=current.steps, completed=current.step, width=max(5, width // _BAR)),
            f"{current.step}/{current.steps}",
            f"{losses[-1]:.3f}" if losses else "",
            rungs[-1][1].short if rungs else "",
            Text(settings_line(current.settings) if wide else ""),
        )
    return table


def _ended(ended: Ended, width: int) -> RenderableType:
    """How a training ended and why, on one line; of a failure, on two."""
    score = "" if ended.score is None else f" {ended.score.short}"
    text = Text(f"{ended.name} {ended.how}{score} {ended.why}".rstrip())
    text.stylize(_STYLES.get(ended.how, ""))
    room = 2 * width - _LOST if ended.how == "failed" else width
    text.truncate(room, overflow="ellipsis")
    return text
