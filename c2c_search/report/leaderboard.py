"""A study's result on one page, trials and controls side by side."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from math import inf

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import Group
from rich.console import RenderableType
from rich.console import RenderResult
from rich.table import Table
from rich.text import Text

from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.statistics import Interval
from c2c_search.report import pairing
from c2c_search.report.run_notes import escaped
from c2c_search.report.search_columns import Column
from c2c_search.report.search_columns import fitting
from c2c_search.report.search_columns import legend
from c2c_search.report.search_columns import measured
from c2c_search.report.search_columns import minus
from c2c_search.report.search_columns import number
from c2c_search.report.shorthand import Shorthand
from c2c_search.report.shorthand import differing
from c2c_search.space.front import Front


@dataclass(frozen=True)
class SearchRow:
    """A trial or control on validation.

    Args:
        name: Of the trial or control.
        kind: ``trial`` or ``control``.
        state: How a trial ended: ``complete``, ``pruned`` or ``failed``; empty for a control.
        accuracy: On validation, with the right message (matched); None if it has none.
        pair: Name of the pair; empty for a single model.
        parameters: Of the fuser; None for a control.
        settings: What the search chose, by its name in words.
        deranged: Accuracy with another item's message; None where that was not measured.
        receiver: Accuracy of its pair's receiver alone; None for what is no fuser.
        objective: What the search maximises; None where trials are ranked by accuracy, and for
            what is of no one pair.
        remark: Of a control, instead of settings.
        measures: All that several objectives and bounds may compare it by, by name.
    """

    name: str
    kind: str
    state: str
    accuracy: float | None
    pair: str
    parameters: int | None
    settings: Mapping[str, object]
    deranged: float | None = None
    receiver: float | None = None
    objective: float | None = None
    remark: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def pairing_gain(self) -> float | None:
        """P, matched minus deranged."""
        return minus(self.accuracy, self.deranged)

    @property
    def system_gain(self) -> float | None:
        """G, matched minus the receiver alone."""
        return minus(self.accuracy, self.receiver)


@dataclass(frozen=True)
class MeasuredRow:
    """A system on test: a single model, a finalist, its twin, or it with other messages."""

    name: str
    kind: str
    accuracy: Interval


@dataclass(frozen=True)
class Duel:
    """A finalist against one control on the same test items.

    Args:
        finalist: Name of the finalist.
        control: Name of the control.
        difference: Accuracy of the finalist minus that of the control.
        p: Of the paired test, two-sided.
        beaten: Whether the control is.
    """

    finalist: str
    control: str
    difference: Interval
    p: float
    beaten: bool


@dataclass(frozen=True)
class Leaderboard:
    """A study's result.

    Args:
        study: Its name.
        search: Trials and controls on validation.
        test: Every system that was measured on test.
        duels: Finalists against controls.
        pairings: By finalist, what it owes to hearing the right message.
        verdict: What follows, in words.
        champion: Name of the champion; None if nothing was promoted.
        places: Where things are and what to type next, by what it is for.
        looks: How often the study has looked at its test split.
        objective: Name of what the search maximises, of several objectives the first.
        front: The Pareto front of several objectives.
        beyond: By trial, the bounds that it does not keep to; it is no finalist.
    """

    study: str
    search: Sequence[SearchRow]
    test: Sequence[MeasuredRow] = ()
    duels: Sequence[Duel] = ()
    pairings: Mapping[str, Pairing] = field(default_factory=dict)
    verdict: str = ""
    champion: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    looks: int = 1
    objective: str = "accuracy"
    front: Front | None = None
    beyond: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def columns(self) -> list[Column]:
        """What is measured of every row."""
        further = () if self.front is None else self.front.objectives[1:]
        return measured(self.search, self.objective, further)

    def state(self, row: SearchRow) -> str:
        """How a row ended; of one on the Pareto front, or beyond bounds, that it is."""
        if row.name in self.beyond:
            return "beyond"
        return "front" if self.front and row.name in self.front.trials else row.state

    @property
    def remarks(self) -> list[str]:
        """What is told below the table of trials."""
        told = ", ".join(f"{name} ({', '.join(by)})" for name, by in self.beyond.items())
        lost = [f"Beyond bounds, and so no finalist: {told}."] if told else []
        return [str(self.front)] if self.front else lost

    def ranked(self) -> list[SearchRow]:
        """Trials and controls, by objective, then by accuracy; what is beyond bounds last."""

        def worth(row: SearchRow) -> list[float]:
            known = [-inf if each is None else each for each in (row.objective, row.accuracy)]
            return [row.name not in self.beyond, *known]

        return sorted(self.search, key=worth, reverse=True)


def render(board: Leaderboard) -> RenderableType:
    """The whole page for a terminal."""
    parts: list[RenderableType] = [_Search(board)]
    if board.test:
        parts += ["", _test(board)]
    if board.duels:
        parts += ["", _duels(board)]
    if board.pairings:
        parts += ["", pairing.table(board.pairings)]
    if board.verdict:
        style = "bold green" if board.champion else "bold yellow"
        title = f"champion: {board.champion}" if board.champion else "no champion"
        parts += ["", Text(title, style=style), Text(board.verdict)]
    if board.places:
        parts += ["", _places(board.places)]
    return Group(*parts)


def markdown(board: Leaderboard) -> str:
    """The same page for the description of the study's run."""
    lines = []
    if board.verdict:
        title = f"Champion: {board.champion}" if board.champion else "No champion"
        said = "  \n".join(map(escaped, board.verdict.splitlines()))
        lines += [f"**{escaped(title)}**", "", said, ""]
    lines += _search_markdown(board)
    if board.test:
        lines += ["", "| | on test | |", "|---|---|---|"]
        lines += [f"| {escaped(row.name)} | {row.accuracy} | {row.kind} |" for row in board.test]
    if board.pairings:
        lines += ["", *pairing.markdown(board.pairings)]
    return "\n".join(lines) + "\n"


