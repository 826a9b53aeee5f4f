"""A trial's folder as bytes with checksums, so that it goes on where no disk is shared.

A parcel is one line of JSON, then the bytes of its files, one after the other. Nothing is
pickled; what a parcel holds is checked before any of it is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from pathlib import PurePosixPath

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import NonNegativeInt
from pydantic import ValidationError

from c2c_search.errors import IntegrityError
from c2c_search.host.files import PARTIAL
from c2c_search.host.files import replacing


POINTER = "checkpoints/latest.json"
"""Says which checkpoint is whole, and so is written after all else; see `training.checkpoint`."""

Sums = Mapping[str, str]
"""SHA-256 of each file of a folder, by its path in it with slashes."""

_TRIES = 5  # to read a folder in which another process writes


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _File(_Row):
    path: str
    size: NonNegativeInt
    sha256: str


class _Contents(_Row):
    """The first line of a parcel: files that follow, and those that are no longer there."""

    files: list[_File]
    gone: list[str]


def pack(folder: Path, known: Sums) -> tuple[bytes, dict[str, str]]:
    """What changed in a folder, read as it was at one instant.

    Args:
        folder: May be missing; a process may be writing a checkpoint in it.
        known: What the receiver of the parcel has.

    Returns:
        The parcel, empty if nothing changed, and what the receiver then has.
    """
    content = _read(folder)
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in content.items()}
    changed = [path for path in sorted(content) if known.get(path) != sums[path]]
    gone = sorted(known.keys() - sums.keys())
    if not changed and not gone:
        return b"", sums
    files = [_File(path=path, size=len(content[path]), sha256=sums[path]) for path in changed]
    line = _Contents(files=files, gone=gone).model_dump_json().encode()
    return b"\n".join([line, b"".join(content[path] for path in changed)]), sums


def sums_of(folder: Path) -> dict[str, str]:
    """What a folder holds."""
    return {path: hashlib.sha256(data).hexdigest() for path, data in _read(folder).items()}


def unpack(parcel: bytes, folder: Path) -> None:
    """Write what a parcel holds, each file whole or not at all.

    Cut short at any instant, the folder's checkpoint is the one before or the new one: the
    pointer is written after all files, and what is gone goes last.

    Raises:
        IntegrityError: It is no parcel, or its bytes are not those that were packed.
        OSError: The folder cannot be written.
    """
    if not parcel:
        return
    contents, data = _checked(parcel)
    for path in sorted(data, key=lambda each: each == POINTER):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            partial.write_bytes(data[path])
    for path in contents.gone:
        (folder / path).unlink(missing_ok=True)
        if not any((folder / path).parent.glob("*")):
            (folder / path).parent.rmdir()


def _read(folder: Path) -> dict[str, bytes]:
    """All files of a folder, from between two checkpoints."""
    for _ in range(_TRIES):
        before = _bytes(folder / POINTER)
        try:
            content = {
                path.relative_to(folder).as_posix(): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file() and not path.name.endswith(PARTIAL)
            }
        except FileNotFoundError:  # the checkpoint before gave way to the next
            continue
        if _bytes(folder / POINTER) == before:
            return content
    raise OSError(f"{folder} changes faster than it can be read")


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _checked(parcel: bytes) -> tuple[_Contents, dict[str, bytes]]:
    line, _, rest = parcel.partition(b"\n")
    try:
        contents = _Contents.model_validate_json(line)
    except ValidationError:
        raise _refused("its first line is not a parcel's") from None
    data: dict[str, bytes] = {}
    for file in contents.files:
        data[file.path], rest = rest[: file.size], rest[file.size :]
        if hashlib.sha256(data[file.path]).hexdigest() != file.sha256:
            raise _refused(f"the bytes of {file.path} are not those that were packed")
    if rest:
        raise _refused("it is longer than it says")
    for path in (*data, *contents.gone):
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\\" in path:
            raise _refused(f"{path!r} would leave the folder")
    return contents, data


def _refused(reason: str) -> IntegrityError:
    return IntegrityError(
        "A trial's folder must arrive from another machine as it was sent.", value=reason
    )
