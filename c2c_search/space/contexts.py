"""Data whose sharer reads something of its own, in a space whose fusers could not use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from c2c_search.config.document import Document
from c2c_search.config.document import Location
from c2c_search.config.document import is_file
from c2c_search.data.schema import WITH_GUARD
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.presets import PRESETS
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import Declaration
from c2c_search.space.dimensions import Value


_NAME = "fuser.injection"
_LINES = 1000  # looked at in each file; a worker that has read all of them refuses late


def other_contexts(space: Declaration, data: DataConfig, document: Document) -> Iterator[Problem]:
    """The problem, if any, of rows with a ``sharer_context`` and trials that cannot read them.

    Where the receiver's tokens have no counterparts in what the sharer reads, its cache can only
    stand beside the receiver's.
    """
    others = [value for value in injections(space) if not _stands_beside(value)]
    if not others or (row := _first_context(data)) is None:
        return
    given = {*space.dimensions, *space.fixed}
    name = PRESET if PRESET in given and _NAME not in given else _NAME
    at: Location = ("dimensions" if name in space.dimensions else "fixed", name)
    yield document.problem(
        at,
        f"Rows with a sharer_context ({row}) need {_NAME} append or side in every trial.",
        value=others,
        hint=f"Set `{_NAME}: append` (or side) under `fixed`, or drop sharer_context from the "
        "data.",
    )


def injections(space: Declaration) -> list[Value]:
    """Every value that trials may have; where it is neither searched nor fixed, the default."""
    dimension = space.dimensions.get(_NAME)
    defaults = [space.fixed[_NAME]] if _NAME in space.fixed else [*_of_presets(space)]
    if dimension is None:
        return defaults
    return [*dimension.extremes, *(defaults if dimension.when else [])]


def _stands_beside(value: Value) -> bool:
    try:
        return INJECTIONS[str(value)].stands_beside
    except ConfigError:  # told of the dimension
        return True


def _of_presets(space: Declaration) -> Iterator[Value]:
    """What the methods that are searched or fixed set, or else the default."""
    dimension = space.dimensions.get(PRESET)
    names = (space.fixed.get(PRESET),) if dimension is None else dimension.extremes
    for name in (*names, *([None] if dimension is not None and dimension.when else [])):
        named = PRESETS.get(str(name))  # another name is told of the dimension
        default = FuserConfig().injection
        yield default if named is None else named.fuser.get("injection", default)


def _first_context(data: DataConfig) -> str | None:
    """The first row with a ``sharer_context``: its file and line, or where all have one."""
    if data.source == "private_quiz":
        return "source private_quiz"
    for split in WITH_GUARD:
        for name in filter(_is_file, getattr(data.files, split)):  # others: told of the pipeline
            try:
                with Path(name).open("rb") as file:
                    for number, line in enumerate(islice(file, _LINES), start=1):
                        if b'"sharer_context"' in line and _has_context(line):
                            return f"{name}:{number}"
            except (OSError, ValueError):  # told of the pipeline
                continue
    return None


def _is_file(name: str) -> bool:
    return is_file(Path(name))


def _has_context(line: bytes) -> bool:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # told when all rows are read
        return False
    return isinstance(row, dict) and row.get("sharer_context") is not None
