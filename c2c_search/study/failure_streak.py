"""Failures of trials in a row, which are no fault of the trials."""

from __future__ import annotations

from c2c_search.errors import StudyStoppedError
from c2c_search.training.protocol import Failure


IN_A_ROW = 3  # failures of one class that end the study


class FailureStreak:
    """Stops the study once trials keep failing for the same reason.

    Diverged and out-of-memory trials teach the search something; three in a row teach that the
    space, not the trial, is wrong.
    """

    def __init__(self) -> None:
        self._failure: Failure | None = None
        self._count = 0

    def failed(self, failure: Failure, message: str) -> None:
        """A trial failed for good.

        Raises:
            StudyStoppedError: It is the third of its class in a row.
        """
        self._count = self._count + 1 if failure == self._failure else 1
        self._failure = failure
        if self._count >= IN_A_ROW:
            raise StudyStoppedError(
                f"{IN_A_ROW} trials in a row failed in the same way ({failure}); the last one: "
                f"{message.rstrip('.')}.",
                hint="Finished trials are kept: remove the cause and run the same command again.",
            )

    def succeeded(self) -> None:
        """A trial ended in order, complete or pruned."""
        self._failure, self._count = None, 0
