"""A chart as a figure of Plotly: plain JSON, made without that package."""

from __future__ import annotations

import html
from typing import Any

from c2c_search.report.page import Chart
from c2c_search.report.page import Series


_MARKS = {"cross": "x", "cross-open": "x-open", "triangle": "triangle-up"}
_INTERVAL = {"thickness": 1.5, "width": 4}


def figure(chart: Chart) -> dict[str, Any]:
    """What ``Plotly.newPlot`` takes: ``data`` and ``layout``.

    Plotly reads some HTML in texts; names come from elsewhere and are escaped.
    """
    axis: dict[str, Any] = {"title": {"text": html.escape(chart.x)}, "automargin": True}
    if chart.log_x:
        axis |= {"type": "log"}
    if chart.ticks:
        axis |= {
            "tickmode": "array",
            "tickvals": [value for value, _ in chart.ticks],
            "ticktext": [html.escape(name) for _, name in chart.ticks],
        }
    several = sum(bool(each.name) for each in chart.series) > 1
    return {
        "data": [_trace(each) for each in chart.series],
        "layout": {
            "height": chart.height,
            "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
            "showlegend": several,
            "legend": {"orientation": "h", "y": -0.25},
            "xaxis": axis,
            "yaxis": {"title": {"text": html.escape(chart.y)}, "automargin": True},
            "hovermode": "closest",
        },
    }


def _trace(series: Series) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "name": html.escape(series.name),
        "x": [_value(one) for one in series.x],
        "y": [_value(one) for one in series.y],
        "showlegend": bool(series.name),
    }
    if series.labels:
        trace |= {
            "text": [html.escape(one) for one in series.labels],
            "hoverinfo": "text" if series.kind != "line" else "text+name",
        }
    if series.low:
        ends = zip(series.x, series.low, series.high, strict=True)
        apart = [(float(x) - low, high - float(x)) for x, low, high in ends]
        trace["error_x"] = {
            "type": "data",
            "symmetric": False,
            "array": [up for _, up in apart],
            "arrayminus": [down for down, _ in apart],
            **_INTERVAL,
        }
    if series.kind == "bars":
        return trace | {"type": "bar", "orientation": "h", "textposition": "none"}
    if series.kind == "line":
        mode = "lines+markers" if len(series.x) < 60 else "lines"
        width = 3 if series.strong else 1.5
        trace |= {"line": {"dash": series.dash, "width": width}}
    else:
        mode = "markers"
    marker: dict[str, Any] = {"symbol": _MARKS.get(series.mark, series.mark)}
    marker["size"] = list(series.sizes) if series.sizes else (12 if series.strong else 9)
    return trace | {"type": "scatter", "mode": mode, "marker": marker}


def _value(one: float | str) -> float | str:
    return html.escape(one) if isinstance(one, str) else one
