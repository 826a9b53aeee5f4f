"""What ``--help`` shows, and how it is found without loading what reads options."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import typer
from typer.core import TyperGroup


if TYPE_CHECKING:
    from typer._click import Context


class Commands(TyperGroup):
    """All commands; of a line that only asks for the help of one, no option is read.

    To read the first option, typer loads pydantic: a third of what the help takes.
    """

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """What is left of a line after the options of the program."""
        if args and args[-1] in ctx.help_option_names:
            context = ctx
            for name in args[:-1]:
                within = getattr(context.command, "commands", {})
                if name not in within:
                    break
                command = within[name]
                context = command.context_class(command, info_name=name, parent=context)
            else:
                typer.echo(context.get_help(), color=ctx.color)
                ctx.exit()
        return super().parse_args(ctx, args)


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
