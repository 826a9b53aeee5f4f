"""Options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated

import typer

from c2c_search.cli.echo import echo
from c2c_search.cli.verbosity import VERBOSITY
from c2c_search.errors import ConfigError
from c2c_search.host.files import check_folder


if TYPE_CHECKING:
    from c2c_search.space.schema import Space
    from c2c_search.tokenization.templates import RoleTemplates
    from c2c_search.tokenization.templates import Template


def _folder(root: Path) -> Path:
    check_folder("--root", root)
    return root


SpaceFile = Annotated[
    Path, typer.Option("--space", help="Space file, e.g. spaces/fuser.yaml.", show_default=False)
]
Root = Annotated[
    Path,
    typer.Option("--root", callback=_folder, help="Folder of all studies, runs and champions."),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database of trials that the study was given, instead of the file under the root.",
    ),
]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        help="MLflow server or database that the study records in.",
    ),
]

ROOT = Path("mlruns")
TEMPLATE = "plain|chat|receiver=chat,sharer=plain"


def announce(text: str, *, err: bool = False) -> None:
    """Say what begins, before imports and models that take seconds.

    Args:
        text: What begins.
        err: Whether on standard error, as the command's progress is.
    """
    if not VERBOSITY.quiet:
        typer.echo(f"{text} ...", err=err)


def tell_version(asked: str | None, found: str) -> None:
    """Say, on standard error, which version of a study its name alone means."""
    if asked is not None and asked != found and "@" in found:
        echo(f"{asked} means {found}, its newest version.", err=True)


def tell(text: str) -> None:
    """Say on standard error what begins, so that standard output holds the answer alone."""
    announce(text, err=True)


def tell_chats(space: Space) -> None:
    """Say which of the models at hand have no template for the chats that they are to read."""
    from c2c_search.models.chats import chat_notices_at_hand

    template = space.pipeline.data.template
    told = (
        notice
        for pair in space.pairs.values()
        for notice in chat_notices_at_hand(template, pair.receiver, pair.sharer)
    )
    for notice in dict.fromkeys(told):
        echo(notice)


def confirm(question: str) -> None:
    """Ask before something is removed; leave the program unless the answer is yes.

    Raises:
        ConfigError: There is nobody to answer.
    """
    try:
        if typer.confirm(question):
            return
    except typer.Abort as error:
        if not sys.stdin.isatty():
            raise ConfigError(
                "Removing is asked for first, and there is nobody to answer.",
                hint="Say --yes to remove without a question.",
            ) from error
        raise
    raise typer.Abort


def names(value: str | None, option: str) -> tuple[str, ...]:
    """What an option names, with commas between; nothing where it was left out.

    Raises:
        ConfigError: It was given, and names nothing.
    """
    found = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and not found:
        raise ConfigError(
            f"{option} must name something.", value=value, hint=f"Leave {option} out for all."
        )
    return found


def template_named(value: str | None) -> Template | RoleTemplates | None:
    """What ``--template`` names, for both models or for each; None where it was left out.

    Raises:
        ConfigError: It names none.
    """
    if value is None:
        return None
    from pydantic import TypeAdapter
    from pydantic import ValidationError

    from c2c_search.tokenization.templates import PairTemplate

    roles = [part.partition("=") for part in value.split(",")]
    told_apart = {role.strip(): template.strip() for role, _, template in roles}
    each_once = "=" in value and len(told_apart) == len(roles)
    given: str | dict[str, str] = told_apart if each_once else value
    try:
        found: Template | RoleTemplates = TypeAdapter(PairTemplate).validate_python(given)
    except ValidationError as error:
        raise ConfigError(
            "--template must be plain or chat, or name one for each role.",
            value=value,
            hint="For example --template receiver=chat,sharer=plain.",
        ) from error
    return found
