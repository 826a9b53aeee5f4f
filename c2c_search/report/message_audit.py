"""An audit on one page, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from c2c_search.evaluation.audit_record import AuditedSystem
from c2c_search.evaluation.audit_record import AuditRecord
from c2c_search.evaluation.judgement import ADAPTS
from c2c_search.evaluation.judgement import HARMS
from c2c_search.evaluation.judgement import LISTENS
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.report.evaluation import p_value
from c2c_search.report.leaderboard import count


def render(record: AuditRecord) -> RenderableType:
    """Draw an audit: the sentence first, then what it rests on."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column, heading in enumerate(_headings(record)):
        table.add_column(heading, justify="right" if column else "left")
    for one in record.systems:
        table.add_row(*_cells(one), style="bold" if one.difference is None else "")
    return Group(
        Text(record.headline, style="bold"),
        Text(_subject(record)),
        table,
        *(Text(f"· {line}", style="dim") for line in (*_numbers(record), *_method(record))),
    )


def markdown(record: AuditRecord) -> str:
    """Write an audit out."""
    lines = [f"# {record.headline}", "", _subject(record), ""]
    lines += [_row(_headings(record)), _row(["---"] * len(_headings(record)))]
    lines += [_row(_cells(one)) for one in record.systems]
    lines += ["", *(f"- {line}" for line in _numbers(record)), "", "## How it was measured", ""]
    lines += [f"- {line}" for line in (*_method(record), *_provenance(record))]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _subject(record: AuditRecord) -> str:
    size = "" if record.parameters is None else f", {count(record.parameters)} parameters"
    found = record.judgement
    facts = "" if found.clusters == found.items else f" about {found.clusters} facts"
    return (
        f"{record.subject} ({record.sharer} → {record.receiver}{size}) on {found.items} items"
        f"{facts} of {record.own.harm.task}, {record.own.split}."
    )


def _headings(record: AuditRecord) -> tuple[str, ...]:
    shown = f"[{100 * (1 - record.judgement.level):.4g} %]"
    margin = f"within ±{100 * record.judgement.margin:.3g}, p"
    return "system", f"accuracy {shown}", f"C2C - it {shown}", "p", margin


def _cells(one: AuditedSystem) -> tuple[str, ...]:
    title = SYSTEMS[one.system].title
    accuracy = one.accuracy.written(".1f", 100)
    if one.difference is None or one.p is None or one.same is None:
        return title, accuracy, "", "", ""
    return title, accuracy, one.difference.written("+.1f", 100), p_value(one.p), p_value(one.same)


def _numbers(record: AuditRecord) -> Iterator[str]:
    found, told = record.judgement, record.judgement.pairing
    named = {"A_M": told.matched, "A_D": told.deranged, "A_R": told.receiver}
    accuracies = ", ".join(f"{name} {each.written('.1f', 100)}" for name, each in named.items())
    named = {"G": told.gain, "P": told.pairing_gain}
    gains = ", ".join(f"{name} {each.written('+.1f', 100)}" for name, each in named.items())
    share = told.no_share if told.share is None else told.share.written(".2f")
    yield f"{accuracies}; {gains}, P/G: {share}."
    tests = ", ".join(
        f"{finding}: p = {p_value(found.p[finding])} (Holm {p_value(found.p_holm[finding])})"
        for finding in (HARMS, LISTENS, ADAPTS)
    )
    lean = f"P - G/2 {100 * found.lean:+.1f}"
    yield f"Tests of the finding at level {found.level:g}: {tests}; {lean}."
    margin = f"{100 * found.margin:.3g} points"
    shown = "shown" if found.unheard < found.level else "not shown"
    yield (
        f"That the right message is worth less than {margin}, either way, is {shown} "
        f"(p = {p_value(found.unheard)})."
    )
    if record.own.transfer is not None or record.own.broken is not None:
        yield f"{record.own.harm.task}: {_rates(record.own.transfer, record.own.broken)}."
    for each in (record.own, *record.elsewhere):
        yield each.harm.sentence
    for each in record.elsewhere:
        yield f"{each.harm.task}: {_rates(each.transfer, each.broken)}."
    for each in (record.own, *record.elsewhere):
        yield from (f"{each.harm.task}: {note}" for note in each.notes)
    for name, reason in record.left_out.items():
        yield f"{SYSTEMS[name].title} was left out: {reason}"


def _rates(transfer: Interval | None, broken: Interval | None) -> str:
    recovered = "nothing that only the sharer knew"
    if transfer is not None:
        recovered = f"of what only the sharer knew, {transfer.written('.1f', 100)} % is recovered"
    lost = "nothing that the receiver knew"
    if broken is not None:
        lost = f"of what the receiver knew, {broken.written('.1f', 100)} % is broken"
    return f"{recovered}; {lost}"


def _method(record: AuditRecord) -> Iterator[str]:
    yield LEGEND
    yield (
        "The finding: does harm if G < 0, listens if P > 0 and P is G/2 at least, adapts without "
        "listening if G > 0 and P < G/2; three one-sided tests share one level (Holm). p: exact "
        "McNemar, or sign-flip permutation of whole facts, two-sided; within: two one-sided "
        "cluster-robust tests; neither is corrected. Other tasks share the level evenly."
    )


def _provenance(record: AuditRecord) -> Iterator[str]:
    for each in (record.own, *record.elsewhere):
        yield (
            f"Items of {each.harm.task}: {each.source}, {each.split}; sha256 {each.sha256[:16]}."
        )
    yield f"Command: `{record.command}`"
    yield f"Machine: {record.machine}"
    yield "Versions: " + ", ".join(f"{name} {each}" for name, each in record.versions.items())
