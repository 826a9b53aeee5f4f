"""What somebody wants to study, and what follows from their rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from c2c_search.setup.data_check import DataReport
from c2c_search.space.declaration import LONGEST_NAME


RECEIVER, SHARER = "pypi:smollm2-135m-instruct", "pypi:gemma-3-270m"
TRIALS = 6

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_PASSES = 8  # over the training rows, about; few rows are learned by heart sooner
_FEWEST, _MOST = 100, 400  # steps of a trial that hears what its receiver reads too
_UNTIL_IT_SPEAKS = 600  # steps of one that alone has read what is asked
BATCH = 8  # examples of a step


@dataclass(frozen=True)
class Wishes:
    """What somebody wants to study.

    Args:
        receiver: Source of the model that answers.
        sharer: Of the one that speaks.
        train: JSONL files to train on; none: the built-in quiz.
        validation: To compare trials on; held out of train if none.
        test: To prove a champion on; held out of train if none.
        study: Its name.
        trials: How many.
        steps: Of a trial; what the rows suggest if None.
    """

    receiver: str = RECEIVER
    sharer: str = SHARER
    train: Sequence[Path] = ()
    validation: Sequence[Path] = ()
    test: Sequence[Path] = ()
    study: str = "first"
    trials: int = TRIALS
    steps: int | None = None

    @property
    def files(self) -> dict[str, Sequence[Path]]:
        """Data files of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def name_from(text: str) -> str:
    """A study's name from a folder's or a file's."""
    return _NO_NAME.sub("-", text).strip("-._")[:LONGEST_NAME] or "first"


def is_private(data: DataReport | None) -> bool:
    """Whether sharers read what receivers do not."""
    return data is not None and any(kind.startswith("private") for kind in data.kinds)


def steps_for(wishes: Wishes, data: DataReport | None) -> int:
    """Optimizer steps of a trial: what was wished, or what suits the rows."""
    if wishes.steps is not None:
        return wishes.steps
    if data is None:
        return 200
    if is_private(data):
        return _UNTIL_IT_SPEAKS
    rounded = round(_PASSES * data.splits["train"] / BATCH, -1)
    return max(_FEWEST, min(_MOST, int(rounded)))
