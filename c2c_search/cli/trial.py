"""``trial run|ls|show|retry``: single trials, from a file or out of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from typing import Any

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Json
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import announce
from c2c_search.cli.options import tell_version
from c2c_search.cli.studies import Name
from c2c_search.cli.studies import dumps
from c2c_search.cli.studies import print_trials
from c2c_search.cli.studies import trials_of


Trial = Annotated[str, typer.Argument(metavar="TRIAL", help="Its name or number: trial-007, 7.")]

app = typer.Typer(help="Work with single trials.", no_args_is_help=True)


@app.command()
def run(
    file: Annotated[
        Path,
        typer.Argument(help="A trial.yaml, as every run has it as artifact, or a champion's DIR."),
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Folder of checkpoints and fusers.", show_default="trial-HASH"),
    ] = None,
) -> None:
    """Repeat a trial and print its metrics; it goes on from a checkpoint in its folder.

    Example:

        $ c2c-search trial run mlruns/trials/private/85c19bab1059e7f2
    """
    announce(f"Reading {file}")
    from c2c_search.study.run_trial import repeat_trial

    repeat_trial(file, to)


@app.command("ls")
def list_(study: Name, root: Root = ROOT, storage: Storage = None, json: Json = False) -> None:
    """List a study's trials.

    Example:

        $ c2c-search trial ls private
        trial      state     objective  step  settings
        trial-000  complete  0.1050     1200  injection side, rank null, ...
        trial-002  pruned    -0.1700    420   injection side, rank 32, ...
    """
    name, trials = trials_of(study, root, storage)
    tell_version(study, name)
    if json:
        echo_json(dumps([trial.model_dump(mode="json") for trial in trials]))
    else:
        print_trials(trials)


@app.command()
def show(
    study: Name,
    trial: Trial,
    root: Root = ROOT,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Show all that is known of a trial.

    Example:

        $ c2c-search trial show private 2
        name        trial-002
        state       pruned
        objective   -0.17
        ...
    """
    from c2c_search.study.overview import named_trial

    found, trials = trials_of(study, root, storage)
    tell_version(study, found)
    row = named_trial(trials, found, trial).model_dump(mode="json")
    if json:
        echo_json(dumps(row))
        return
    for name, value in row.items():
        if value not in (None, {}, []):
            echo(f"{name:<12}{_shown(value)}")


def _shown(value: Any) -> str:
    """A value of a trial, as its space would write it; what has names of its own, a line each."""
    if isinstance(value, dict):
        return f"\n{'':12}".join(f"{each} {_shown(one)}" for each, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return "null" if value is None else str(value)


@app.command()
def retry(
    study: Name,
    trial: Trial,
    root: Root = ROOT,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Queue a trial that failed again; the study's next start goes on with it.

    Example:

        $ c2c-search trial retry private 2
        trial-002 is tried again when `c2c-search study` goes on with private.
    """
    from c2c_search.study import overview
    from c2c_search.study.upkeep import retry

    found = overview.load(overview.open_existing(root, storage), study).study_name
    tell_version(study, found)
    row = retry(root, study, trial, url=storage)
    if json:
        echo_json(dumps(row.model_dump(mode="json")))
    else:
        echo(f"{row.name} is tried again when `c2c-search study` goes on with {found}.")


@app.callback()
def _group() -> None:
    pass
