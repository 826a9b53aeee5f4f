"""``promote`` and ``rollback``: which champion the registry's alias points to."""

from __future__ import annotations

from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root
from c2c_search.cli.options import announce


Registered = Annotated[
    str | None, typer.Option("--name", help="Registered model.", show_default="its study's")
]


def promote(
    target: Annotated[
        str, typer.Argument(metavar="TRIAL|DIR", help="A champion's folder, or its trial's name.")
    ],
    study: Annotated[
        str | None, typer.Option(help="The trial's; may be left out if there is only one.")
    ] = None,
    name: Registered = None,
    force: Annotated[
        str,
        typer.Option(metavar="REASON", help="Promote it though it does not beat the one in use."),
    ] = "",
    root: Root = ROOT,
) -> None:
    """Put a champion into use: register it, ask it again, test it against the one in use.

    Only then the alias `champion` moves; the one that it leaves is `previous_champion`.

    Example:

        $ c2c-search promote champion
        Version 2 of c2c-private is in use; version 1 is `previous_champion`.
    """
    announce("Registering the champion, and asking it in a process of its own")
    from c2c_search.study.changeover import promote

    done = promote(root, target, study=study, name=name, force=force)
    if done.before == done.version:
        echo(f"Version {done.version} of {done.name} is in use already.")
        return
    before = f"; version {done.before} is `previous_champion`" if done.before else ""
    echo(f"Version {done.version} of {done.name} is in use{before}.")


def rollback(
    name: Registered = None,
    reason: Annotated[str, typer.Option(metavar="REASON", help="Why; kept on record.")] = "",
    root: Root = ROOT,
) -> None:
    """Put the champion that was in use before back; once more goes forward again.

    Example:

        $ c2c-search rollback --reason "slower than we can pay for"
        Version 1 of c2c-private is in use again, after version 2.
    """
    from c2c_search.study.changeover import rollback

    done = rollback(root, name, why=reason)
    echo(f"Version {done.version} of {done.name} is in use again, after version {done.before}.")
