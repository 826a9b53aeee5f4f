"""``explain``, what a study says of its space."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import announce
from c2c_search.cli.options import tell_version


if TYPE_CHECKING:
    from c2c_search.report.explanation import Row
    from c2c_search.study.explanation import Explained
    from c2c_search.study.explanation import Explanation


def explain(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Name of the study.")],
    root: Root = ROOT,
    storage: Storage = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record as JSON, not as a page.")
    ] = False,
) -> None:
    """Say which dimensions mattered, where the best lies at a border, and what to search next.

    Example:

        $ c2c-search explain names
        $ c2c-search explain names --json > names.json
    """
    announce(f"Weighing the dimensions of {study}", err=as_json)
    from c2c_search.study.explanation import explain as explain_study

    found = explain_study(study, root, url=storage)
    tell_version(study, found.study)
    if as_json:
        echo_json(found.model_dump_json(indent=1))
        return
    from c2c_search.host.terminal import Console
    from c2c_search.report.explanation import render

    rows = [_row(each) for each in found.dimensions]
    Console().print(render(f"study {found.study}", rows, _remarks(found), found.diff))


def _row(each: Explained) -> Row:
    shown = f"{each.best:.4g}" if isinstance(each.best, float) else str(each.best)
    best = shown if each.applied else "-"
    shares = ["-" if one is None else str(one) for one in (each.ped_anova, each.fanova)]
    return each.name, shares[0], shares[1], best, f"{each.border} end" if each.border else ""


def _remarks(found: Explanation) -> list[str]:
    remarks = [
        f"Of {found.complete} trials that ran to their end, of {found.ended} that ended; "
        "shares with 90 % intervals over trials."
    ]
    if found.indicative:
        remarks.append("Importances are indicative only: they want at least 50 such trials.")
    if not found.diff:
        remarks.append("No range needs widening, and no dimension can surely be frozen.")
    return remarks
