"""A report as one HTML file that asks nothing of any network."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

from c2c_search.report import drawn_chart
from c2c_search.report.page import Chart
from c2c_search.report.page import Page
from c2c_search.report.plotly_figure import figure


_TEMPLATES = Path(__file__).parent / "templates"


def render(page: Page) -> str:
    """The report as HTML: every chart as a picture, and to point at where Plotly is installed.

    Nothing is fetched, and a rule in the page forbids it. Every text is escaped.
    """
    from jinja2 import Environment
    from jinja2 import FileSystemLoader
    from jinja2 import StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture": _picture, "figure": _figure}
    return environment.get_template("page.html").render(
        page=page,
        plotly=_plotly() if page.charts else "",
        style=_part("page.css"),
        script=_part("page.js"),
    )


def has_plotly() -> bool:
    """Whether charts can be pointed at, which takes the extra ``report``."""
    return importlib.util.find_spec("plotly") is not None


@cache
def _plotly() -> str:
    """Plotly's own script, packed: a browser unpacks it, and a report stays below 2 MB."""
    if not has_plotly():
        return ""
    import plotly

    (folder,) = plotly.__path__
    script = (Path(folder) / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()


def _part(name: str) -> Any:
    from markupsafe import Markup

    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _picture(chart: Chart) -> str:
    return base64.b64encode(drawn_chart.svg(chart).encode()).decode()


def _figure(chart: Chart) -> Any:
    from markupsafe import Markup

    # Within a script element, where only the end tag and a comment could do harm.
    text = json.dumps(figure(chart), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
