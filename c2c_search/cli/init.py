"""``init``, a first space and pipeline for one's own models and data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.echo import echo_json
from c2c_search.cli.options import Json
from c2c_search.errors import ConfigError


if TYPE_CHECKING:
    from c2c_search.setup.first_files import Written
    from c2c_search.setup.wishes import Wishes


def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path(),
    data: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL to train on; the built-in quiz if there is none."),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL to compare trials on; held out of --data if left out."),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL to prove a champion on; held out of --data if left out."),
    ] = None,
    receiver: Annotated[
        str | None, typer.Option(help="Model that answers: pypi:, hf:, path: or gguf:.")
    ] = None,
    sharer: Annotated[str | None, typer.Option(help="Model that speaks to it.")] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of the study.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of a trial; what suits the data if left out.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; take what is left out as suggested.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a commented space and pipeline for your models and data, checked like any other.

    Asks for what the options leave out. Never writes over a file. Rows with a `sharer_context`
    make a private study, in which the sharer alone has read what is asked about.

    Example:

        $ c2c-search init --data mine.jsonl --yes
        Written: space.yaml, pipeline.yaml (140 rows to train on, 20 to compare
        trials on, 40 to prove a champion on; 600 steps of a trial).
        Next:
          c2c-search validate space.yaml
          c2c-search plan --space space.yaml
          c2c-search study --space space.yaml
    """
    from c2c_search.setup.first_files import refuse_to_overwrite
    from c2c_search.setup.first_files import write_first_files
    from c2c_search.setup.wishes import RECEIVER
    from c2c_search.setup.wishes import SHARER
    from c2c_search.setup.wishes import TRIALS
    from c2c_search.setup.wishes import Wishes
    from c2c_search.setup.wishes import name_from

    refuse_to_overwrite(folder)
    files = data or []
    if data is None and not yes:
        named = _ask("JSONL file of your rows (empty: the built-in quiz)", "")
        files = [Path(named)] if named else []
    named_by = files[0].stem if files else folder.resolve().name
    wishes = Wishes(
        receiver=receiver or _asked("Receiver, the model that answers", RECEIVER, yes),
        sharer=sharer or _asked("Sharer, the model that speaks to it", SHARER, yes),
        train=files,
        validation=validation or (),
        test=test or (),
        study=study or name_from(_asked("Name of the study", name_from(named_by), yes)),
        trials=trials or _number(_asked("Trials", str(TRIALS), yes), "Trials"),
        steps=steps,
    )
    written = write_first_files(folder, wishes)
    if json:
        _print_json(written, wishes)
    else:
        _print(written, wishes)


def _asked(question: str, suggested: str, yes: bool) -> str:
    return suggested if yes else _ask(question, suggested)


def _ask(question: str, suggested: str) -> str:
    """An answer, or what is suggested.

    Raises:
        ConfigError: There is nobody to answer.
    """
    try:
        answer = typer.prompt(question, default=suggested, show_default=bool(suggested), err=True)
    except typer.Abort as error:
        if not sys.stdin.isatty():
            raise ConfigError(
                "init asks for what its options leave out, and there is nobody to answer.",
                hint="Say --yes to take what is suggested.",
            ) from error
        raise
    return str(answer).strip()


def _number(text: str, what: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{what} must be a whole number from 1.", value=text)
    return int(text)


def _print_json(written: Written, wishes: Wishes) -> None:
    import json

    from c2c_search.setup.wishes import is_private
    from c2c_search.setup.wishes import steps_for

    content = {
        "space": str(written.space),
        "pipeline": str(written.pipeline),
        "study": wishes.study,
        "private": is_private(written.data),
        "trials": wishes.trials,
        "steps": steps_for(wishes, written.data),
        "splits": None if written.data is None else written.data.splits,
        "notices": [] if written.data is None else list(written.data.notices),
    }
    echo_json(json.dumps(content, indent=1))


def _print(written: Written, wishes: Wishes) -> None:
    import shlex

    from c2c_search.setup.wishes import is_private
    from c2c_search.setup.wishes import steps_for

    about = "the built-in quiz"
    if written.data is not None:
        splits = written.data.splits
        about = (
            f"{splits['train']:,} rows to train on, {splits['validation']:,} to compare trials "
            f"on, {splits['test']:,} to prove a champion on"
        )
        if is_private(written.data):
            about += "; the sharer alone reads their texts"
    steps = steps_for(wishes, written.data)
    echo(f"Written: {written.space}, {written.pipeline} ({about}; {steps:,} steps of a trial).")
    for notice in () if written.data is None else written.data.notices:
        echo(f"Note: {notice}")
    space = shlex.quote(str(written.space))
    echo("Next:")
    for command in (f"validate {space}", f"plan --space {space}", f"study --space {space}"):
        echo(f"  c2c-search {command}")
