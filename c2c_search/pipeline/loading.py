"""Pipeline room: a pipeline file, read with every problem it has."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from c2c_search.data.quiz import group_names
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.pipeline.document import Document
from c2c_search.pipeline.document import read
from c2c_search.pipeline.problems import in_order
from c2c_search.pipeline.problems import suggestion
from c2c_search.pipeline.problems import validate
from c2c_search.pipeline.schema import Pipeline


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline; its data files are named relative to it and come back absolute.

    Raises:
        ConfigError: With every problem of the file, one line each.
    """
    pipeline, problems = read_pipeline(path)
    if pipeline is None or problems:
        raise ConfigError.collect(problems)
    return pipeline


def read_pipeline(path: Path) -> tuple[Pipeline | None, list[Problem]]:
    """Read a pipeline without raising; it is None when its shape is wrong."""
    document = read(path)
    pipeline, problems = validate(Pipeline, document)
    problems = in_order([*problems, *_missing_data(document, path.parent)])
    if pipeline is None:
        return None, problems
    files = {
        split: tuple(str((path.parent / name).resolve()) for name in names)
        for split, names in pipeline.data.files
    }
    data = pipeline.data.model_copy(update={"files": pipeline.data.files.model_copy(update=files)})
    return pipeline.model_copy(update={"data": data}), problems


def _missing_data(document: Document, folder: Path) -> Iterator[Problem]:
    """Data files and quiz groups that the pipeline names and that are not there."""
    try:
        data = DataConfig.model_validate((document.data or {}).get("data") or {})
    except ValidationError:
        return
    for split in SPLITS:
        for name in getattr(data.files, split):
            if not (folder / name).is_file():
                rule = "A data file must exist; its path is relative to the pipeline file."
                yield document.problem(("data", "files", split), rule, value=name)
        for pattern in getattr(data.groups, split):
            if not fnmatch.filter(group_names(), pattern):
                rule = "A pattern must match a group of the quiz."
                hint = suggestion(pattern, group_names())
                yield document.problem(("data", "groups", split), rule, value=pattern, hint=hint)
