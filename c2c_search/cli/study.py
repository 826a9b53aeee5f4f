"""``study``, ``validate`` and ``plan``, what one does with a space file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root
from c2c_search.cli.options import SpaceFile


def study(
    space: SpaceFile,
    root: Root = ROOT,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all, instead of the space's own number."),
    ] = None,
    force: Annotated[
        str,
        typer.Option(
            metavar="REASON",
            help="Let a new champion take the place of one that it does not beat; kept on record.",
        ),
    ] = "",
) -> None:
    """Search a space and promote a proven champion; the same command goes on where it stopped.

    Exit status 3: no fuser beats its controls. 4: trials kept failing, or
    nothing could be judged. 130: interrupted.
    """
    from c2c_search.study.driver import run_study

    run_study(space, root=root, trials=trials, force=force.strip())


def validate(
    file: Annotated[Path, typer.Argument(help="Space file; its pipeline is checked too.")],
) -> None:
    """Report every problem of a space and its pipeline at once."""
    from c2c_search.space.schema import Space

    space = Space.load(file)
    pairs = "1 pair" if len(space.pairs) == 1 else f"{len(space.pairs)} pairs"
    typer.echo(
        f"{file} is valid: study {space.study}, {pairs}, {len(space.dimensions)} dimensions, "
        f"{space.search.trials} trials of {space.pipeline.training.steps} steps."
    )


def plan(
    space: SpaceFile,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch the models to tell sizes and memory.")
    ] = False,
) -> None:
    """Show what a study will do, before anything is spent."""
    from dataclasses import asdict

    from rich.console import Console

    from c2c_search.report.planned import render
    from c2c_search.space.plan import plan as make_plan
    from c2c_search.space.schema import Space

    loaded = Space.load(space)
    if not fetch:
        Console().print(render(loaded.study, make_plan(loaded)))
        return
    from c2c_search.fuser.cost import parameters
    from c2c_search.study.memory import memory_of_trials
    from c2c_search.study.sizes import shapes

    sources = {source for pair in loaded.pairs.values() for source in (pair.receiver, pair.sharer)}
    shape_of = shapes(loaded)
    geometries = {source: shape_of(source) for source in sorted(sources)}
    memory = memory_of_trials(loaded)
    planned = make_plan(
        loaded,
        geometries=geometries,
        parameters=parameters,
        memory=lambda trial: asdict(memory(trial)),
    )
    Console().print(render(loaded.study, planned))
