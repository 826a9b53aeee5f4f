"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


SpaceFile = Annotated[
    Path, typer.Option("--space", help="Space file, e.g. spaces/fuser.yaml.", show_default=False)
]
Root = Annotated[Path, typer.Option("--root", help="Folder of all studies, runs and champions.")]

ROOT = Path("mlruns")


def announce(text: str, *, err: bool = False) -> None:
    """Say what begins, before imports and models that take seconds.

    Args:
        text: What begins.
        err: Whether on standard error, as the command's progress is.
    """
    typer.echo(f"{text} ...", err=err)
