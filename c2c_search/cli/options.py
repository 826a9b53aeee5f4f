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
