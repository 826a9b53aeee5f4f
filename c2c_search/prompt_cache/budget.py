"""How many bytes all prompt caches together may take."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from c2c_search.errors import ConfigError


VARIABLE = "C2C_SEARCH_CACHE_BUDGET"
"""Overrides what a pipeline says: it belongs to the machine, and so does the disk."""

LEFT_TO_OTHERS = 0.25
"""The share of a budget that prompts which are learned from leave where they do not fit."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_MARGIN = 128 * 2**20  # left free on the disk, whatever the budget


def read_size(text: str, what: str = "A size") -> int:
    """Bytes from ``20GB``, ``1.5 TB``, ``512MiB`` or a plain number.

    Args:
        text: The size.
        what: What an error calls it.

    Raises:
        ConfigError: It is none of these.
    """
    found = _SIZE.fullmatch(text)
    if found is None or (found[3] and not found[2]):
        raise ConfigError(
            f"{what} must be a number with a unit: kB, MB, GB, TB, KiB, MiB, GiB or TiB.",
            value=text,
            hint="For example 20GB.",
        )
    units = _BINARY if found[3] else _UNITS
    return int(float(found[1]) * units[found[2].lower()])


def size_text(size: float) -> str:
    """Bytes for people, e.g. ``1.3 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def budget(directory: Path, given: int | None, taken: int) -> int:
    """Bytes that all prompt caches in a folder may take.

    The environment says (`VARIABLE`), or else ``given``, or else half of what the disk could
    hold: what is free and what the caches take already. Never more than the disk has.

    Args:
        directory: The folder; it need not exist.
        given: The pipeline's.
        taken: Bytes that the caches take now.

    Raises:
        ConfigError: The variable is not a size.
    """
    room = taken + _free(directory)
    if text := os.environ.get(VARIABLE):
        wanted = read_size(text, f"The environment variable {VARIABLE}")
    else:
        wanted = room // 2 if given is None else given
    return min(wanted, max(0, room - _MARGIN))


def _free(directory: Path) -> int:
    folder = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    return shutil.disk_usage(folder).free
