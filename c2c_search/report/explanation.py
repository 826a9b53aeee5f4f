"""What a study says of its space, as a page for the terminal."""

from __future__ import annotations

from rich.console import Group
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


Row = tuple[str, str, str, str, str]
"""Of a dimension: its name, both importances, its best value, the border it lies at."""

HEADINGS = ("dimension", "PED-ANOVA", "fANOVA", "best", "at its range's")


def render(title: str, rows: list[Row], remarks: list[str], diff: str) -> RenderableType:
    """Draw an explanation.

    Args:
        title: What is explained.
        rows: A dimension each, the most important first.
        remarks: How far this can be trusted.
        diff: What to change in the space file.
    """
    table = Table(title=title, title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    parts: list[RenderableType] = [table, *map(Text, remarks)]
    if diff:
        parts += ["", Text("To search next:"), Text(diff)]
    return Group(*parts)
