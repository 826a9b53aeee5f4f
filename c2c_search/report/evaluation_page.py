"""An evaluation's report, put together."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from c2c_search.evaluation.analysis import Analysis
from c2c_search.evaluation.comparison import SELF_CHECK
from c2c_search.evaluation.latency.report import LatencyReport
from c2c_search.evaluation.latency.report import SystemLatency
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.record import TaskRecord
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.results import read_answers
from c2c_search.host.names import fit
from c2c_search.report.changes import group_chart
from c2c_search.report.changes import said
from c2c_search.report.changes import subset_grid
from c2c_search.report.leaderboard import count
from c2c_search.report.leaderboard import p_value
from c2c_search.report.page import Chart
from c2c_search.report.page import Example
from c2c_search.report.page import Grid
from c2c_search.report.page import Page
from c2c_search.report.page import Section
from c2c_search.report.page import Series


_EXAMPLES = 6  # of each kind
_ITEMS = "items"  # folder of the tables of answers, beside the record


def evaluation_page(record: EvaluationRecord, folder: Path) -> Page:
    """Everything that a report of an evaluation says.

    Args:
        record: What it found.
        folder: Where it was written, with the tables of answers.
    """
    facts = [("receiver", record.receiver), ("sharer", record.sharer or "none")]
    facts += [("fuser", f"{count(record.parameters)} parameters"), ("machine", record.machine)]
    facts.append(("measured", f"{record.created:%Y-%m-%d %H:%M} UTC"))
    sections = [each for task in record.tasks for each in _task(task, folder)]
    sections += [_latency(record.latency), _skipped(record), _reproduce(record)]
    return Page(
        title=f"Evaluation of {record.subject}",
        verdict=" ".join(map(_verdict, record.tasks)) or "No task was answered.",
        outcome="open",
        facts=facts,
        sections=sections,
    )


def _verdict(task: TaskRecord) -> str:
    mine = task.score(task.subject)
    if mine is None:
        return f"On {task.task} nothing was measured."
    said_ = f"On {task.task} {task.subject} scores {mine.score.written('.1f', 100)} %"
    receiver = task.score("receiver")
    if receiver is None or receiver.against is None:
        return f"{said_}."
    points = receiver.against.difference.written("+.1f", 100)
    return f"{said_}, {points} points against its receiver alone."


def _task(task: TaskRecord, folder: Path) -> Iterator[Section]:
    key = fit(task.task)
    text = list(task.notes)
    if task.contamination is not None:
        text.append(task.contamination.sentence())
    grids = [_scores(task)]
    if task.pairing is not None:
        text.append(LEGEND)
        rows = [(letter, number) for letter, number in task.pairing.rows()]
        grids.append(Grid(f"Does the message matter on {task.task}?", ("", task.subject), rows))
    charts = [_chart(task)]
    yield Section(f"task-{key}", f"{task.task}: {task.items} items", text, grids, charts)
    if task.analysis is not None:
        yield _changed(task, task.analysis, folder / _ITEMS / key)


def _scores(task: TaskRecord) -> Grid:
    rows = []
    for each in task.scores:
        against = each.against
        ahead = "" if against is None else against.difference.written("+.1f", 100)
        if each.system == SELF_CHECK and each.unequal is not None:
            ahead = f"differs from the receiver on {each.unequal} items"
        holm = "" if against is None else p_value(against.p_holm)
        rows.append((each.system, each.score.written(".1f", 100), ahead, holm))
    level = f"{100 * (1 - task.level):.4g} %"
    heads = ("system", f"score in % [{level}]", f"{task.subject} ahead, points", "p (Holm)")
    return Grid(f"Systems on {task.task} ({task.method}, {task.metric})", heads, rows)


def _chart(task: TaskRecord) -> Chart:
    rising = sorted(task.scores, key=lambda each: each.score.value)
    series = Series(
        "",
        [100 * each.score.value for each in rising],
        [each.system for each in rising],
        labels=[f"{each.system}: {each.score.written('.1f', 100)} %" for each in rising],
        low=[100 * each.score.low for each in rising],
        high=[100 * each.score.high for each in rising],
        mark="diamond",
    )
    about = ", ".join(f"{each.system} {100 * each.score.value:.1f} %" for each in rising[::-1])
    height = 140 + 30 * len(rising)
    x = f"{task.metric} in per cent"
    return Chart(f"Systems on {task.task}", f"{about}.", x, "", [series], height=height)


def _changed(task: TaskRecord, analysis: Analysis, folder: Path) -> Section:
    parts = {
        "group": analysis.by_group,
        "prompt length": analysis.by_length,
        "confidence of the receiver alone": analysis.by_confidence,
    }
    grids = [subset_grid(title, each) for title, each in parts.items() if each]
    charts = [group_chart(analysis.by_group)] if len(analysis.by_group) > 1 else []
    examples = list(_examples(task, analysis, folder))
    heading = f"Help and harm on {task.task}"
    text = [analysis.sentence()]
    return Section(f"items-{fit(task.task)}", heading, text, grids, charts, examples)


def _examples(task: TaskRecord, analysis: Analysis, folder: Path) -> Iterator[Example]:
    answers = {
        each.system: read_answers(folder / f"{fit(each.system)}.json", task.split)
        for each in task.scores
    }
    known = {system: each for system, each in answers.items() if each is not None}
    for kind, ids in (("helped", analysis.helped), ("harmed", analysis.harmed)):
        apart = max(1, len(ids) // _EXAMPLES)
        for id_ in ids[::apart][:_EXAMPLES]:
            told = list(_said(known, id_))
            yield Example(f"{kind}: {id_}", f"Item {id_} of {task.source}, {task.split}", (), told)


def _said(known: Mapping[str, SystemResult], id_: str) -> Iterator[tuple[str, str]]:
    for system, result in known.items():
        item = next((each for each in result.items if each.id == id_), None)
        if item is not None:
            right = "" if item.answer < 0 else f"; right is option {item.answer + 1}"
            yield system, said(item, ()) + right


def _latency(found: LatencyReport | None) -> Section:
    if found is None:
        return Section("latency", "Latency")
    slow = sorted(found.systems, key=lambda each: -each.answer.median)
    series = [
        _bars("to the first token", slow, "first_token", "circle-open"),
        _bars("to the whole answer", slow, "answer", "diamond"),
    ]
    about = ", ".join(f"{each.system} {each.answer.text(1000)} ms" for each in slow[::-1])
    chart = Chart(
        "Latency",
        f"Median and quartiles of {found.new_tokens} new tokens: {about}.",
        "milliseconds from the raw text",
        "",
        series,
        height=160 + 40 * len(slow),
    )
    rows = [
        (each.system, each.first_token.text(1000), each.answer.text(1000), _parts(each))
        for each in slow[::-1]
    ]
    heads = ("system", "first token, ms", "answer, ms", "parts of it, ms")
    text = [f"On {found.device}, {found.dtypes}; {found.questions} questions, each asked "]
    text[0] += f"{found.repeats} times, systems in turn."
    return Section("latency", "Latency", text, [Grid("Latency", heads, rows)], [chart])


def _bars(name: str, systems: list[SystemLatency], moment: str, mark: str) -> Series:
    spreads = [getattr(each, moment) for each in systems]
    return Series(
        name,
        [1000 * each.median for each in spreads],
        [each.system for each in systems],
        labels=[f"{name}: {each.text(1000)} ms" for each in spreads],
        low=[1000 * each.low for each in spreads],
        high=[1000 * each.high for each in spreads],
        mark=mark,
    )


def _parts(system: SystemLatency) -> str:
    return ", ".join(f"{part} {1000 * spent.median:.0f}" for part, spent in system.parts.items())


def _skipped(record: EvaluationRecord) -> Section:
    rows = list(record.skipped.items())
    grids = [Grid("Systems that could not answer", ("system", "reason"), rows)] if rows else []
    return Section("failures", "What was skipped", grids=grids)


def _reproduce(record: EvaluationRecord) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return Section("reproduce", "How to reproduce", [versions], code=record.command)
