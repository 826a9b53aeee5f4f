"""What ``--help`` shows of a docstring: prose that the terminal folds, and examples as written."""

from __future__ import annotations

import inspect

import typer


def unfold(app: typer.Typer) -> None:
    """Have every command of an application, and of those in it, shown by `prose`."""
    for command in app.registered_commands:
        command.help = prose(command.callback.__doc__ if command.callback else None)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            unfold(group.typer_instance)
    if (own := app.registered_callback) is not None and own.callback and own.callback.__doc__:
        own.help = prose(own.callback.__doc__)


def prose(docstring: str | None) -> str:
    """A docstring whose paragraphs are lines; what is indented stays as it is."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(
        text if text.startswith(" ") else text.replace("\n", " ") for text in paragraphs
    )