def _search_markdown(board: Leaderboard) -> list[str]:
    """Trials and controls, with what differs between the trials' settings."""
    rows, columns = board.ranked(), board.columns
    settings = differing([row.settings for row in rows if row.kind == "trial"])
    short = Shorthand(_values(settings))
    told = _told(rows, short, iter(settings))
    heads = ["on validation", *(column.head for column in columns), "state", "parameters"]
    heads += ["settings"] if any(told) else []
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row, line in zip(rows, told, strict=True):
        cells = [escaped(row.name), *(column.cell(row) for column in columns)]
        cells += [board.state(row) or row.kind, count(row.parameters)]
        cells += [escaped(line)] if any(told) else []
        lines.append(f"| {' | '.join(cells)} |")
    named = short.legend(settings)
    about = [legend(columns), f"settings: {escaped(named)}" if named else ""]
    about += map(escaped, board.remarks)
    return [*lines, *(part for line in about if line for part in ("", line))]


def _told(
    rows: Sequence[SearchRow], short: Shorthand, settings: Iterator[Mapping[str, object]]
) -> list[str]:
    """Of every trial its settings, and its pair where there are several; of a control a remark."""
    several = len({row.pair for row in rows if row.kind == "trial"}) > 1
    lines = []
    for row in rows:
        line = short.line(next(settings)) if row.kind == "trial" else row.remark
        lines.append(f"{row.pair} {line}".strip() if several and row.kind == "trial" else line)
    return lines


def count(parameters: int | None) -> str:
    """A number of parameters as ``10.9 M``; a dash where there is none."""
    if parameters is None:
        return "-"
    if parameters >= 100_000:
        return f"{parameters / 1e6:.1f} M"
    return f"{parameters / 1e3:.1f} k" if parameters >= 1000 else str(parameters)


