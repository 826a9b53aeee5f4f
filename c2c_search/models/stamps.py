"""Whether a file is still the one that was hashed, told without reading all of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError


_SAMPLE_BLOCK, _SAMPLE_BLOCKS = 2**14, 64


class FileStamp(BaseModel):
    """A file as it was when it was hashed; times in nanoseconds.

    Size and ``mtime_ns`` alone tell nothing: containers, package managers and ``tar --mtime`` set
    every time to one. Nobody sets ``ctime_ns``; another file in its place has another inode, and
    ``sample`` is over blocks spread over the file (over all of a small one), for clocks that are
    set back and for changes within one tick of the clock. Fields that are None are of records of
    earlier versions, which no file equals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None
    sample: str | None = None

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """The stamp of a file now.

        Raises:
            OSError: It cannot be read.
        """
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            digest = hashlib.sha256()
            for start in _sampled(status.st_size):
                stream.seek(start)
                digest.update(stream.read(_SAMPLE_BLOCK))
        return cls(
            name=path.name,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
            sample=digest.hexdigest(),
        )


class HashedFile(BaseModel):
    """A GGUF file's hash, and the file as it was when it was hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    stamp: FileStamp
    sha256: str

    @classmethod
    def read(cls, path: Path) -> HashedFile | None:
        """What is kept at ``path``; None if that is nothing this version can read."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sampled(size: int) -> Iterable[int]:
    """Where the blocks of a sample begin: all of a small file, else spread, both ends included."""
    if size <= _SAMPLE_BLOCK * _SAMPLE_BLOCKS:
        return range(0, size, _SAMPLE_BLOCK)
    last = size - _SAMPLE_BLOCK
    return (last * number // (_SAMPLE_BLOCKS - 1) for number in range(_SAMPLE_BLOCKS))
