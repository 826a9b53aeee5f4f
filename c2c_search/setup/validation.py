"""What `validate` finds, for a machine to read: every problem with its file, line and column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import Problem
from c2c_search.errors import shown
from c2c_search.space.loading import read_space
from c2c_search.space.schema import Space
from c2c_search.study.readiness import check_data
from c2c_search.study.readiness import unready


_WHERE = re.compile(r"(?P<file>.*?)(?::(?P<line>\d+):(?P<column>\d+))?(?: (?P<key>\S.*))?", re.S)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FoundProblem(_Frozen):
    """One problem.

    Args:
        file: In which it is.
        line: From 1; None where it is of the file as a whole.
        column: From 1.
        key: Dotted, of what is wrong; empty for the file as a whole.
        message: The rule, what was found, and the way out.
    """

    file: str
    line: int | None
    column: int | None
    key: str
    message: str


class Validation(_Frozen):
    """What was found in a space and all that belongs to it.

    Args:
        valid: Whether a study can start.
        study: Its name; None where the file cannot be read.
        trials: Of the study.
        steps: Of each trial.
        problems: From the top of the space file to the bottom, then the pipeline's, then others.
    """

    valid: bool
    study: str | None
    trials: int | None
    steps: int | None
    problems: tuple[FoundProblem, ...]


def validation(file: Path, *, rows_shown: bool = True) -> Validation:
    """Check a space, its pipeline, its data and its models.

    Args:
        file: The space file.
        rows_shown: Whether problems of data files quote the rows that have them.
    """
    space, pipeline, problems = read_space(file)
    found = [_found(problem) for problem in problems]
    if not problems:
        loaded = Space.load(file)
        others = [_found(problem) for problem in unready(loaded, file)]
        found += others if rows_shown else [_without_rows(each) for each in others]
        found += _of_data(loaded, file, rows_shown=rows_shown)
    return Validation(
        valid=not found,
        study=space.study if space else None,
        trials=space.search.trials if space else None,
        steps=pipeline.training.steps if pipeline else None,
        problems=tuple(found),
    )


def _of_data(space: Space, file: Path, *, rows_shown: bool) -> Iterator[FoundProblem]:
    try:
        check_data(space)
    except (DataError, ConfigError) as error:
        told = str(error) if rows_shown else _UNSHOWN
        yield FoundProblem(
            file=str(file), line=None, column=None, key="pipeline.data", message=told
        )


_UNSHOWN = (
    "The data files do not fit a study. Their rows are not shown here, since some are the test "
    "split's: `c2c-search validate` tells a person which."
)


def _without_rows(found: FoundProblem) -> FoundProblem:
    """A problem of a task that is a local file, perhaps the test split's, without its rows."""
    quotes = "champion.harmless_on" in found.key
    return found.model_copy(update={"message": _UNSHOWN}) if quotes else found


def _found(problem: Problem) -> FoundProblem:
    match = _WHERE.fullmatch(problem.where)
    assert match is not None
    message = str(problem).removeprefix(f"{problem.where}: ")
    line, column = match["line"], match["column"]
    return FoundProblem(
        file=match["file"],
        line=int(line) if line else None,
        column=int(column) if column else None,
        key=match["key"] or "",
        message=shown(message),
    )
