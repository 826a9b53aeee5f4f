"""An evaluation as one table for the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.console import RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from c2c_search.evaluation.comparison import SELF_CHECK
from c2c_search.evaluation.comparison import Scored
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.models.sources import short_names
from c2c_search.report import pairing
from c2c_search.report.leaderboard import count


# Four numbers stand beside a name in 80 columns.
_WIDTHS = (22, 17, 20, 6, 5)


def render(record: EvaluationRecord) -> RenderableType:
    """Draw an evaluation: the systems of every task, and what a reader must know to trust it."""
    parts: list[RenderableType] = [Text(_title(record, _short(record)), style="bold")]
    for task in record.tasks:
        table = Table(
            title=_task_line(task),
            title_justify="left",
            title_style="",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        for column, heading in enumerate(_headings(task)):
            # Fixed, so that the tasks stand in one table's columns.
            width = _WIDTHS[column]
            table.add_column(heading, justify="right" if column else "left", width=width)
        for scored in task.scores:
            style = "bold" if scored.system == task.subject else ""
            table.add_row(*(Text(cell, style=style) for cell in _cells(task, scored)))
        parts.append(table)
    pairings = {task.task: task.pairing for task in record.tasks if task.pairing is not None}
    if pairings:
        parts.append(pairing.table(pairings))
    if record.latency is not None:
        parts.append(Markdown(record.latency.markdown()))
    return Group(*parts, *(Text(f"· {line}", style="dim") for line in _notes(record)))


def markdown(record: EvaluationRecord) -> str:
    """Write an evaluation out: the table, the analysis of every task, latency and provenance."""
    lines = [f"# {_title(record, {})}", ""]
    for task in record.tasks:
        lines += [f"## {_task_line(task)}", "", *_markdown_table(task), ""]
        if task.pairing is not None:
            lines += [*pairing.markdown({_name(task.subject): task.pairing}), ""]
        lines += [f"- {note}" for note in _task_notes(task)]
        if task.contamination is not None:
            lines.append(f"- {task.contamination.sentence()}")
        if task.analysis is not None:
            lines += ["", task.analysis.markdown()]
        lines.append("")
    if record.latency is not None:
        lines += ["## Latency", "", record.latency.markdown(), ""]
    lines += ["## How it was measured", "", *(f"- {line}" for line in _method(record)), ""]
    return "\n".join(lines)


def _short(record: EvaluationRecord) -> Mapping[str, str]:
    """What the terminal calls the models; the record has their sources."""
    return short_names(filter(None, (record.receiver, record.sharer)))


def _title(record: EvaluationRecord, names: Mapping[str, str]) -> str:
    size = "" if record.parameters is None else f", fuser of {count(record.parameters)} parameters"
    pair = names.get(record.receiver, record.receiver)
    if record.sharer is not None:
        pair = f"{names.get(record.sharer, record.sharer)} → {pair}"
    return f"{record.subject}: {pair}{size}"


def _headings(task: TaskRecord) -> tuple[str, ...]:
    shown = f"[{100 * (1 - task.level):.4g} %]"
    return "system", f"score {shown}", f"{_name(task.subject)} - it {shown}", "p (Holm)", "finds"


def _task_line(task: TaskRecord) -> str:
    facts = "" if task.clusters == task.items else f" about {task.clusters} facts"
    scale = {None: "", True: ", per token", False: ", whole text"}[task.length_normalised]
    how = f"{task.method}{scale}, {task.metric}"
    return f"{task.task}: {task.items} items{facts} ({how})"


def _name(system: str) -> str:
    return SYSTEMS[system].title if system in SYSTEMS else system


def _cells(task: TaskRecord, scored: Scored) -> tuple[str, ...]:
    name = _name(scored.system)
    if scored.seeds > 1:
        name += f" ({scored.seeds} seeds)"
    if scored.system == SELF_CHECK and scored.unequal is not None:
        same = "equals the receiver" if not scored.unequal else f"differs on {scored.unequal}"
        return name, scored.score.written(".1f", 100), same, "", ""
    if scored.against is None:
        return name, scored.score.written(".1f", 100), "", "", ""
    other = scored.against
    found = "" if other.detectable is None else f"{100 * other.detectable:.1f}"
    return (
        name,
        scored.score.written(".1f", 100),
        other.difference.written("+.1f", 100),
        p_value(other.p_holm),
        found,
    )


def p_value(p: float) -> str:
    """A p-value in three decimals, or its order of magnitude."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _markdown_table(task: TaskRecord) -> Iterator[str]:
    headings = (*_headings(task), "other reading")
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for scored in task.scores:
        other = "" if scored.other is None else f"{100 * scored.other:.1f}"
        cells = list(_cells(task, scored))
        if scored.system == task.subject:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        yield f"| {' | '.join([*cells, other])} |"


def _task_notes(task: TaskRecord) -> Iterator[str]:
    yield f"Items: {task.source}, {task.split}; sha256 {task.sha256[:16]}. {task.reference}"
    if task.margin is not None:
        yield f"Routing asks the sharer where it is surer by more than {task.margin:.3f}."
    for system, score in task.corpus.items():
        yield f"Corpus score of {_name(system)}: {100 * score:.1f}."
    yield from task.notes


def _notes(record: EvaluationRecord) -> Iterator[str]:
    """What the terminal says below the table."""
    for task in record.tasks:
        for note in task.notes:
            yield f"{task.task}: {note}"
        if task.contamination is not None and task.contamination.found:
            yield f"{task.task}: {task.contamination.sentence()}"
        if task.analysis is not None:
            yield f"{task.task}: {task.analysis.sentence()}"
    for system, reason in record.skipped.items():
        yield f"{_name(system)} was left out: {reason}"
    yield from _legend()


def _legend() -> Iterator[str]:
    yield (
        "Intervals resample whole facts, and trainings where there are several. p: exact McNemar; "
        "where several items are about one fact, sign-flip permutation of facts; corrected for "
        "all comparisons of the task (Holm). finds: points that would be found in four cases of "
        "five."
    )


def _method(record: EvaluationRecord) -> Iterator[str]:
    yield from _legend()
    yield f"Command: `{record.command}`"
    yield f"Machine: {record.machine}"
    yield "Versions: " + ", ".join(
        f"{name} {version}" for name, version in record.versions.items()
    )
    for system, reason in record.skipped.items():
        yield f"{_name(system)} was left out: {reason}"
    asked = {scored.system for task in record.tasks for scored in task.scores}
    for name, entry in SYSTEMS.items():
        if name in asked:
            yield f"{entry.title}: {entry.reference}"
