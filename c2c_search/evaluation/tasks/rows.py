"""Rows of a task's data set, from the hub or from a local copy of its files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2c_search.errors import DataError
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import Task


FORMATS = (".jsonl", ".json", ".parquet", ".csv")


@dataclass(frozen=True)
class Found:
    """A row in the hub's columns.

    Args:
        where: For messages about it: a file and line, or the data set and its number.
        id: For an item without an id of its own.
        row: The columns.
    """

    where: str
    id: str
    row: HubRow


def numbered(task: Task, part: str, rows: Iterable[HubRow]) -> list[Found]:
    """Rows that are in no file of their own, by their number from 1."""
    return [
        Found(f"{task.name}, {part} {number}", f"{task.name}/{part}/{number}", row)
        for number, row in enumerate(rows, start=1)
    ]


def hub_rows(task: Task, hub: Hub, split: str, source: str | None = None) -> list[Found]:
    """Rows of a split, configuration after configuration.

    Args:
        task: Whose rows.
        hub: Where they are published.
        split: Which of the hub's splits.
        source: A local copy of the whole repository, to be read in place of the hub's.

    Raises:
        DataError: Neither can be read; says how to give a local copy.
    """
    if not isinstance(hub.configuration, tuple):
        return numbered(task, split, _load(task, hub, hub.configuration, split, source))
    found = []
    for name in hub.configuration:
        rows = _load(task, hub, name, split, source)
        named = ({**row, "configuration": name} for row in rows)
        found += numbered(task, f"{name}/{split}", named)
    return found


def _load(
    task: Task, hub: Hub, configuration: str | None, split: str, source: str | None
) -> Sequence[HubRow]:
    import datasets

    path = source or hub.repository
    try:
        rows: Sequence[HubRow] = datasets.load_dataset(path, configuration, split=split)
    # Whatever goes wrong on the way to the hub (network, login, names) has the same way out.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        of = f" ({configuration})" if configuration else ""
        raise DataError(
            f"{task.name}: split {split} of {path}{of} must be readable. "
            f"{type(error).__name__}: {reason}",
            hint=f"Without the hub, give a local copy as {task.name}=PATH, a file or a folder: "
            f"`hf download --repo-type dataset {hub.repository} --local-dir FOLDER` makes one "
            "elsewhere. A gated data set needs its terms accepted and `hf auth login`.",
        ) from error
    return rows


def is_copy(hub: Hub | None, path: Path) -> bool:
    """Whether a local file is in the hub's columns, by its first row.

    Raises:
        DataError: Its format can only hold those, and it does not.
    """
    own = path.suffix == ".jsonl"
    try:
        first = next((row for _, row in _read(path)), None)
    except DataError:
        if own:
            return False
        raise
    columns = set(first) if isinstance(first, dict) else set()
    if hub is not None and hub.columns <= columns:
        return True
    if not own:
        needed = "its hub columns" if hub is None else ", ".join(sorted(hub.columns))
        raise DataError(
            f"{path}: a {path.suffix} file must have the columns {needed}.",
            value=sorted(columns),
            hint="The workbench's own rows are read from .jsonl files alone.",
        )
    return False


def copied_rows(task: Task, path: Path) -> list[Found]:
    """Rows of a local file in the hub's columns.

    Raises:
        DataError: The file cannot be read, or holds something else than rows.
    """
    found = []
    for number, row in _read(path):
        where = f"{path}:{number}" if path.suffix == ".jsonl" else f"{path}, row {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: a row must be an object with columns.", value=row)
        found.append(Found(where, f"{task.name}/{path.stem}/{number}", row))
    return found


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    """Lines or rows with their numbers, from 1; what a row holds is not looked at."""
    if path.suffix not in FORMATS:
        raise DataError(f"A data file must be one of {', '.join(FORMATS)}.", value=str(path))
    try:
        if path.suffix == ".parquet":
            yield from enumerate(_parquet(path), start=1)
        elif path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                yield from enumerate(csv.DictReader(lines), start=1)
        elif path.suffix == ".json":
            yield from enumerate(_array(path), start=1)
        else:
            yield from _lines(path)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} must be readable as {path.suffix[1:]}. {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    # Bytes, because text mode also ends lines where a JSON string may hold a line separator.
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    rule = f"{path}:{number}: A line must be one JSON object in UTF-8."
                    raise DataError(rule, value=line[:60], hint=f"{error}.") from error


def _array(path: Path) -> list[Any]:
    found = json.loads(path.read_text(encoding="utf-8-sig"))
    if not isinstance(found, list):
        raise ValueError("It must be one list of rows.")
    return found


def _parquet(path: Path) -> list[dict[str, Any]]:
    # It comes with `datasets`, and reads a file without a copy in the cache.
    from pyarrow import parquet

    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows
