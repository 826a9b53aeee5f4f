"""``study`` and ``validate``, what one does with a space file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli import studies
from c2c_search.cli import study_import
from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import announce
from c2c_search.cli.options import tell_chats
from c2c_search.cli.plan import ask_first
from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from c2c_search.study.engines import EngineName


app = typer.Typer(invoke_without_command=True)
app.command("ls")(studies.list_)
app.command()(studies.show)
app.command()(studies.rm)
app.command()(studies.export)
app.command("import")(study_import.import_)


@app.callback()
def study(
    context: typer.Context,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="Space file, e.g. spaces/fuser.yaml.", show_default=False),
    ] = None,
    root: Root = ROOT,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, instead of the space's own number."),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Processes that train side by side; auto: one for each GPU, one on a CPU.",
        ),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            metavar="local|ray",
            help="Where workers run: on this machine, or on the nodes of a Ray cluster.",
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            help="Head of the Ray cluster; RAY_ADDRESS, or this machine alone, by default.",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of trials, instead of the file under the root; on one PostgreSQL the "
            "same command may run several times.",
        ),
    ] = None,
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri",
            metavar="URI",
            help="MLflow server or database to record in, instead of the store under the root.",
        ),
    ] = None,
    force: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Let a new champion take the place of one that it does not beat; kept on record.",
        ),
    ] = "",
    warm_start: Annotated[
        str,
        typer.Option(
            metavar="STUDY[,STUDY]",
            help="Earlier studies whose trials the sampler learns from, as far as they fit.",
        ),
    ] = "",
    max_hours: Annotated[
        float | None,
        typer.Option(
            "--max-hours",
            min=0,
            metavar="HOURS",
            help="Plan first (a minute or two), and ask before a study that is expected to take "
            "longer; where nobody can be asked it does not begin.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Begin however long it takes; nothing is asked.")
    ] = False,
) -> None:
    """Search a space and promote a proven champion; the same command goes on where it stopped.

    Exit status 3: no fuser beats its controls. 4: trials kept failing, or nothing could be judged.
    130: interrupted.

    Example:

        $ c2c-search study --space spaces/fuser.yaml
        ...
        champion: trial-000
        trial-000 answers 99.8 % of 500 test items about 500 facts rightly (95 %
        interval 98.9 % to 100.0 %).
    """
    if context.invoked_subcommand is not None:
        return
    if space is None:
        raise typer.BadParameter("a study needs a space file", param_hint="--space")
    announce(f"Reading {space}")
    from c2c_search.study.driver import run_study

    count = _count(workers)
    where = _engine(engine, address)
    if storage is not None and storage == tracking_uri:
        raise ConfigError(
            "--storage and --tracking-uri need a database each: tables of Optuna's and MLflow's "
            "have the same names."
        )
    if max_hours is not None and not yes and not _begun(space, root, storage):
        ask_first(space, max_hours, trials=trials, workers=count)
    run_study(
        space,
        root=root,
        trials=trials,
        workers=count,
        engine=where,
        address=address,
        storage_url=storage,
        tracking_uri=tracking_uri,
        force=force.strip(),
        warm_start=tuple(name.strip() for name in warm_start.split(",") if name.strip()),
    )


def _begun(space: Path, root: Path, url: str | None) -> bool:
    """Whether an earlier start has begun the study of a space, the version that it is."""
    from c2c_search.host.home import expanded
    from c2c_search.space.schema import Space
    from c2c_search.study.layout import StudyFiles
    from c2c_search.study.versions import foreseen

    stores = expanded(root).resolve()
    return StudyFiles(stores, foreseen(stores, url, Space.load(space)).name).begun


def _engine(engine: str, address: str | None) -> EngineName:
    """The engine that is asked for.

    Raises:
        ConfigError: There is none of that name, or it has no address.
    """
    if engine == "ray":
        return "ray"
    if engine != "local":
        raise ConfigError("--engine takes local or ray.", value=engine)
    if address is not None:
        raise ConfigError("--address is of a Ray cluster.", hint="Say --engine ray too.")
    return "local"


def _count(workers: str) -> int | None:
    """How many workers are asked for; None to choose.

    Raises:
        ConfigError: It is neither ``auto`` nor a number from 1.
    """
    if workers == "auto":
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise ConfigError("--workers takes a number from 1, or auto.", value=workers)
    return int(workers)


def validate(
    file: Annotated[Path, typer.Argument(help="Space file; its pipeline is checked too.")],
    json: Json = False,
) -> None:
    """Report every problem of a space, its pipeline, its data and its models at once.

    Nothing is fetched: of models that are not here yet, the name alone is checked. With --json
    each problem has its file, line, column and key. Exit status 2: there are problems.

    Example:

        $ c2c-search validate spaces/fuser.yaml
        spaces/fuser.yaml is valid: study private, 1 pair, 10 dimensions, 3
        trials of 600 steps.
    """
    if json:
        from c2c_search.setup.validation import validation

        found = validation(file)
        echo_json(found.model_dump_json(indent=1))
        if not found.valid:
            raise typer.Exit(2)
        return
    from c2c_search.host.wording import counted
    from c2c_search.space.schema import Space
    from c2c_search.study.readiness import check_ready

    space = Space.load(file)
    check_ready(space, file)
    echo(
        f"{file} is valid: study {space.study}, {counted(len(space.pairs), 'pair')}, "
        f"{counted(len(space.dimensions), 'dimension')}, "
        f"{counted(space.search.trials, 'trial')} of "
        f"{counted(space.pipeline.training.steps, 'step')}."
    )
    data = space.pipeline.data
    tell_chats(space)
    if data.template != "plain":
        day = data.date or "the day on which the study begins (data.date names another)"
        typer.echo(f"A chat template that writes the date writes {day}.")