def p_value(p: float) -> str:
    """A p-value as one writes it."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


@dataclass(frozen=True)
class _Search:
    """The table of trials and controls, made for the width that there is."""

    board: Leaderboard

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _search(self.board, options.max_width)


def _search(board: Leaderboard, width: int) -> Table:
    """One line a trial at any width: of settings those that differ, and shortened."""
    rows = board.ranked()
    settings = differing([row.settings for row in rows if row.kind == "trial"])
    pairs = {row.pair for row in rows if row.kind == "trial"}
    longest = min(max(_SHORT_NAME, width // 4 - 6), max(len(row.name) for row in rows))
    taken = longest + _STATE_AND_SIZE
    taken += max(map(len, pairs)) + 1 if len(pairs) > 1 else 0
    shortest = Shorthand(_values(settings), letters=_FEWEST_LETTERS)
    needed = max((len(shortest.line(each)) for each in settings), default=0)
    room = max(_SETTINGS, min(_MOST_SETTINGS, needed))
    columns = fitting(board.columns, width - taken - room)
    taken += sum(column.width for column in columns)
    short = _shorthand(settings, width - taken)
    lines = iter(settings)
    table = _table(f"study {board.study}: validation")
    table.add_column("", min_width=min(_CUT_NAME, longest), max_width=longest)
    for column in columns:
        table.add_column(column.head, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    if len(pairs) > 1:
        table.add_column("pair", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("settings")
    for row in rows:
        table.add_row(
            _one_line(row.name),
            *(column.cell(row) for column in columns),
            _STATES.get(state := board.state(row), state),
            *([Text(row.pair)] if len(pairs) > 1 else []),
            count(row.parameters),
            _one_line(short.line(next(lines)) if row.kind == "trial" else row.remark),
            style=_STYLES.get(row.kind if row.kind == "control" else row.state),
        )
    named = short.legend(settings)
    lines_below = [legend(columns), f"settings: {named}" if named else ""]
    lines_below += board.remarks
    table.caption = "\n".join(line for line in lines_below if line) or None
    return table


def _one_line(text: str) -> Text:
    """What gives way where a table is too wide; other columns are numbers, which must not."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _shorthand(settings: Sequence[Mapping[str, object]], room: int) -> Shorthand:
    """Words are cut as far as it takes to put every trial's settings into the room."""
    values = _values(settings)
    for letters in range(5, _FEWEST_LETTERS - 1, -1):
        short = Shorthand(values, letters=letters)
        if all(len(short.line(each)) <= room for each in settings):
            break
    return short


def _values(settings: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    """Every setting's values, by its name."""
    values: dict[str, list[object]] = {}
    for each in settings:
        for name, value in each.items():
            if value not in values.setdefault(name, []):
                values[name].append(value)
    return values


def _table(title: str) -> Table:
    """A table without lines between columns, which cost a fifth of 80 characters."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )


def _test(board: Leaderboard) -> Table:
    once = "measured once" if board.looks <= 1 else f"look {board.looks} at it"
    table = _table(f"test, {once}")
    table.add_column("")
    table.add_column("", no_wrap=True)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    for row in sorted(board.test, key=lambda row: -row.accuracy.value):
        table.add_row(
            _one_line(row.name),
            Text(row.kind),
            number(row.accuracy.value),
            f"{row.accuracy.low:.3f} to {row.accuracy.high:.3f}",
            style="bold green" if row.name == board.champion else _STYLES.get(row.kind),
        )
    return table


def _duels(board: Leaderboard) -> Table:
    level = board.duels[0].difference.level
    table = _table("finalists against their controls, paired")
    table.add_column("against")
    table.add_column("ahead", justify="right", no_wrap=True)
    table.add_column(f"{100 * (1 - level):.4g} % interval", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.caption = "p: exact McNemar, or permutation of facts where answers are means"
    finalist = ""
    for duel in board.duels:
        if duel.finalist != finalist:
            finalist = duel.finalist
            table.add_row(Text(finalist, style="bold"))
        low, high = duel.difference.low, duel.difference.high
        table.add_row(
            # A control of the finalist's own begins with its name, which stands above it.
            _one_line("  " + duel.control.removeprefix(f"{duel.finalist} ")),
            f"{duel.difference.value:+.3f}",
            f"{low:+.3f} to {high:+.3f}",
            p_value(duel.p),
            _OUTCOMES[duel.beaten],
        )
    return table


def _places(places: Mapping[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for what, where in places.items():
        table.add_row(what, Text(where))
    return table


_OUTCOMES = {True: Text("beaten", "green"), False: Text("not beaten", "yellow")}
_CUT_NAME = 13  # characters of a name, at least, where it does not fit beside the numbers
_SHORT_NAME = 14  # of a name, at most, in a narrow terminal
_STATE_AND_SIZE = 14  # with the blanks between
_SETTINGS = 20  # that are left room for, before a column of numbers is
_MOST_SETTINGS = 28  # the same, where there are so many
_FEWEST_LETTERS = 2  # of a word
_STATES = {"complete": "done"}
_STYLES = {"control": "cyan", "twin": "cyan", "pruned": "dim", "failed": "red"}
