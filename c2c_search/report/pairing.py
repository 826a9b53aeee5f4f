"""Whether the message matters, as a table: one line a system."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.statistics import Interval
from c2c_search.report.run_notes import escaped


_HEADINGS = ("A_M", "A_D", "A_R", "G", "P", "P/G")


def table(pairings: Mapping[str, Pairing]) -> Table:
    """For a terminal of 80 columns: intervals where they say most, of the three differences.

    Args:
        pairings: By the name of the system, one at least.
    """
    levels = {each.gain.level for each in pairings.values()}
    found = Table(
        title=f"does the message matter? [{', '.join(map(_covers, sorted(levels)))}]",
        title_justify="left",
        caption=LEGEND,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        show_edge=False,
    )
    found.add_column("")
    for heading in _HEADINGS:
        found.add_column(heading, justify="right", no_wrap=True)
    for name, each in pairings.items():
        accuracies = (each.matched, each.deranged, each.receiver)
        found.add_row(
            Text(name, no_wrap=True, overflow="ellipsis"),
            *(f"{100 * one.value:.1f}" for one in accuracies),
            *(Text(_points(one)) for one in (each.gain, each.pairing_gain)),
            Text("-" if each.share is None else each.share.written(".2f")),
        )
    return found


def markdown(pairings: Mapping[str, Pairing]) -> Iterator[str]:
    """Every number with its interval.

    Args:
        pairings: By the name of the system, one at least.
    """
    yield f"| | {' | '.join(_HEADINGS)} |"
    yield f"|---{'|---' * len(_HEADINGS)}|"
    for name, each in pairings.items():
        yield f"| {escaped(name)} | {' | '.join(value for _, value in each.rows())} |"
    yield ""
    yield LEGEND


def _covers(level: float) -> str:
    return f"{100 * (1 - level):.4g} %"


def _points(interval: Interval) -> str:
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * interval.value:+.1f} [{low:+.0f}, {high:+.0f}]"
