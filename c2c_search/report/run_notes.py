"""What the page of a run says of it, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping


def note(about: str, values: Mapping[str, object] | None = None) -> str:
    """A paragraph and, below it, a table of values by name.

    Args:
        about: In Markdown; what is foreign in it has been through `escaped`.
        values: Shown as they are; floats with four digits.
    """
    lines = [about, ""]
    if values:
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| {escaped(name)} | {escaped(_text(value))} |" for name, value in values.items()
        ]
        lines.append("")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
