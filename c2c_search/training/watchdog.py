"""Waiting for a process's next line, but not for ever."""

from __future__ import annotations

import os
import select
from collections import deque

from c2c_search.host.environment import number


SILENCE_VARIABLE = "C2C_SEARCH_SILENCE_SECONDS"
SILENCE_SECONDS = 900.0
_LONGEST_TIMES = 4  # a wait so much longer than any before it is no wait any more
_TICK_SECONDS = 1.0
_CHUNK = 1 << 16


class SilenceError(Exception):
    """The process has said nothing for too long.

    Args:
        seconds: How long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"no sign of life for {seconds:.0f} s")


class Patience:
    """How long a silence may last: as long as set, or some times the longest that ended.

    Args:
        seconds: The least; what `silence_allowed` says when left out.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = silence_allowed() if seconds is None else seconds
        self._longest = 0.0

    @property
    def seconds(self) -> float:
        """The longest silence that is waited for now."""
        return max(self._seconds, _LONGEST_TIMES * self._longest)

    def heard(self, after: float) -> None:
        """A silence ended after so many seconds."""
        self._longest = max(self._longest, after)


def silence_allowed() -> float:
    """Seconds of silence after which a worker is taken to hang, from the environment.

    Raises:
        ConfigError: The environment names no positive number.
    """
    return number(
        SILENCE_VARIABLE,
        SILENCE_SECONDS,
        holds=lambda seconds: seconds > 0,
        rule="a number of seconds above 0",
        hint=f"Unset it for {SILENCE_SECONDS:.0f}; `inf` waits for ever.",
    )


class Lines:
    """Lines out of a pipe, with an end to waiting for the next one.

    Only waiting counts: not the reader's own work between two lines, nor the time that reader and
    writer are stopped together, as by a laptop's lid.

    Args:
        descriptor: The pipe's reading end; closed by `close`.
        patience: How long to wait.
    """

    def __init__(self, descriptor: int, patience: Patience) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._descriptor)

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        """The next line; a last one without an end of line was cut off, and is none.

        Raises:
            SilenceError: It is too long in coming.
        """
        while not self._lines:
            if not (chunk := self._read()):
                raise StopIteration
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self._lines.extend(lines)
        return self._lines.popleft().decode()

    def _read(self) -> bytes:
        waited = 0.0
        while not select.select([self._descriptor], [], [], _TICK_SECONDS)[0]:
            waited += _TICK_SECONDS
            if waited >= self._patience.seconds:
                raise SilenceError(waited)
        self._patience.heard(waited)
        return os.read(self._descriptor, _CHUNK)
