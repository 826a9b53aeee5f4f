"""The parts of a study's report that tell of its test split: systems, verdicts, help and harm."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING

from c2c_search.champion.verdict import TESTS
from c2c_search.champion.verdict import Verdict
from c2c_search.errors import C2CError
from c2c_search.evaluation.analysis import RIGHT
from c2c_search.evaluation.analysis import ItemSubset
from c2c_search.evaluation.analysis import breakdown
from c2c_search.evaluation.analysis import harm_rate
from c2c_search.evaluation.analysis import quarters
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import DESCRIPTIVE_LEVEL
from c2c_search.evaluation.statistics import Interval
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.models.sources import short_names
from c2c_search.report.changes import group_chart
from c2c_search.report.changes import said
from c2c_search.report.changes import subset_grid
from c2c_search.report.leaderboard import p_value
from c2c_search.report.page import Chart
from c2c_search.report.page import Example
from c2c_search.report.page import Grid
from c2c_search.report.page import Section
from c2c_search.report.page import Series
from c2c_search.study.findings import Findings
from c2c_search.study.findings import test_rows


if TYPE_CHECKING:
    from c2c_search.data.schema import Row

_EXAMPLES = 6  # of each kind
_SETTING = " <- "  # between receiver and sharer


def message(found: Findings) -> Section:
    """A_M, A_D, A_R, P, G and P/G of every finalist on test."""
    rows = []
    for verdict in found.verdicts.values():
        if verdict.pairing is None:
            accuracy = verdict.accuracy.written(".1f", 100)
            rows.append((verdict.name, f"{accuracy} %", *["not measured"] * 5))
            continue
        numbers = dict(verdict.pairing.rows())
        rows.append((verdict.name, *(numbers[each] for each in _LETTERS)))
    text = [LEGEND]
    if found.verdicts and all(each.pairing is None for each in found.verdicts.values()):
        text.append("This study is of a version that did not measure A_D.")
    grid = Grid("Every finalist on test", ("finalist", *_LETTERS), rows)
    grids = [grid] if rows else []
    return Section("message", "Does the message matter?", text if rows else [], grids)


def systems(found: Findings) -> Section:
    """Every system on test, and the finalists against their controls."""
    if not found.results and not found.verdicts:
        return Section("systems", "Systems and controls")
    known = _accuracies(found)
    rows = [(name, one.written(".1f", 100)) for name, one in known]
    rising = list(reversed(known))
    series = Series(
        "",
        [100 * one.value for _, one in rising],
        [name for name, _ in rising],
        labels=[f"{name}: {one.written('.1f', 100)} %" for name, one in rising],
        low=[100 * one.low for _, one in rising],
        high=[100 * one.high for _, one in rising],
        mark="diamond",
    )
    about = "Accuracy with 95 % intervals over facts: " + ", ".join(
        f"{name} {100 * one.value:.1f} %" for name, one in known
    )
    height = 140 + 30 * len(known)
    chart = Chart(
        "Systems on test", f"{about}.", "accuracy in per cent", "", [series], height=height
    )
    heads = ("system", "accuracy in % [95 %]")
    grids = [Grid("Every system on test", heads, rows), *map(_duels, found.verdicts.values())]
    return Section("systems", "Systems and controls", _explained(found), grids, [chart])


def changed(found: Findings) -> Section:
    """Where the leading finalist helped its receiver and where it did harm, with items."""
    name, heading = "items", "Help and harm"
    leading = found.leading
    fused = None if leading is None else found.answers(leading.name)
    receiver = None if leading is None else found.answers(_receiver(found) or "")
    if leading is None or fused is None or receiver is None:
        return Section(name, heading)
    rows = test_rows(found)
    try:
        parts = dict(_parts(fused, receiver, rows))
        rate = harm_rate(receiver, fused)
    except C2CError as error:  # one of the tables is another item's
        return Section(name, heading, [f"It cannot be told: {error}"])
    text = [f"{leading.name} against its receiver alone, on {len(fused.items)} test items."]
    if rate is not None:
        broken = rate.written(".1f", 100)
        text.append(f"Of what the receiver had right, {broken} % is wrong with the message.")
    if not rows:
        text.append("The questions themselves could not be read again, only their ids are shown.")
    grids = [subset_grid(title, subsets) for title, subsets in parts.items()]
    examples = list(_examples(found, leading.name, fused, receiver, rows))
    charts = [group_chart(parts["group"])] if len(parts["group"]) > 1 else []
    return Section(name, heading, text, grids, charts, examples)


def nearest(verdict: Verdict) -> tuple[str, Interval] | None:
    """The control that comes nearest to a finalist, and by how much that is ahead of it."""
    others = [(one.control, one.difference) for one in verdict.others]
    return min(others, key=lambda one: one[1].value, default=None)


_LETTERS = ("A_M", "A_D", "A_R", "P", "G", "P/G")


def _accuracies(found: Findings) -> list[tuple[str, Interval]]:
    """Of every system, the best first; of the verdicts where no answers are at hand."""
    known: dict[str, Interval] = {}
    for verdict in found.verdicts.values():
        known[verdict.name] = verdict.accuracy
        known |= {one.control: one.accuracy for one in verdict.others}
    if not known:
        known = {
            name: accuracy_interval(each, level=DESCRIPTIVE_LEVEL)
            for name, each in found.results.items()
        }
    return sorted(known.items(), key=lambda one: -one[1].value)


def _explained(found: Findings) -> list[str]:
    return [line for each in found.verdicts.values() for line in each.explain().splitlines()]


def _duels(verdict: Verdict) -> Grid:
    rows = []
    for one in verdict.others:
        rows.append(
            (
                one.control,
                one.difference.written("+.1f", 100),
                p_value(one.p),
                TESTS[one.test],
                "beaten" if one.beaten else "not beaten",
            )
        )
    level = 100 * (1 - verdict.judged_level)
    heads = ("control", f"points ahead [{level:.4g} %]", "p", "test", "")
    return Grid(f"{verdict.name} against its controls, paired", heads, rows)


def _receiver(found: Findings) -> str | None:
    """What reports call the receiver of the leading finalist, alone."""
    return _models(found)[0]


def _models(found: Findings) -> tuple[str | None, str | None]:
    """What reports call the receiver and the sharer of the leading finalist, alone."""
    pair = "" if found.best is None else found.best.pair or ""
    sources = [
        source
        for each in found.identity.get("pairs", {}).values()
        for source in (each["receiver"], each["sharer"])
    ]
    if _SETTING not in pair:
        return None, None
    short = short_names(dict.fromkeys(sources))
    names = []
    for source in pair.split(_SETTING, 1):
        ways = [f"{short.get(source, source)} {how}" for how in ("alone", "reading the context")]
        names.append(next((way for way in ways if found.answers(way)), None))
    return names[0], names[1]


def _parts(
    fused: SystemResult, receiver: SystemResult, rows: Mapping[str, Row]
) -> Iterator[tuple[str, tuple[ItemSubset, ...]]]:
    groups: dict[str, list[int]] = {}
    for index, item in enumerate(fused.items):
        groups.setdefault(item.group, []).append(index)
    yield "group", breakdown(receiver, fused, sorted(groups.items()))
    if all(item.id in rows for item in fused.items):
        lengths = [len(_question(rows[item.id])) for item in fused.items]
        ranges = [(f"{low:.0f} to {high:.0f}", which) for low, high, which in quarters(lengths)]
        yield "length of the question in characters", breakdown(receiver, fused, ranges)
    sure = [item.confidence for item in receiver.items]
    ranges = [(f"{low:.2f} to {high:.2f}", which) for low, high, which in quarters(sure)]
    yield "confidence of the receiver alone", breakdown(receiver, fused, ranges)


def _examples(
    found: Findings,
    name: str,
    fused: SystemResult,
    receiver: SystemResult,
    rows: Mapping[str, Row],
) -> Iterator[Example]:
    """Items that were helped, harmed and right only with the wrong message, some of each."""
    before = [item.credit >= RIGHT for item in receiver.items]
    after = [item.credit >= RIGHT for item in fused.items]
    kinds = {
        "helped": [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if a and not b],
        "harmed": [i for i, (b, a) in enumerate(zip(before, after, strict=True)) if b and not a],
    }
    for kind, indices in kinds.items():
        # Spread over the items, so that not all are of the first group.
        apart = max(1, len(indices) // _EXAMPLES)
        for index in indices[::apart][:_EXAMPLES]:
            item = fused.items[index]
            row = rows.get(item.id)
            yield Example(
                heading=f"{kind}: {item.id} ({item.group})",
                question=item.id if row is None else _question(row),
                options=_options(row, item),
                said=list(_said(found, name, index, item.id, row)),
            )


def _said(
    found: Findings, name: str, index: int, item_id: str, row: Row | None
) -> Iterator[tuple[str, str]]:
    own, sharer = _models(found)
    systems = {one.control for one in found.verdicts[name].others}
    for who in dict.fromkeys([name, own, sharer, *sorted(systems)]):
        result = found.answers(who) if who else None
        if result is None or who is None or index >= len(result.items):
            continue
        if (item := result.items[index]).id == item_id:
            yield who, said(item, () if row is None else row["choices"])


def _options(row: Row | None, item: ItemResult) -> list[tuple[str, bool]]:
    if row is None:
        return []
    return [(choice, index == item.answer) for index, choice in enumerate(row["choices"])]


def _question(row: Row) -> str:
    return "\n".join(each["content"] for each in row["messages"])
