"""``trial run``, one trial again from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2c_search.cli.options import announce


app = typer.Typer(help="Work with single trials.", no_args_is_help=True)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A trial.yaml, as every run has it as artifact.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoints and fusers.", show_default="trial-HASH"),
    ] = None,
) -> None:
    """Repeat a trial and print its metrics; it goes on from a checkpoint in its folder."""
    announce(f"Reading {file}")
    from c2c_search.study.run_trial import repeat_trial

    repeat_trial(file, to)


@app.callback()
def _group() -> None:
    pass
