"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from c2c_search.report.page import Grid
from c2c_search.report.page import Page
from c2c_search.report.page import Section
from c2c_search.report.run_notes import escaped


def render(page: Page) -> str:
    """The report as Markdown: charts are told in words, and their numbers are in tables."""
    lines = [f"# {escaped(page.title)}", "", f"**{escaped(page.verdict)}**", ""]
    lines += [f"- {escaped(name)}: {escaped(value)}" for name, value in page.facts]
    for section in page.shown:
        lines += ["", *_section(section)]
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {escaped(section.heading)}"
    for text in section.text:
        yield from ("", escaped(text))
    for chart in section.charts:
        yield from ("", f"*{escaped(chart.title)}.* {escaped(chart.about)}")
    for grid in section.grids:
        yield from ("", *_grid(grid))
    for example in section.examples:
        yield from ("", f"### {escaped(example.heading)}", "", escaped(example.question), "")
        for option, right in example.options:
            yield f"- {escaped(option)}" + (" (right)" if right else "")
        yield ""
        for who, said in example.said:
            yield f"- {escaped(who)}: {escaped(said)}"
    if section.code:
        # A fence longer than any in what it holds.
        fence = "`" * (3 + section.code.count("```"))
        yield from ("", fence, section.code.rstrip(), fence)


def _grid(grid: Grid) -> Iterator[str]:
    if grid.caption:
        yield from (escaped(grid.caption), "")
    yield f"| {' | '.join(map(escaped, grid.heads))} |"
    yield "|---" * len(grid.heads) + "|"
    for row in grid.rows:
        yield f"| {' | '.join(map(escaped, row))} |"
