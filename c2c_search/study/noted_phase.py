"""What the driver of a study is at, noted for who asks from another shell."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from c2c_search.host.files import write_text
from c2c_search.study.layout import StudyFiles


if TYPE_CHECKING:
    from c2c_search.report.state import Doing


class Phase(BaseModel):
    """A phase of a study, as its live view names it.

    Args:
        stage: In one word: ``prepare``, ``controls``, ``search``, ``test``, ``package``, ...
        message: What of, e.g. a finalist's twin.
        done: How much of it.
        total: How much there is; 0 when unknown.
        noted: When it was so, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    message: str
    done: int
    total: int
    noted: float


def note_phase(files: StudyFiles, doing: Doing) -> None:
    """Note what the driver is at, where that can be; a study does not end for a note."""
    found = Phase(
        stage=doing.stage,
        message=doing.message,
        done=doing.done,
        total=doing.total,
        noted=time.time(),
    )
    with suppress(OSError):
        write_text(files.phase, found.model_dump_json())


def noted_phase(files: StudyFiles) -> Phase | None:
    """What the driver that leads noted last; None where there is no note that can be read."""
    try:
        return Phase.model_validate_json(files.phase.read_bytes())
    except (OSError, ValidationError):
        return None
