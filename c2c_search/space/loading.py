"""A space file and the pipeline it names, read with every problem they have."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from c2c_search.config.document import Document
from c2c_search.config.document import Location
from c2c_search.config.document import is_file
from c2c_search.config.document import read
from c2c_search.config.foreign import refuse_foreign
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.pipeline import read_pipeline
from c2c_search.config.problems import in_order
from c2c_search.config.problems import strictly
from c2c_search.config.problems import validate
from c2c_search.config.problems import without_echoes
from c2c_search.errors import Problem
from c2c_search.models.pair import PairSpec
from c2c_search.models.sources import beside
from c2c_search.space.checks import check
from c2c_search.space.contexts import other_contexts
from c2c_search.space.declaration import SpaceFile


# Stand in for sections that cannot be read, so that the others are still checked.
_STAND_INS: dict[str, Any] = {
    "study": "unreadable",
    "pipeline": "unreadable",
    "pairs": {"unreadable": {"receiver": "path:unreadable", "sharer": "path:unreadable"}},
    "search": {"trials": 1_000_000, "pruner": "none"},
    "dimensions": {},
}


def validate_file(path: Path) -> list[Problem]:
    """Every problem of a space file and of the pipeline it names; empty if a study can start."""
    return read_space(path)[2]


def read_space(path: Path) -> tuple[SpaceFile | None, Pipeline | None, list[Problem]]:
    """Read a space without raising; what cannot be read is None."""
    document = refuse_foreign(read(path))
    space, problems = validate(SpaceFile, document)
    if document.data is None:
        return None, None, problems
    pipeline, elsewhere = _pipeline(document, path.parent)
    if space is not None:
        problems += check(space, pipeline, document)
        if pipeline is not None:
            problems += other_contexts(space, pipeline.data, document)
    else:
        rest, left_out = _readable(document.data)
        problems += check(rest, pipeline, document, unreadable=left_out)
    problems = in_order(problems) + elsewhere
    if space is not None:
        space = space.model_copy(update={"pairs": _pairs_beside(space, path.parent)})
    return space, pipeline, without_echoes(document, problems)


def _pairs_beside(space: SpaceFile, folder: Path) -> dict[str, PairSpec]:
    """The pairs, their models found from anywhere: workers and champions have other folders."""
    return {
        name: PairSpec(**{role: beside(source, folder) for role, source in pair})
        for name, pair in space.pairs.items()
    }


def _pipeline(document: Document, folder: Path) -> tuple[Pipeline | None, list[Problem]]:
    named = document.data.get("pipeline")
    if not isinstance(named, str):
        return None, []
    path = Path(os.path.normpath(folder / named))
    if not is_file(path):
        rule = "The pipeline file must exist; its path is relative to the space file."
        return None, [document.problem(("pipeline",), rule, value=named)]
    return read_pipeline(path)


def _readable(data: dict[str, Any]) -> tuple[SpaceFile, list[tuple[str, str]]]:
    """The part of a space whose shape is right, and section and name of what was left out."""
    data = deepcopy(data)
    left_out = [] if "pairs" in data else _drop(data, ("pairs",))
    while True:
        try:
            return strictly(SpaceFile, {**_STAND_INS, **data}), left_out
        except ValidationError as error:
            for details in error.errors():
                left_out += _drop(data, details["loc"])


def _drop(data: dict[str, Any], location: Location) -> list[tuple[str, str]]:
    """Take the entry at ``location`` out of ``data``; what is left out of it, by name."""
    section, *path = location
    if section == "pairs":
        # Which pairs there are is unknown now, so nothing can be said about `pair`.
        data.pop("pairs", None)
        for other in ("dimensions", "fixed"):
            if isinstance(data.get(other), dict):
                data[other].pop("pair", None)
        return [("dimensions", "pair")]
    if section in ("dimensions", "fixed") and path:
        data[section].pop(path[0], None)
        return [(section, str(path[0]))]
    data.pop(str(section), None)
    return []
