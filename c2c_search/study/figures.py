"""The figures of a study that has ended, kept with its run: to look at, and to draw again."""

from __future__ import annotations

import json
import re

from c2c_search.host.files import replacing
from c2c_search.host.files import write_text
from c2c_search.report.page import Chart
from c2c_search.report.plotly_figure import figure
from c2c_search.study import judged_sections
from c2c_search.study import search_sections
from c2c_search.study.findings import Findings
from c2c_search.study.layout import StudyFiles
from c2c_search.tracking import StudyRun


FOLDER = "figures"


def log_figures(run: StudyRun, found: Findings) -> None:
    """Record what a study's trials and its test split say, drawn.

    Each is ``figures/NAME.json``, which ``plotly.io.from_json`` and ``Plotly.newPlot`` take, and
    ``figures/NAME.png``; they are those of `c2c-search report`.

    Args:
        run: Of the study.
        found: What it found.
    """
    from c2c_search.report.drawn_chart import png

    folder = StudyFiles(found.root, found.row.name).folder / FOLDER
    for chart in _charts(found):
        name = re.sub(r"[^a-z0-9]+", "-", chart.title.lower()).strip("-")
        write_text(folder / f"{name}.json", json.dumps(_titled(chart), allow_nan=False))
        with replacing(folder / f"{name}.png") as partial:
            partial.write_bytes(png(chart))
    if folder.exists():  # a study whose trials all failed has nothing to draw
        run.artifact_dir(folder, FOLDER)


def _charts(found: Findings) -> list[Chart]:
    sections = (
        judged_sections.systems(found),
        search_sections.search(found),
        search_sections.learning(found),
        search_sections.importance(found),
    )
    return [chart for section in sections for chart in section.charts]


def _titled(chart: Chart) -> dict[str, object]:
    """By itself a figure needs the title that a report has above it."""
    drawn = figure(chart)
    layout = drawn["layout"]
    margin = {**layout["margin"], "t": 60}
    return {**drawn, "layout": {**layout, "title": {"text": chart.title}, "margin": margin}}
