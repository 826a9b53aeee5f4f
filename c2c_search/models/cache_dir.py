"""The folder that keeps fetched and converted models, and who may write to it when."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from c2c_search.errors import StoreError
from c2c_search.errors import shown
from c2c_search.host.files import is_full
from c2c_search.host.home import expanded


Progress = Callable[[str, int, int, str], None]
"""Told ``(stage, done, total, message)``; stage is ``download``, ``convert`` or ``load``."""

Notify = Callable[[str], None]
"""Told what the user must read once: a licence, or that another process is being waited for."""

CACHE_VARIABLE = "C2C_SEARCH_CACHE"

# Left free beside what we write, so that a full disk is met before the write and not in it.
_MARGIN = 128 * 2**20
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_WAY_OUT = f"Free some space, or set {CACHE_VARIABLE} to a folder on a bigger disk."


def default_cache_dir() -> Path:
    """The user's cache folder of c2c-search; the variable ``C2C_SEARCH_CACHE`` overrides it.

    Raises:
        StoreError: The user has no home folder and the variable is not set.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return expanded(Path(chosen))
    try:
        return _user_caches() / "c2c-search"
    except RuntimeError as error:  # a user without an entry and without HOME, as in containers
        raise StoreError(
            "Models and prompt caches need a folder, and this user has no home.",
            hint=f"Set {CACHE_VARIABLE} to a folder of yours, or HOME.",
        ) from error


def silent(stage: str, done: int, total: int, message: str) -> None:
    """A `Progress` that tells nobody."""


def print_notice(text: str) -> None:
    """A `Notify` that prints on standard error."""
    print(shown(text), file=sys.stderr)


@contextmanager
def exclusive(lock: Path, what: str, notify: Notify) -> Iterator[None]:
    """Hold ``lock`` against every other process; say so when one has to be waited for.

    The lock belongs to the process, not to the file: it is free again when the holder dies.

    Raises:
        StoreError: The lock cannot be created.
    """
    from filelock import FileLock
    from filelock import Timeout

    with cache_errors(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        guard = FileLock(lock)
        try:
            guard.acquire(timeout=0)
        except Timeout:
            notify(f"Waiting for another process that is fetching {what} …")
            guard.acquire()
    try:
        yield
    finally:
        guard.release()


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Tell a disk of the cache that is full, read-only or not ours with the way out.

    Raises:
        StoreError: Instead of the error of the block; errors of any other kind pass.
    """
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise StoreError(
                "The model cache needs more room than its disk has.",
                value=str(folder),
                hint=_WAY_OUT,
            ) from error
        if isinstance(error, OSError) and error.errno in _NOT_OURS:
            raise StoreError(
                "The model cache must be a folder that can be written.",
                value=str(folder),
                hint=f"{error}: set {CACHE_VARIABLE} to a folder of yours.",
            ) from error
        raise


def require_space(folder: Path, need: int, what: str) -> None:
    """Refuse before anything is written if the disk of ``folder`` has less than ``need`` bytes.

    Raises:
        StoreError: Says how much is needed and how much is free.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < need + _MARGIN:
        raise StoreError(
            f"{what} needs {_megabytes(need + _MARGIN)} of free disk space in {folder}.",
            value=f"{_megabytes(free)} free",
            hint=_WAY_OUT,
        )


def _user_caches() -> Path:
    """Where this system keeps what can be made again (XDG base directories on Linux).

    Raises:
        RuntimeError: The user has no home folder.
    """
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    told = os.environ.get("XDG_CACHE_HOME", "").strip()
    return Path(told) if os.path.isabs(told) else Path.home() / ".cache"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
