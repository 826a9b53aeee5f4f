"""Paths that begin in somebody's home folder, where there may be none."""

from __future__ import annotations

from pathlib import Path

from c2c_search.errors import ConfigError


def expanded(path: Path) -> Path:
    """The path with ``~`` or ``~NAME`` written out.

    Raises:
        ConfigError: There is no such home folder; users of containers often have none.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(
            "A path with ~ needs a home folder.",
            value=str(path),
            hint="Set HOME, or write the path out.",
        ) from error
