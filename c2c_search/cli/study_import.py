"""``study import``: a study that was exported elsewhere, taken in under this root."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import TrackingUri
from c2c_search.cli.options import tell
from c2c_search.cli.studies import dumps


def import_(
    file: Annotated[
        Path, typer.Argument(help="Archive that `study export STUDY --to FILE.zip` wrote.")
    ],
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Another name for the study, and its versions."),
    ] = None,
    root: Root = ROOT,
    storage: Storage = None,
    tracking_uri: TrackingUri = None,
    json: Json = False,
) -> None:
    """Take in a study that was exported under another root, to look at it or to go on with it.

    The archive is checked first: what is wrong with it is told, and nothing is written. A study
    of the same name is never replaced. Import only what you would believe: results are taken as
    they are told. Models and data files are not in it.

    Example:

        $ c2c-search study import private.zip --root elsewhere
        private is imported: c2c-search study show private --root elsewhere
    """
    import shlex

    from c2c_search.study.importing import import_archive

    tell(f"Checking {file}")
    names = import_archive(file, root, name=name, url=storage, tracking_uri=tracking_uri)
    if json:
        echo_json(dumps({"imported": names}))
        return
    where = "" if root == ROOT else f" --root {shlex.quote(str(root))}"
    for each in names:
        echo(f"{each} is imported: c2c-search study show {each}{where}")
    if name is not None:
        echo(f"To go on with it, say `study: {name}` in its space.")
