"""``doctor``, whether this machine is ready for a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import tell


if TYPE_CHECKING:
    from c2c_search.setup.doctor import Diagnosis

_MARKS = {"ok": "ok", "warning": "!", "fault": "FAULT"}


def doctor(root: Root = ROOT, json: Json = False) -> None:
    """Look at versions, devices, DeepSpeed, threads, memory, disks and stores; say what to do.

    Nothing is changed or fetched. Exit status 2: a study cannot run here.

    Example:

        $ c2c-search doctor
        ok     Python            3.12.3 in /home/me/venv, Linux x86_64
        ok     devices           no GPU; 2 physical cores, models compute in ...
        !      disk of caches    6.1 GB free in /home/me/.cache/c2c-search
                                 Models and prompt caches may need more: free
                                 some, or set C2C_SEARCH_CACHE.
    """
    tell("Looking at this machine")
    from c2c_search.setup.doctor import diagnose

    found = diagnose(root)
    if json:
        echo_json(found.model_dump_json(indent=1))
    else:
        _print(found)
    if not found.ready:
        raise typer.Exit(2)


def _print(found: Diagnosis) -> None:
    from rich.table import Table
    from rich.text import Text

    from c2c_search.host.terminal import Console

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {"ok": "green", "warning": "yellow", "fault": "bold red"}
    for each in found.findings:
        mark = Text(_MARKS[each.state], style=styles[each.state])
        table.add_row(mark, Text(each.name), Text(each.found))
        if each.advice:
            table.add_row("", "", Text(each.advice, style="italic"))
    console = Console(highlight=False)
    console.print(table)
    console.print("A study can run here." if found.ready else "A study cannot run here yet.")
