"""Trying again after failures of the worker that may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator

from c2c_search.errors import C2CError
from c2c_search.errors import StudyStoppedError
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Failure
from c2c_search.training.protocol import Step


BACK_OFF: dict[Failure, tuple[float, ...]] = {
    "transient": (5.0, 20.0, 60.0),
    "unknown": (5.0,),
}
"""Seconds before each new attempt after a failure of a class; others are not tried again.

A training that has got further than in any attempt before has all of them again: however often
its worker is killed, it comes to its end.
"""


def attempt(
    request: Callable[[], Iterator[Event]],
    on_event: Callable[[Event], None],
    *,
    on_retry: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Event:
    """Send a request to the worker until it ends, trying again as `BACK_OFF` says.

    Args:
        request: Starts the request and yields its events; a later attempt goes on from the
            checkpoint of the one before.
        on_event: Called with every event but `Failed`.
        on_retry: Told why an attempt is repeated and when.
        sleep: Waits that many seconds.

    Returns:
        The last event: what was asked for, or `Failed`.
    """
    pauses, furthest = _pauses(), 0
    while True:
        last: Event = Failed(failure="transient", message="the worker ended without an answer")
        for last in request():
            if not isinstance(last, Failed):
                on_event(last)
            if isinstance(last, Step) and last.step > furthest:
                pauses, furthest = _pauses(), last.step
        if not isinstance(last, Failed):
            return last
        pause = next(pauses.get(last.failure, iter(())), None)
        if pause is None:
            return last
        on_retry(f"{last.message}; trying again in {pause:.0f} s")
        sleep(pause)


def _pauses() -> dict[Failure, Iterator[float]]:
    return {failure: iter(seconds) for failure, seconds in BACK_OFF.items()}


def error(failed: Failed, doing: str) -> C2CError:
    """The error that ends the study where a failure leaves nothing else to try."""
    text = f"{doing}: {failed.message}"
    stopped = failed.failure == "transient" or failed.exit_code != 2
    return StudyStoppedError(text) if stopped else C2CError(text)
