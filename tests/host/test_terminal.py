"""Foreign text on a terminal: shown, and never obeyed."""

from __future__ import annotations

import io

import pytest
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from c2c_search.errors import C2CError
from c2c_search.errors import shown
from c2c_search.host.terminal import Console


HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202e"
SHOWN = r"\x1b]0;title\x07\x1b[2J\x9b31m\u202e"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)


def _printed(console: Console) -> str:
    return console.file.getvalue()


def test_control_characters_are_spelled() -> None:
    assert shown(HOSTILE) == SHOWN
    assert shown("a\tb\nc é 中 🙂") == "a\tb\nc é 中 🙂"
    assert shown("\ud800\r") == r"\ud800\r"


def test_errors_show_what_they_are_about() -> None:
    error = C2CError(f"rule {HOSTILE}", value=HOSTILE, hint=HOSTILE)
    assert not set("\x1b\x07\x9b\u202e") & set(str(error))
    assert str(error).count("2J") == 3


@pytest.mark.parametrize("kind", ["text", "Text", "title", "heading", "cell", "Text in a cell"])
def test_wherever_it_stands(console: Console, kind: str) -> None:
    table = Table(title=HOSTILE if kind == "title" else "title")
    table.add_column(HOSTILE if kind == "heading" else "heading")
    table.add_row({"cell": HOSTILE, "Text in a cell": Text(HOSTILE, "bold")}.get(kind, "cell"))
    console.print({"text": HOSTILE, "Text": Text(HOSTILE)}.get(kind, table))
    assert r"\x1b]0;title" in _printed(console)  # a cell has the width of what it was given
    for obeyed in ("\x1b]", "\x1b[2J", "\x9b", "\x07", "\u202e"):
        assert obeyed not in _printed(console)


def test_a_live_view_still_moves_the_cursor(console: Console) -> None:
    with Live(Panel("\x1b[5mname"), console=console) as live:
        live.refresh()
    assert r"\x1b[5mname" in _printed(console)
    assert "\x1b[5m" not in _printed(console)
    assert "\x1b[?25l" in _printed(console)  # rich's own


def test_no_markup_and_no_emoji_are_read(console: Console) -> None:
    table = Table("a")
    table.add_row("[/] [red]b[/red] :smile:")
    console.print("[/] [red]b :smile:", table)
    assert _printed(console).count("[/] [red]b") == 2
    assert _printed(console).count(":smile:") == 2
