"""A study's result on one page, trials and controls side by side."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from c2c_search.evaluation.statistics import Interval


@dataclass(frozen=True)
class SearchRow:
    """A trial or control on validation.

    Args:
        name: Of the trial or control.
        kind: ``trial`` or ``control``.
        state: How a trial ended: ``complete``, ``pruned`` or ``failed``; empty for a control.
        accuracy: On validation; None if it has none.
        pair: Name of the pair; of a control, the model.
        parameters: Of the fuser; None for a control.
        settings: What the search chose, in words.
        gain: Of a trial in a study of several pairs, over its pair's no-sharer reference.
    """

    name: str
    kind: str
    state: str
    accuracy: float | None
    pair: str
    parameters: int | None
    settings: str
    gain: float | None = None


@dataclass(frozen=True)
class MeasuredRow:
    """A system on test: a single model, a finalist, its twin, or it with the wrong sharer."""

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
        p: Exact McNemar p-value.
        beaten: Whether the control is; None where it is reported but not judged.
    """

    finalist: str
    control: str
    difference: Interval
    p: float
    beaten: bool | None


@dataclass(frozen=True)
class Leaderboard:
    """A study's result.

    Args:
        study: Its name.
        search: Trials and controls on validation.
        test: Every system that was measured on test.
        duels: Finalists against controls.
        verdict: What follows, in words.
        champion: Name of the champion; None if nothing was promoted.
        places: Where things are and what to type next, by what it is for.
        looks: How often the study has looked at its test split.
    """

    study: str
    search: Sequence[SearchRow]
    test: Sequence[MeasuredRow] = ()
    duels: Sequence[Duel] = ()
    verdict: str = ""
    champion: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    looks: int = 1

    def ranked(self) -> list[SearchRow]:
        """Trials and controls together, by gain if they have one, then by accuracy."""
        worst = float("-inf")

        def worth(row: SearchRow) -> tuple[float, float]:
            gain = worst if row.gain is None else row.gain
            return gain, worst if row.accuracy is None else row.accuracy

        return sorted(self.search, key=worth, reverse=True)


def render(board: Leaderboard) -> RenderableType:
    """The whole page for a terminal."""
    parts: list[RenderableType] = [_search(board)]
    if board.test:
        parts += ["", _test(board)]
    if board.duels:
        parts += ["", _duels(board)]
    if board.verdict:
        style = "bold green" if board.champion else "bold yellow"
        title = f"champion: {board.champion}" if board.champion else "no champion"
        parts += ["", Text(title, style=style), Text(board.verdict)]
    if board.places:
        parts += ["", _places(board.places)]
    return Group(*parts)


def markdown(board: Leaderboard) -> str:
    """The same page for the description of the study's run."""
    lines = ["| | on validation | state | parameters |", "|---|---|---|---|"]
    for row in board.ranked():
        cells = (row.name, number(row.accuracy), row.state or row.kind, count(row.parameters))
        lines.append(f"| {' | '.join(cells)} |")
    if board.test:
        lines += ["", "| | on test | |", "|---|---|---|"]
        lines += [f"| {row.name} | {row.accuracy} | {row.kind} |" for row in board.test]
    if board.verdict:
        title = f"Champion: {board.champion}" if board.champion else "No champion"
        lines += ["", f"**{title}**", "", board.verdict.replace("\n", "  \n")]
    return "\n".join(lines) + "\n"


def number(value: float | None) -> str:
    """An accuracy with three decimals; a dash where there is none."""
    return "-" if value is None else f"{value:.3f}"


def difference(value: float | None) -> str:
    """A difference of accuracies with its sign; a dash where there is none."""
    return "-" if value is None else f"{value:+.3f}"


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


def _search(board: Leaderboard) -> Table:
    table = Table(title=f"study {board.study}: validation", title_justify="left")
    table.add_column("", no_wrap=True)
    gains = any(row.gain is not None for row in board.search)
    if gains:
        table.caption = "gain: accuracy above what the pair's receiver learns without a sharer"
        table.caption_justify = "left"
        table.add_column("gain", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("state")
    table.add_column("pair or model", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("settings", overflow="fold")
    for row in board.ranked():
        table.add_row(
            Text(row.name),
            *([difference(row.gain)] if gains else []),
            number(row.accuracy),
            Text(row.state or row.kind),
            Text(row.pair),
            count(row.parameters),
            Text(row.settings),
            style=_STYLES.get(row.kind if row.kind == "control" else row.state),
        )
    return table


def _test(board: Leaderboard) -> Table:
    once = "measured once" if board.looks <= 1 else f"look {board.looks} at it"
    table = Table(title=f"test, {once}", title_justify="left")
    table.add_column("")
    table.add_column("")
    table.add_column("accuracy", justify="right")
    table.add_column("95 % interval", justify="right")
    for row in sorted(board.test, key=lambda row: -row.accuracy.value):
        table.add_row(
            Text(row.name),
            Text(row.kind),
            number(row.accuracy.value),
            f"{row.accuracy.low:.3f} to {row.accuracy.high:.3f}",
            style="bold green" if row.name == board.champion else _STYLES.get(row.kind),
        )
    return table


def _duels(board: Leaderboard) -> Table:
    level = board.duels[0].difference.level
    table = Table(title="finalists against their controls, paired", title_justify="left")
    table.add_column("finalist", no_wrap=True)
    table.add_column("against")
    table.add_column("difference", justify="right")
    table.add_column(f"{100 * (1 - level):.4g} % interval", justify="right", no_wrap=True)
    table.add_column("McNemar p", justify="right")
    table.add_column("")
    for duel in board.duels:
        low, high = duel.difference.low, duel.difference.high
        table.add_row(
            Text(duel.finalist),
            Text(duel.control),
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


_OUTCOMES = {
    True: Text("beaten", "green"),
    False: Text("not beaten", "yellow"),
    None: Text("reported"),
}
_STYLES = {"control": "cyan", "twin": "cyan", "pruned": "dim", "failed": "red"}
