"""Who drives a study now, as its stores tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Literal

from c2c_search.host import process
from c2c_search.study import storage
from c2c_search.study.drivers import DRIVER
from c2c_search.study.drivers import living_drivers
from c2c_search.study.layout import StudyFiles


if TYPE_CHECKING:
    from optuna import Study

Driver = Literal["running", "stopping", "elsewhere", "none"]


def who_drives(files: StudyFiles, study: Study) -> tuple[Driver, int | None, int | None]:
    """Who leads, its process here, and how many take part, as far as the store tells."""
    driver, pid = _driver(files)
    database = storage.database_of(study)
    if not storage.is_shared(database):
        return driver, pid, None
    leads, taking_part = living_drivers(database.engine, study.study_name)
    if not leads:
        # Of those that take part one leads in a moment.
        return ("elsewhere" if taking_part else "none"), None, taking_part
    if driver == "none":  # its note is under another root, or of a leader before
        driver = "elsewhere"
    return driver, pid, taking_part


def _driver(files: StudyFiles) -> tuple[Driver, int | None]:
    note = files.folder / DRIVER
    owner = note.read_text(encoding="utf-8").strip() if note.exists() else ""
    gone = process.is_gone(owner) if owner else True
    if gone:
        return "none", None
    if gone is None:
        return "elsewhere", None
    return "stopping" if files.stop.exists() else "running", process.pid_of(owner)
