"""``report``, ``leaderboard`` and ``compare``: what a study or an evaluation found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import tell_version
from c2c_search.cli.studies import dumps


if TYPE_CHECKING:
    from c2c_search.report.page import Page

_FORMS = (".html", ".md", ".png")
_RECORD = "evaluation.json"

Study = Annotated[
    str | None,
    typer.Argument(metavar="[STUDY]", help="Name of the study; the only one if left out."),
]


def report(
    of: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|EVALUATION",
            help="Name of a study, or the folder (or evaluation.json) that `eval --to` wrote.",
        ),
    ],
    to: Annotated[
        list[Path] | None,
        typer.Option(
            help="File to write: .html, .md or .png; may be repeated.",
            show_default="NAME-report.html",
        ),
    ] = None,
    root: Root = ROOT,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Write what a study or an evaluation found, as one file that needs no network.

    Works while a study runs, too.

    Example:

        $ c2c-search report private --to report.html --to report.md
        trial-000 answers 99.8 % [98.9, 100.0] of 500 test items rightly, ...
        The report is in report.html, report.md.
    """
    from c2c_search.host.names import fit

    named = "@".join(map(fit, Path(of).name.split("@")))
    files = list(dict.fromkeys(to or [Path(f"{named}-report.html")]))
    _check_forms(files)
    page = _page(of, root, storage)
    for file in files:
        _write(page, file)
    if json:
        echo_json(dumps({"verdict": page.verdict, "files": [str(file) for file in files]}))
        return
    echo(page.verdict)
    echo(f"The report is in {', '.join(map(str, files))}.")
    if any(file.suffix == ".html" for file in files):
        from c2c_search.report.page_html import has_plotly

        if not has_plotly():
            echo(
                "Its charts are still pictures: pip install 'c2c-search[report]' for ones that "
                "can be pointed at.",
                err=True,
            )


def leaderboard(
    study: Study = None, root: Root = ROOT, storage: Storage = None, json: Json = False
) -> None:
    """Show a study's trials side by side, one line each, and what the test split said.

    Example:

        $ c2c-search leaderboard private
                  margin matched deranged      P      G state   size settings
        trial-000 +0.105   0.995    0.270 +0.725 +0.745 done   1.0 M side/sp ...
        trial-001 +0.105   0.995    0.260 +0.735 +0.745 done   3.0 M ap ...
        trial-002 -0.170   0.720    0.260 +0.460 +0.470 pruned 0.3 M side/sp ...
        ...
    """
    from dataclasses import asdict

    from c2c_search.study.findings import findings

    found = findings(study, root, url=storage)
    tell_version(study, found.row.name)
    if json:
        trials = [each.model_dump(mode="json") for each in found.trials]
        verdicts = {name: each.model_dump(mode="json") for name, each in found.verdicts.items()}
        front = None if found.front is None else asdict(found.front)
        told = {"study": found.row.name, "trials": trials, "verdicts": verdicts, "front": front}
        echo_json(dumps(told))
        return
    from c2c_search.host.terminal import Console
    from c2c_search.report.leaderboard import render
    from c2c_search.study.stored_leaderboard import stored_leaderboard

    if not found.trials:
        echo(f"{found.row.called} has no trials yet.")
        return
    Console(highlight=False).print(render(stored_leaderboard(found)))


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="STUDY, STUDY/TRIAL or an evaluation.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What A is compared with.")],
    root: Root = ROOT,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Set two trials, studies or evaluations side by side: only what differs, and what is proven.

    Of a study its leading trial is taken. Where both answered the same test items, their
    difference is told with its interval.

    Example:

        $ c2c-search compare private/trial-000 private/trial-001
                          private/trial-000  private/trial-001  B - A
        A_M (validation)  0.995              0.995              +0
        size              1.0 M              3.0 M
        fuser.injection   side               append
        ...
    """
    from c2c_search.study.compared import compare as compare_sides
    from c2c_search.study.compared import side

    sides = [side(each, _folder(each), root, url=storage) for each in (a, b)]
    found = compare_sides(*sides)
    if json:
        echo_json(dumps(found.model_dump(mode="json")))
        return
    from rich.table import Table
    from rich.text import Text

    from c2c_search.host.terminal import Console

    table = Table(box=None, pad_edge=False)
    for heading in ("", found.a, found.b, "B - A"):
        table.add_column(Text(heading), overflow="fold")
    for row in found.rows:
        table.add_row(*map(Text, (row.name, row.a, row.b, row.difference)))
    console = Console(highlight=False)
    console.print(table)
    for line in found.remarks:
        console.print(Text(line))


def _check_forms(files: list[Path]) -> None:
    from c2c_search.errors import ConfigError

    for file in files:
        if file.suffix not in _FORMS:
            raise ConfigError(
                f"A report is written as {', '.join(_FORMS[:-1])} or {_FORMS[-1]}.",
                value=str(file),
                hint="Give --to a file whose name ends so.",
            )
        if file.exists() and not file.is_file():
            raise ConfigError(
                "A report is written into a file.", value=str(file), hint="Name another path."
            )


def _folder(of: str) -> Path | None:
    """Where an evaluation lies; None for what can only be a study."""
    path = Path(of)
    if path.is_dir() and (path / _RECORD).is_file():
        return path
    return path.parent if path.suffix == ".json" and path.is_file() else None


def _page(of: str, root: Path, storage: str | None) -> Page:
    if (folder := _folder(of)) is not None:
        from c2c_search.report.evaluation_page import evaluation_page
        from c2c_search.study.compared import read_record

        path = Path(of)
        return evaluation_page(read_record(path if path.is_file() else folder / _RECORD), folder)
    from c2c_search.study.findings import findings
    from c2c_search.study.study_page import study_page

    found = findings(of, root, weigh=True, url=storage)
    tell_version(of, found.row.name)
    return study_page(found)


def _write(page: Page, file: Path) -> None:
    from c2c_search.host.files import disk_errors
    from c2c_search.host.files import replacing
    from c2c_search.host.files import write_text

    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".html":
            from c2c_search.report.page_html import render

            write_text(file, render(page))
        elif file.suffix == ".md":
            from c2c_search.report.page_markdown import render

            write_text(file, render(page))
        else:
            from c2c_search.report.drawn_chart import page_png

            with replacing(file) as scratch:
                scratch.write_bytes(page_png(page))
