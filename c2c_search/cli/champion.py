"""Cli room: ``export`` and ``ask``, what one does with a champion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root


def export(
    to: Annotated[Path, typer.Option("--to", help="Folder to write.", show_default=False)],
    study: Annotated[
        str | None, typer.Option("--study", help="Study; may be left out if there is only one.")
    ] = None,
    root: Root = ROOT,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace another champion in that folder.")
    ] = False,
) -> None:
    """Copy a study's champion, with a runtime that installs without the workbench."""
    from c2c_search.champion.export import export as export_package
    from c2c_search.study.layout import champion_folder

    export_package(champion_folder(root, study), to, replace=replace)
    typer.echo(
        f"Exported to {to}. On another machine:\n"
        f"  pip install {to}/runtime\n"
        f'  python -c "from c2c_search import C2CModel; '
        f"print(C2CModel.from_pretrained('{to}').generate('...'))\""
    )


def ask(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="A champion's folder, exported or not.")
    ],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 32,
) -> None:
    """Answer a question three times: the receiver alone, the sharer alone, and both by C2C."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from c2c_search.inference.integrity import read_manifest

    pair = read_manifest(directory).pair
    # Only now, so that a wrong folder is told at once.
    from c2c_search.inference.model import C2CModel

    model = C2CModel.from_pretrained(directory)
    table = Table(show_header=False, show_lines=True)
    for who, what, answer in (
        ("receiver", pair.receiver.source, model.receiver_alone),
        ("sharer", pair.sharer.source, model.sharer_alone),
        ("C2C", "receiver with sharer", model.generate),
    ):
        text = answer(question, max_new_tokens=tokens)
        table.add_row(Text(who, style="bold"), Text(what), Text(text.strip()))
    Console().print(table)
