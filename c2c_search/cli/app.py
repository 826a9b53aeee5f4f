"""The commands of ``c2c-search``, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from c2c_search.cli import cache
from c2c_search.cli import champion
from c2c_search.cli import data
from c2c_search.cli import doctor
from c2c_search.cli import evaluate
from c2c_search.cli import explain
from c2c_search.cli import init
from c2c_search.cli import mcp
from c2c_search.cli import message_audit
from c2c_search.cli import models
from c2c_search.cli import package
from c2c_search.cli import plan
from c2c_search.cli import promote
from c2c_search.cli import report
from c2c_search.cli import schema
from c2c_search.cli import serve
from c2c_search.cli import studies
from c2c_search.cli import study
from c2c_search.cli import tracking
from c2c_search.cli import trial
from c2c_search.cli.echo import echo
from c2c_search.cli.help_text import Commands
from c2c_search.cli.help_text import unfold
from c2c_search.cli.verbosity import VERBOSITY


# What commands are for, as the help puts them together.
BEFORE, SEARCH = "Before a study", "The study"
FOUND, CHAMPIONS = "What was found", "Fusers and champions"

app = typer.Typer(
    cls=Commands,
    help="Find, prove and ship Cache-to-Cache fusers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from c2c_search.champion.package import workbench_version

        echo(f"c2c-search {workbench_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not tell what begins and how far it is.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show where in the code an error is raised.")
    ] = False,
) -> None:
    # Of this run alone: a program may run several command lines in one process.
    VERBOSITY.quiet, VERBOSITY.verbose = quiet, verbose


app.command(rich_help_panel=BEFORE)(init.init)
app.command(rich_help_panel=BEFORE)(study.validate)
app.command(rich_help_panel=BEFORE)(plan.plan)
app.command(rich_help_panel=BEFORE)(doctor.doctor)
app.command(rich_help_panel=BEFORE)(schema.schema)
app.add_typer(models.app, name="models", rich_help_panel=BEFORE)
app.add_typer(data.app, name="data", rich_help_panel=BEFORE)
app.add_typer(study.app, name="study", rich_help_panel=SEARCH)
app.command(rich_help_panel=SEARCH)(studies.status)
app.command(rich_help_panel=SEARCH)(studies.stop)
app.add_typer(trial.app, name="trial", rich_help_panel=SEARCH)
app.add_typer(cache.app, name="cache", rich_help_panel=SEARCH)
app.command(rich_help_panel=SEARCH)(mcp.mcp)
app.command(rich_help_panel=SEARCH)(tracking.ui)
app.command(rich_help_panel=FOUND)(explain.explain)
app.command(rich_help_panel=FOUND)(report.report)
app.command(rich_help_panel=FOUND)(report.leaderboard)
app.command(rich_help_panel=FOUND)(report.compare)
app.command("eval", rich_help_panel=CHAMPIONS)(evaluate.evaluate)
app.command(rich_help_panel=CHAMPIONS)(message_audit.audit)
app.command(rich_help_panel=CHAMPIONS)(champion.export)
app.command(rich_help_panel=CHAMPIONS)(package.package)
app.command(rich_help_panel=CHAMPIONS)(champion.verify)
app.command(rich_help_panel=CHAMPIONS)(promote.promote)
app.command(rich_help_panel=CHAMPIONS)(promote.rollback)
app.command(rich_help_panel=CHAMPIONS)(champion.import_rosetta)
app.command(rich_help_panel=CHAMPIONS)(champion.ask)
app.command(rich_help_panel=CHAMPIONS)(serve.serve)
unfold(app)
