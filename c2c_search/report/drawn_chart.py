"""A chart drawn by matplotlib, where there is no browser: SVG, PNG, a page of pictures."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from c2c_search.report.page import Chart
from c2c_search.report.page import Page
from c2c_search.report.page import Series


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_MARKS = {"circle": "o", "square": "s", "diamond": "D", "cross": "X", "triangle": "^"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":"}
_INCHES = 6.4
_TICKS = 6  # at most, along an axis
_WIDE = 100  # times the least: of so wide an axis powers of ten alone are written
_PER_INCH = 90  # pixels of a browser's chart that an inch stands for
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "c2c-search", "font.size": 9}
# Told apart by lightness too, for a printer without colours.
_COLOURS = ("#1b4f8a", "#c2571a", "#2b8a57", "#8d3fa0", "#6b6b6b", "#a8891a")


def svg(chart: Chart) -> str:
    """The chart as SVG; the same numbers give the same text."""
    return _written([chart], "svg", "").decode()


def png(chart: Chart) -> bytes:
    """The chart as PNG."""
    return _written([chart], "png", "")


def page_png(page: Page) -> bytes:
    """All charts of a report below its verdict, as PNG."""
    return _written(page.charts, "png", f"{page.title}\n{page.verdict}")


def _written(charts: Sequence[Chart], form: str, title: str) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if len(charts) > 1 else 1
    rows = max(1, math.ceil(len(charts) / columns))
    heights = [
        max(chart.height for chart in charts[row * columns : (row + 1) * columns]) / _PER_INCH
        for row in range(rows if charts else 0)
    ] or [0.2]
    head = 1.2 if title else 0.0
    kept = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_INCHES * columns, sum(heights) + head), layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            wrapped = "\n".join(textwrap.fill(line, 100) for line in title.splitlines())
            figure.suptitle(_plain(wrapped), x=0.02, ha="left")
        _fill(figure, charts, rows, columns, heights)
        metadata = {"Date": None} if form == "svg" else None
        figure.savefig(kept, format=form, dpi=110, metadata=metadata)
    return kept.getvalue()


def _fill(
    figure: Figure, charts: Sequence[Chart], rows: int, columns: int, heights: Sequence[float]
) -> None:
    grid = figure.add_gridspec(rows, columns, height_ratios=heights)
    for index, chart in enumerate(charts):
        axes = figure.add_subplot(grid[index // columns, index % columns])
        if len(charts) > 1:
            axes.set_title(_plain(chart.title), loc="left", fontsize=10)
        _draw(axes, chart)


def _draw(axes: Axes, chart: Chart) -> None:
    for index, series in enumerate(chart.series):
        _series(axes, series, _COLOURS[index % len(_COLOURS)])
    axes.set_xlabel(_plain(chart.x))
    axes.set_ylabel(_plain(chart.y))
    if chart.log_x:
        _count_by_powers(axes, [float(one) for each in chart.series for one in each.x])
    else:
        _count(axes.xaxis, [one for each in chart.series for one in each.x])
    _count(axes.yaxis, [one for each in chart.series for one in each.y])
    if chart.ticks:
        names = [textwrap.shorten(_plain(name), 32, placeholder="...") for _, name in chart.ticks]
        slanted: dict[str, Any] = {"rotation": 30, "ha": "right", "fontsize": 7}
        axes.set_xticks([value for value, _ in chart.ticks], names, **slanted)
    axes.grid(alpha=0.25)
    if 1 < sum(bool(each.name) for each in chart.series) <= 12:
        axes.legend(fontsize=7, loc="best")


def _count(axis: Axis, values: Sequence[float | str]) -> None:
    """Few ticks, written in full; whole numbers where all values are, as trials and layers."""
    from matplotlib.ticker import MaxNLocator
    from matplotlib.ticker import ScalarFormatter

    numbers = [one for one in values if not isinstance(one, str)]
    if not numbers or len(numbers) < len(values):  # names have a tick each
        return
    whole = all(float(one).is_integer() for one in numbers)
    axis.set_major_locator(MaxNLocator(_TICKS, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    in_full = ScalarFormatter(useOffset=False)
    in_full.set_scientific(False)
    axis.set_major_formatter("{x:,.0f}" if whole else in_full)


def _count_by_powers(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis whose ticks are ``200 k`` and ``1 M``, as parameters are told."""
    from matplotlib.ticker import EngFormatter
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import NullFormatter

    axes.set_xscale("log")
    wide = bool(values) and max(values) > _WIDE * min(values)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _series(axes: Axes, series: Series, colour: str) -> None:
    x, y = [_text(one) for one in series.x], [_text(one) for one in series.y]
    options: dict[str, Any] = {"label": _plain(series.name) or None, "color": colour}
    if series.kind == "bars":
        axes.barh(y, x, **options)
    elif series.kind == "line":
        axes.plot(
            x,
            y,
            linestyle=_DASHES[series.dash],
            marker=_mark(series),
            markersize=4,
            linewidth=2.4 if series.strong else 1.2,
            **options,
        )
    else:
        hollow = series.mark.endswith("-open")
        sizes = [one**2 / 2 for one in series.sizes] or (60 if series.strong else 36)
        face = {"facecolors": "none", "edgecolors": options.pop("color")} if hollow else {}
        axes.scatter(x, y, s=sizes, marker=_mark(series), **face, **options)
    if series.low:
        ends = zip(series.x, series.low, series.high, strict=True)
        apart = [(float(one) - low, high - float(one)) for one, low, high in ends]
        errors = [[down for down, _ in apart], [up for _, up in apart]]
        axes.errorbar(x, y, xerr=errors, fmt="none", ecolor="#333333", capsize=2, linewidth=1)


def _mark(series: Series) -> str:
    return _MARKS.get(series.mark.removesuffix("-open"), "o")


def _text(one: float | str) -> float | str:
    return _plain(one) if isinstance(one, str) else one


def _plain(text: str) -> str:
    """A dollar sign would begin a formula."""
    return text.replace("$", r"\$")
