"""The commands of ``c2c-search``, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from c2c_search.cli import cache
from c2c_search.cli import champion
from c2c_search.cli import evaluate
from c2c_search.cli import explain
from c2c_search.cli import message_audit
from c2c_search.cli import package
from c2c_search.cli import promote
from c2c_search.cli import serve
from c2c_search.cli import studies
from c2c_search.cli import study
from c2c_search.cli import tracking
from c2c_search.cli import trial
from c2c_search.cli.echo import echo


app = typer.Typer(
    help="Find, prove and ship Cache-to-Cache fusers.",
    no_args_is_help=True,
    add_completion=False,
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
) -> None:
    pass


app.add_typer(study.app, name="study")
app.command()(studies.status)
app.command()(studies.stop)
app.command()(study.validate)
app.command()(study.plan)
app.command()(explain.explain)
app.command()(tracking.ui)
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
