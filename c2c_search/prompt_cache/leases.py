"""Who uses a folder of prompt caches, so that nothing in use is ever removed."""

from __future__ import annotations

import errno
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

    The folder is made if it is not there. One that can only be read is held too, and its time
    stays as it is.

    Args:
        folder: Of prompt caches.
    """

    def __init__(self, folder: Path) -> None:
        descriptor = _open_current(folder)
        _touch(descriptor)
        self._end = weakref.finalize(self, _end, descriptor)

    def end(self) -> None:
        """Give the folder up."""
        self._end()


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the folder, this process included; nobody can begin to within."""
    used = None if (folder / _FILE).exists() else last_used(folder)  # of an earlier format
    descriptor = _open(folder / _FILE)
    try:
        if used is not None:
            os.utime(descriptor, (used, used))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            # Somebody may have removed the folder since, and a third made it anew and be in it.
            yield _same(descriptor, folder)
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
        # Between any two steps, the folder may be moved away to be removed: then begin again.
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.is_file() or folder.is_symlink():
                raise
            continue
        with suppress(FileNotFoundError):
            descriptor = _open(folder / _FILE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                current = _same(descriptor, folder)
            except BaseException:
                os.close(descriptor)
                raise
            if current:
                return descriptor
            os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        with suppress(OSError):
            return os.open(path, os.O_RDONLY)
        raise


def _same(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), (folder / _FILE).stat())
    except FileNotFoundError:
        return False


def _touch(descriptor: int) -> None:
    with suppress(OSError):  # it can only be read
        os.utime(descriptor)


def _end(descriptor: int) -> None:
    _touch(descriptor)
    os.close(descriptor)
