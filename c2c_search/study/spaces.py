"""Study room: the space that a study searches, checked before anything is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import SourceError
from c2c_search.pair.sources import parse_source
from c2c_search.space.schema import Space


# What may change between two starts of a study; the rest makes its trials comparable.
_MAY_CHANGE = ("study", "enqueue", "limits")


def load_space(path: Path, trials: int | None = None) -> Space:
    """Read a space with its pipeline and look at the sources of its models.

    Args:
        path: The space file.
        trials: Budget of trials, instead of the space's own.

    Raises:
        ConfigError: With every problem.
    """
    space = Space.load(path)
    problems = [
        Problem(f"{path} pairs.{name}.{role}", str(error))
        for name, pair in space.pairs.items()
        for role in ("receiver", "sharer")
        if (error := _wrong_source(getattr(pair, role))) is not None
    ]
    if problems:
        raise ConfigError.collect(problems)
    if trials is not None:
        search = space.search.model_copy(update={"trials": trials})
        space = space.model_copy(update={"search": search})
    return space


def identity(space: Space) -> dict[str, Any]:
    """What makes a study's trials comparable, to show a difference where the hashes differ."""
    content = space.model_dump(mode="json", by_alias=True, exclude=set(_MAY_CHANGE))
    content["search"] = {"seed": space.search.seed}
    for part in ("name", "champion"):
        del content["pipeline"][part]
    return content


def _wrong_source(source: str) -> SourceError | None:
    try:
        parse_source(source)
    except SourceError as error:
        return error
    return None
