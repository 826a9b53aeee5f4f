"""Signals that end a study in order, and a second one that ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


EXIT_CODE = 130
_asked: signal.Signals | None = None
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` at the first signal; leave the process at the second.

    ``SystemExit``, which handlers usually raise for SIGTERM, would leave Optuna's trial and
    MLflow's run in state running. The worker dies with this process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _asked
    before = {number: signal.signal(number, _first) for number in _SIGNALS}
    try:
        yield
    finally:
        _asked = None
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise the `KeyboardInterrupt` of an earlier signal again.

    Python throws away what a handler raises in the middle of a weak reference's callback or of a
    ``__del__``; work that goes on nevertheless asks here.
    """
    if _asked is not None:
        raise KeyboardInterrupt(_asked.name)


def _first(number: int, frame: FrameType | None) -> None:
    global _asked
    for each in _SIGNALS:
        signal.signal(each, _second)
    _asked = signal.Signals(number)
    check()


def _second(number: int, frame: FrameType | None) -> None:
    os._exit(EXIT_CODE)
