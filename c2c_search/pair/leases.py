"""Pair room: who uses a folder of prompt caches, so that nothing in use is ever removed."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path


_FILE = "use"  # locked by whoever reads or writes; its time says when the folder was last used


class Lease:
    """This process's use of a folder. It ends with this object, or with the process.

    The folder is made if it is not there.

    Args:
        folder: Of prompt caches.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = _open_current(folder)
        os.utime(descriptor)
        self._end = weakref.finalize(self, _end, descriptor)

    def end(self) -> None:
        """Give the folder up."""
        self._end()


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the folder, this process included; nobody can begin to within."""
    try:
        descriptor = os.open(folder / _FILE, os.O_RDWR)
    except FileNotFoundError:  # of an earlier format
        used = last_used(folder)
        descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT, 0o666)
        os.utime(descriptor, (used, used))
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def last_used(folder: Path) -> float:
    """When the folder was last taken into use or given up, in seconds since the epoch.

    0 if it is gone.
    """
    for path in (folder / _FILE, folder):
        with suppress(FileNotFoundError):
            return path.stat().st_mtime
    return 0.0


def _open_current(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        # Between these lines, the folder may be moved away to be removed: then begin again.
        with suppress(FileNotFoundError):
            descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if _same(descriptor, folder):
                    return descriptor
            os.close(descriptor)


def _same(descriptor: int, folder: Path) -> bool:
    return os.path.samestat(os.fstat(descriptor), (folder / _FILE).stat())


def _end(descriptor: int) -> None:
    os.utime(descriptor)
    os.close(descriptor)
