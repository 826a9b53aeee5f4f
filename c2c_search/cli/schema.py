"""``schema``, the JSON Schema of a space or pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from typing import Literal

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json


def schema(
    kind: Annotated[Literal["space", "pipeline"], typer.Argument(help="Which file it is of.")],
    to: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
) -> None:
    """Write the JSON Schema of a kind of file, with which an editor completes and checks it.

    An editor that uses yaml-language-server (VS Code's YAML extension, Neovim, Emacs) reads it
    where the file begins with

        # yaml-language-server: $schema=schemas/space.json

    as the files under spaces/ and those of `c2c-search init` do.

    Example:

        $ c2c-search schema space --to schemas/space.json
        Written to schemas/space.json.
    """
    from c2c_search.space.json_schema import written

    if to is None:
        echo_json(written(kind).rstrip("\n"))
        return
    from c2c_search.host.files import disk_errors
    from c2c_search.host.files import write_text

    with disk_errors(to):
        write_text(to, written(kind))
    echo(f"Written to {to}.")
