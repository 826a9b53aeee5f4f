"""A report as what it says, before it is HTML, Markdown or a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


Kind = Literal["points", "line", "bars"]
Number = float | None


@dataclass(frozen=True)
class Series:
    """Some numbers of a chart that are drawn alike, told apart by mark and dash, not by colour.

    Args:
        name: In the legend; empty for none.
        x: Numbers, or names of categories.
        y: As many numbers, or names of categories where ``x`` are numbers.
        kind: How they are drawn; bars lie, from 0 to ``x``.
        labels: What each is, shown where one points at it.
        low: Lower ends of intervals along ``x``.
        high: Upper ends.
        mark: Of points: ``circle``, ``square``, ``diamond``, ``cross`` or ``triangle``; hollow
            ones end in ``-open``.
        dash: Of lines: ``solid``, ``dash`` or ``dot``.
        sizes: Of points, in pixels.
        strong: Whether it is what the chart is about.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float | str]
    kind: Kind = "points"
    labels: Sequence[str] = ()
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    mark: str = "circle"
    dash: str = "solid"
    sizes: Sequence[float] = ()
    strong: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        title: What it shows.
        about: What one sees in it, in words, for who cannot.
        x: What lies to the right, with its unit.
        y: What lies above.
        series: What is drawn.
        log_x: Whether ``x`` is logarithmic.
        ticks: Names in the place of numbers along ``x``, by number.
        height: In pixels.
    """

    title: str
    about: str
    x: str
    y: str
    series: Sequence[Series]
    log_x: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    height: int = 380


@dataclass(frozen=True)
class Grid:
    """A table; a row's first cell names it."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Example:
    """An item that one can open.

    Args:
        heading: Which one, and what became of it.
        question: As it was asked.
        options: What could be chosen, and whether it is right.
        said: What each system said.
    """

    heading: str
    question: str
    options: Sequence[tuple[str, bool]]
    said: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Section:
    """A part of a report; one without any content is left out."""

    name: str
    heading: str
    text: Sequence[str] = ()
    grids: Sequence[Grid] = ()
    charts: Sequence[Chart] = ()
    examples: Sequence[Example] = ()
    code: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any((self.text, self.grids, self.charts, self.examples, self.code))


@dataclass(frozen=True)
class Page:
    """A whole report.

    Args:
        title: Of what.
        verdict: In one sentence.
        outcome: ``champion``, ``none`` or ``open`` (nothing is judged yet).
        facts: What it is, by name.
        sections: Its parts.
    """

    title: str
    verdict: str
    outcome: Literal["champion", "none", "open"]
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    @property
    def shown(self) -> list[Section]:
        """The parts that say something."""
        return [each for each in self.sections if not each.empty]

    @property
    def charts(self) -> list[Chart]:
        """Every chart, in order."""
        return [chart for section in self.shown for chart in section.charts]
