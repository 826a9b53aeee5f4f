"""Room on the disk before a trial begins, so that none is cut short by its own checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from c2c_search.errors import StoreError
from c2c_search.host.environment import number
from c2c_search.study import resume
from c2c_search.study.layout import StudyFiles
from c2c_search.training.protocol import CHECKPOINTS


if TYPE_CHECKING:
    from optuna import Study

FREE_VARIABLE = "C2C_SEARCH_FREE_GB"
FREE_GB = 1.0


def make_room(files: StudyFiles, study: Study) -> None:
    """See that the disk has the least room that a trial may begin with.

    Where it has not, the checkpoints of trials that failed for good are removed: nothing goes on
    from them unless somebody asks for it.

    Raises:
        StoreError: It has less all the same.
    """
    floor = least_free()
    if _free(files.folder) >= floor:
        return
    for name in sorted(_lost(study)):
        shutil.rmtree(files.trial(name) / CHECKPOINTS, ignore_errors=True)
    if (free := _free(files.folder)) < floor:
        raise StoreError(
            f"A trial begins only with {floor / 1e9:g} GB free on the disk.",
            value=f"{free / 1e9:.2f} GB in {files.folder}",
            hint=f"Free some and run the same command again, or set {FREE_VARIABLE} lower.",
        )


def least_free() -> float:
    """Bytes that must be free when a trial begins, from the environment.

    Raises:
        ConfigError: The environment names no number.
    """
    gigabytes = number(
        FREE_VARIABLE,
        FREE_GB,
        holds=lambda gigabytes: gigabytes >= 0,
        rule="a number of gigabytes from 0",
        hint=f"Unset it for {FREE_GB:g}.",
    )
    return gigabytes * 1e9


def _lost(study: Study) -> set[str]:
    """Hashes of trials that failed for good, and that no other trial shares."""
    hashes: dict[bool, set[str]] = {True: set(), False: set()}
    for trial in study.get_trials(deepcopy=False):
        if (name := trial.user_attrs.get(resume.HASH)) is not None:
            hashes[resume.FAILURE in trial.user_attrs].add(name)
    return hashes[True] - hashes[False]


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
