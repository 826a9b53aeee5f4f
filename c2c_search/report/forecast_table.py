"""How long a study takes, as a table for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from c2c_search.host.wording import about
from c2c_search.host.wording import counted
from c2c_search.space.forecast import Forecast
from c2c_search.space.forecast import GpuHours
from c2c_search.space.forecast import Span


_DISTURBED = 0.1  # of the processors


def render(forecast: Forecast) -> RenderableType:
    """Draw a forecast: a line for each phase, their total, and what the numbers rest on."""
    beside = f" in {counted(forecast.workers, 'worker')}" if forecast.workers > 1 else ""
    table = Table(title=f"time{beside}", title_justify="left")
    table.add_column("phase", overflow="fold")
    table.add_column("how much", overflow="fold")
    for heading in ("least", "expected", "most"):
        table.add_column(heading, justify="right", no_wrap=True)
    for phase in forecast.phases:
        table.add_row(Text(phase.name), Text(phase.of), *_times(phase.seconds))
    table.add_section()
    table.add_row("in all", "", *_times(forecast.total), style="bold")
    told = list(forecast.basis)
    if forecast.others > _DISTURBED:
        told.append(
            f"Other programs took {forecast.others:.0%} of the processors meanwhile: these are "
            "times beside them. Plan again when the machine is quiet for those without."
        )
    return Group(table, *(Text(sentence, style="dim") for sentence in told))


def render_gpus(hours: GpuHours) -> RenderableType:
    """Draw what a study takes on GPUs: a line for each kind."""
    table = Table(title="on GPUs, counted", title_justify="left")
    table.add_column("device")
    for heading in ("TFLOP/s", "hours on 1", f"hours on {hours.several}", "GPU hours"):
        table.add_column(heading, justify="right")
    for each in hours.devices:
        used = hours.several * each.several.expected / 3600
        rate = f"{each.teraflops:,.0f}"
        table.add_row(each.name, rate, _hours(each.one), _hours(each.several), f"{used:,.0f}")
    return Group(table, *(Text(sentence, style="dim") for sentence in hours.basis))


def span_text(span: Span) -> str:
    """A forecast in words: ``about 40 min (30 min to 1 h)``."""
    low, expected, high = _times(span)
    return f"about {expected} ({low} to {high})"


def _hours(span: Span) -> str:
    low, expected, high = (each / 3600 for each in (span.low, span.expected, span.high))
    return f"{expected:,.0f} ({low:,.0f} to {high:,.0f})"


def _times(span: Span) -> list[str]:
    return [about(seconds) for seconds in (span.low, span.expected, span.high)]
