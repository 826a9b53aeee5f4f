"""What commands print when it is not a table."""

from __future__ import annotations

import re

import typer

from c2c_search.errors import shown


# In JSON those of C0 are spelled out by every writer.
_OBEYED_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def echo(text: str, *, err: bool = False) -> None:
    """Print text; control characters in it are spelled out (`errors.shown`).

    Args:
        text: A line, or several.
        err: On standard error.
    """
    typer.echo(shown(text), err=err)


def echo_json(text: str) -> None:
    """Print JSON, with the same characters spelled as JSON spells them."""
    typer.echo(_OBEYED_IN_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text))
