"""What a message changed, item by item, as tables, a chart and words."""

from __future__ import annotations

from collections.abc import Sequence

from c2c_search.evaluation.analysis import RIGHT
from c2c_search.evaluation.analysis import ItemSubset
from c2c_search.evaluation.results import ItemResult
from c2c_search.report.page import Chart
from c2c_search.report.page import Grid
from c2c_search.report.page import Series


def subset_grid(title: str, parts: Sequence[ItemSubset]) -> Grid:
    """Parts of the items, one a row.

    Args:
        title: What they are told apart by.
        parts: Of the items.
    """
    rows = [
        (
            each.name,
            str(each.items),
            str(each.helped),
            str(each.harmed),
            f"{each.receiver:.3f}",
            f"{each.c2c:.3f}",
            f"{100 * each.gain:+.1f}"
            if each.difference is None
            else each.difference.written("+.1f", 100),
        )
        for each in parts
    ]
    heads = (title, "items", "helped", "harmed", "receiver", "fused", "points [95 %]")
    return Grid(f"Help and harm by {title}", heads, rows)


def group_chart(parts: Sequence[ItemSubset]) -> Chart:
    """Accuracy of every group with the message and without."""
    rising = sorted(parts, key=lambda each: each.gain)
    names = [each.name for each in rising]
    series = [
        Series(
            "receiver alone",
            [100 * each.receiver for each in rising],
            names,
            labels=[f"{each.name}: receiver {100 * each.receiver:.1f} %" for each in rising],
            mark="circle-open",
        ),
        Series(
            "with the message",
            [100 * each.c2c for each in rising],
            names,
            labels=[f"{each.name}: fused {100 * each.c2c:.1f} %" for each in rising],
            mark="diamond",
        ),
    ]
    first, last = rising[-1], rising[0]
    about = f"Most for {first.name} ({100 * first.gain:+.1f} points), least for {last.name} "
    about += f"({100 * last.gain:+.1f})."
    height = 160 + 26 * len(parts)
    return Chart("Accuracy by group", about, "accuracy in per cent", "", series, height=height)


def said(item: ItemResult, choices: Sequence[str]) -> str:
    """What was said, in words, and whether it is right.

    Args:
        item: The answer; of several, as with several derangements, each is told.
        choices: What could be chosen; options are numbered where that is not known.
    """
    if item.repeats:
        return "; ".join(said(each, choices) for each in item.repeats)
    right = "right" if item.credit >= RIGHT else "wrong"
    if item.text is not None:
        return f"{item.text!r} ({right})"
    known = 0 <= item.chosen < len(choices)
    option = choices[item.chosen] if known else f"option {item.chosen + 1}"
    return f"{option} ({right}, confidence {item.confidence:.2f})"
