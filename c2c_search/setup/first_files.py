"""The first space and pipeline for one's own models and data: checked, then written."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from pydantic import ValidationError

from c2c_search.config.problems import explain
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import SourceError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import write_text
from c2c_search.models.at_hand import config_at_hand
from c2c_search.models.geometry import cache_shape
from c2c_search.setup.data_check import DataReport
from c2c_search.setup.data_check import check_data
from c2c_search.setup.data_check import files_of
from c2c_search.setup.first_texts import PIPELINE
from c2c_search.setup.first_texts import SCHEMAS
from c2c_search.setup.first_texts import SPACE
from c2c_search.setup.first_texts import pipeline_text
from c2c_search.setup.first_texts import space_text
from c2c_search.setup.wishes import Wishes
from c2c_search.space.declaration import Name
from c2c_search.space.json_schema import written
from c2c_search.space.schema import Space
from c2c_search.study.readiness import check_ready


_FLAGS = {"pairs.pair.receiver": "--receiver", "pairs.pair.sharer": "--sharer"}


@dataclass(frozen=True)
class Written:
    """What was written, and what is known of the data.

    Args:
        space: The space file.
        pipeline: The pipeline file.
        data: What the data files hold; None for the built-in quiz.
    """

    space: Path
    pipeline: Path
    data: DataReport | None


def refuse_to_overwrite(folder: Path) -> None:
    """Refuse a folder that has files of these names.

    Raises:
        ConfigError: It has.
    """
    if there := [str(path) for path in (folder / SPACE, folder / PIPELINE) if path.exists()]:
        raise ConfigError(
            "init never writes over a file.",
            value=there[0] if len(there) == 1 else there,
            hint="Name another folder, or remove it first.",
        )


def write_first_files(folder: Path, wishes: Wishes) -> Written:
    """Write a space, a pipeline and their schemas, checked as `validate` checks them.

    Args:
        folder: Where; it is made if it must be.
        wishes: What is studied.

    Raises:
        ConfigError: Files of these names are there already, or a model or a name cannot be: it
            names the flag, since the files are not there to be looked at.
        DataError: The data does not fit.
    """
    refuse_to_overwrite(folder)
    space, pipeline = folder / SPACE, folder / PIPELINE
    _check_name(wishes.study)
    _check_source("--receiver", wishes.receiver)
    _check_source("--sharer", wishes.sharer)
    data = _checked(wishes)
    texts = {
        pipeline: pipeline_text(folder, wishes, data),
        space: space_text(folder, wishes, data),
    }
    schemas = {
        folder / SCHEMAS / "space.json": written("space"),
        folder / SCHEMAS / "pipeline.json": written("pipeline"),
    }
    made: list[Path] = []
    try:
        with disk_errors(folder):
            for path, text in texts.items():
                made.append(path)
                write_text(path, text)
        check_ready(Space.load(space), space)
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, ConfigError) and error.problems:
            raise ConfigError.collect(map(_by_flag, error.problems)) from error
        raise
    with disk_errors(folder):
        for path, text in schemas.items():
            write_text(path, text)
    return Written(space, pipeline, data)


def _by_flag(problem: Problem) -> Problem:
    """The same, named by the flag that it came from where there is one."""
    flag = _FLAGS.get(problem.where.rpartition(" ")[2])
    return problem if flag is None else replace(problem, where=flag)


def _check_source(flag: str, source: str) -> None:
    try:
        config = config_at_hand(source)
        if config is not None:
            cache_shape(config)
    except (ConfigError, SourceError) as error:
        raise ConfigError(f"{flag}: {error.rule}", value=source, hint=error.hint) from error


def _check_name(study: str) -> None:
    try:
        TypeAdapter(Name).validate_python(study)
    except ValidationError as error:
        rule, hint = explain(error.errors()[0])
        raise ConfigError(f"--study: {rule}", value=study, hint=hint) from None


def _checked(wishes: Wishes) -> DataReport | None:
    if not wishes.train:
        if wishes.validation or wishes.test:
            raise ConfigError("Data to validate or test on needs data to train on: --data.")
        return None
    files = files_of(*([str(path) for path in of_split] for of_split in wishes.files.values()))
    found = check_data(files)
    if found.problems:
        raise ConfigError(
            "A study needs multiple-choice rows to compare and prove fusers on. "
            + " ".join(found.problems),
            hint="`c2c-search data check` tells more; docs/evaluation.md has the kinds of rows.",
        )
    return found
