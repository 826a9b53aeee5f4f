"""Turns of a driver's threads: each waits for its own worker, all else is one at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Set
from contextlib import contextmanager
from typing import Self

from c2c_search.host import signals
from c2c_search.training.protocol import Event


_SLICE_SECONDS = 1.0  # of a pause, after which it is asked whether the study goes on


class Turns:
    """Lets several threads do a driver's work one at a time.

    A thread that entered has the turn except while it waits for its worker: what is told to
    Optuna, MLflow and the view needs no other lock. A thread that has not entered, as the only
    one of a study with one worker, does everything here without waiting for anybody.
    """

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._holder: int | None = None
        self._busy: set[str] = set()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def end(self) -> None:
        """From any thread, have every thread raise ``KeyboardInterrupt`` where it next asks."""
        self._ended = True

    def check(self) -> None:
        """Raise ``KeyboardInterrupt`` if a signal came, or another thread ended the study."""
        signals.check()
        if self._ended:
            raise KeyboardInterrupt("another worker's end")

    def __enter__(self) -> Self:
        self._free.acquire()
        self._holder = threading.get_ident()
        return self

    def __exit__(self, *error: object) -> None:
        self._holder = None
        self._free.release()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let others have the turn within the block."""
        if self._holder != threading.get_ident():
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        """A worker's events, each waited for out of turn."""
        while True:
            self.check()
            with self.waiting():
                event = next(events, None)
            self.check()
            if event is None:
                return
            yield event

    def pause(self, seconds: float, sleep: Callable[[float], None]) -> None:
        """Sleep out of turn."""
        while seconds > 0:
            self.check()
            with self.waiting():
                sleep(min(seconds, _SLICE_SECONDS))
            seconds -= _SLICE_SECONDS
        self.check()

    @contextmanager
    def sole(self, keys: Set[str]) -> Iterator[None]:
        """Be the only one to work at these pieces within the block, after whoever is at one."""
        if self._holder != threading.get_ident():
            yield
            return
        while not self.claim(keys):
            self.check()
            self._holder = None
            self._free.wait(_SLICE_SECONDS)
            self._holder = threading.get_ident()
        try:
            yield
        finally:
            self.release(keys)

    def claim(self, keys: Set[str]) -> bool:
        """Be the only one to work at these pieces until `release`; False if somebody is at one."""
        if not self._busy.isdisjoint(keys):
            return False
        self._busy |= keys
        return True

    def release(self, keys: Set[str]) -> None:
        """Leave pieces of work to others."""
        self._busy -= keys
        if self._holder == threading.get_ident():
            self._free.notify_all()
