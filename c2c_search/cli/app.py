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
from c2c_search.cli.help_text import unfold
from c2c_search.cli.verbosity import VERBOSITY


app = typer.Typer(
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


app.command()(init.init)
app.add_typer(study.app, name="study")
app.command()(studies.status)
app.command()(studies.stop)
app.command()(study.validate)
app.command()(plan.plan)
app.command()(explain.explain)
app.command()(report.report)
app.command()(report.leaderboard)
app.command()(report.compare)
app.command()(tracking.ui)
app.command()(doctor.doctor)
app.command()(schema.schema)
app.command()(mcp.mcp)
app.command("eval")(evaluate.evaluate)
app.command()(message_audit.audit)
app.command()(champion.export)
app.command()(package.package)
app.command()(champion.verify)
app.command()(promote.promote)
app.command()(promote.rollback)
app.command()(champion.import_rosetta)
app.command()(champion.ask)
app.command()(serve.serve)
app.add_typer(trial.app, name="trial")
app.add_typer(cache.app, name="cache")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
unfold(app)
