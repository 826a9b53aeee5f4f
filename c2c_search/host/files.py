"""Files and folders that are written whole or not at all, and what a full disk is."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from functools import cache
from pathlib import Path

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.host.process import is_gone
from c2c_search.host.process import this_process


PARTIAL = ".partial"
"""Ends the name of a file that is being written."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
# safetensors, SQLite and their like have errors of their own, which tell it in words only.
_FULL_IN_WORDS = (os.strerror(errno.ENOSPC), "disk is full")
_STALE = 24 * 3600  # seconds; nobody writes a file for so long without its time moving on


def check_folder(option: str, folder: Path) -> None:
    """Refuse what is no folder, and cannot become one.

    Raises:
        ConfigError: With the option.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        which = "This" if there == folder else str(there)
        raise ConfigError(
            f"{option} must be a folder.", value=str(folder), hint=f"{which} is a file."
        )


def write_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, making its folder: a reader or a crash finds all of it or none.

    Raises:
        OSError: The disk is full or the folder cannot be written; ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Name a file beside ``path``, to be written in the block, that takes its place after it.

    It is hidden, this process's own, and on the disk before it is moved. If the block fails, it
    is removed. What killed processes left of such files in the folder is removed, too.

    Raises:
        OSError: The disk is full or the folder cannot be written; ``path`` is as it was.
    """
    _sweep(path.parent.absolute())
    partial = path.with_name(f".{path.name}+{this_process().replace('/', '+')}{PARTIAL}")
    try:
        yield partial
        move(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def move(finished: Path, path: Path) -> None:
    """Move a finished file to its place on the same disk: a crash leaves all of it or none.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    with finished.open("rb") as stream:
        os.fsync(stream.fileno())
    os.replace(finished, path)
    _sync_folder(path.parent)


@contextmanager
def swapped_in(to: Path) -> Iterator[Path]:
    """Give an empty folder beside ``to`` that takes its place, whatever stood there before.

    What stood there stays when anything goes wrong: the caller's error, a full disk. A kill
    between the two last moves leaves it beside its place, under the name ``.NAME.replaced``. One
    process at a time may write a folder: the next one clears what a killed one left of it.

    Raises:
        OSError: The disk is full or the folder around ``to`` cannot be written.
    """
    to = to.absolute()
    folder, old = (to.with_name(f".{to.name}{what}") for what in (PARTIAL, ".replaced"))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        sync(folder)
        if to.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(to, old)
        os.replace(folder, to)
        _sync_folder(to.parent)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if old.exists() and not to.exists():
            os.replace(old, to)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def scratch(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Give an empty folder of this process's own, and remove it after the block.

    What killed processes left of such folders for the same purpose is removed first.

    Args:
        purpose: What the folder's name says; no plus sign in it.
        parent: Where it lies; among the temporary files by default.

    Raises:
        OSError: The disk is full or ``parent`` cannot be written.
    """
    parent = parent or Path(tempfile.gettempdir())
    start = f"{purpose}+"
    for left in parent.glob(f"{start}*"):
        if _is_left(left, left.name.removeprefix(start).split("+")[:4]):
            shutil.rmtree(left, ignore_errors=True)
    own = f"{start}{this_process().replace('/', '+')}+"
    with tempfile.TemporaryDirectory(prefix=own, dir=parent) as folder:
        yield Path(folder)


@contextmanager
def disk_errors(to: Path) -> Iterator[None]:
    """Tell a full disk, or a folder that is not ours, as what the user can put right.

    Raises:
        StoreError: Instead of an `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreError(
                "What is written needs more room than the disk has.",
                value=str(to),
                hint="Free some space and repeat the command; nothing was left half-written.",
            ) from error
        named = str(error.filename or to)
        raise StoreError(
            "The folder to write must be writable.",
            value=str(to) if named.endswith(PARTIAL) else named,
            hint=f"{error.strerror}: name another folder.",
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or the user's share of it, is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in _FULL_IN_WORDS)


@cache
def _sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; once in a process is enough."""
    for partial in folder.glob(f".*+*{PARTIAL}*"):
        owner = partial.name.rpartition(PARTIAL)[0].rsplit("+", 4)[1:]
        with suppress(OSError):
            if _is_left(partial, owner):
                partial.unlink()


def _is_left(path: Path, owner: Sequence[str]) -> bool:
    """Whether who wrote this has ended, or, where that cannot be known, has long stood still."""
    gone = is_gone("/".join(owner))
    return gone or (gone is None and time.time() - path.stat().st_mtime > _STALE)


def sync(folder: Path) -> None:
    """Have all of a folder on the disk before going on."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
