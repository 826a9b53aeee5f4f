"""How prompt caches lie on disk, one folder for a model and a list of prompts.

``meta.json`` says what the folder holds, ``000017.bin`` is a shard (one batch of the prefill, its
tokens one after the other, without padding), and ``shards.jsonl`` gains a line with a checksum
when a shard is complete. What has no line is not there, however far it was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from c2c_search.host.files import PARTIAL
from c2c_search.host.files import replacing
from c2c_search.prompt_cache.leases import alone


FOLDER = "prompt_caches"
"""Name of the store in the user's cache folder."""

FORMAT = 3

_META = "meta.json"
_JOURNAL = "shards.jsonl"
_TRASH = ".trash-"
_KEY = re.compile(r"[0-9a-f]{32}")
_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
_CHUNK = 2**24


class Meta(BaseModel):
    """What a folder holds.

    Args:
        format: Of the folder's files.
        model: Where the model came from.
        dtype: What the caches are rounded to.
        prompts: Number of prompts.
        token: Shape of one token: keys and values, layers, size.
        shards: Tokens of each shard.
        first: Shards before this one are kept only where they are there already: the budget was
            too small for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    model: str
    dtype: str
    prompts: int
    token: tuple[int, int, int]
    shards: tuple[int, ...]
    first: int = 0

    def size(self, number: int) -> int:
        """Bytes of a shard."""
        return self.shards[number] * prod(self.token) * _BYTES[self.dtype]


@dataclass(frozen=True)
class Entry:
    """One folder of prompt caches.

    Args:
        folder: Named by the key.
        meta: None where it cannot be read, or is of an earlier format.
    """

    folder: Path
    meta: Meta | None

    @classmethod
    def read(cls, folder: Path) -> Entry:
        """What is there."""
        meta = None
        with suppress(FileNotFoundError, ValidationError):
            meta = Meta.model_validate_json((folder / _META).read_bytes())
        return cls(folder, meta if meta is not None and meta.format == FORMAT else None)

    @cached_property
    def sums(self) -> dict[int, str]:
        """Checksums of the shards that were completed."""
        found = {}
        with suppress(FileNotFoundError):
            lines = (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace")
            for line in lines.splitlines():
                # A line that was cut short or damaged.
                with suppress(ValueError, KeyError, TypeError):
                    written = json.loads(line)
                    found[int(written["shard"])] = str(written["blake2b"])
        shards = range(0 if self.meta is None else len(self.meta.shards))
        return {number: digest for number, digest in found.items() if number in shards}

    @cached_property
    def there(self) -> frozenset[int]:
        """Shards that were completed and have their size."""
        meta = self.meta
        return frozenset(n for n in self.sums if meta and _size(self.path(n)) == meta.size(n))

    @property
    def complete(self) -> bool:
        """Whether all shards are there."""
        return self.meta is not None and len(self.there) == len(self.meta.shards)

    @property
    def wanted(self) -> list[int]:
        """Shards that are to be kept and are not there yet."""
        assert self.meta is not None
        numbers = range(self.meta.first, len(self.meta.shards))
        return [number for number in numbers if number not in self.there]

    @cached_property
    def size(self) -> int:
        """Bytes on the disk."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as files:
            return sum(_size(Path(file)) or 0 for file in files)
        return 0

    @property
    def claimed(self) -> int:
        """Bytes on the disk once all that is wanted is there."""
        if self.meta is None:
            return self.size
        return self.size + sum(self.meta.size(number) for number in self.wanted)

    def path(self, number: int) -> Path:
        """File of a shard."""
        return self.folder / f"{number:06}.bin"

    def write_meta(self) -> None:
        """Say what the folder is to hold; readers see the old file or the new."""
        assert self.meta is not None
        _write(self.folder / _META, memoryview(self.meta.model_dump_json().encode()))

    def write(self, number: int, content: memoryview) -> None:
        """Write a shard; it counts when it is on the disk as a whole."""
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        _write(self.path(number), content)
        with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(_line(number, digest))
            journal.flush()
            os.fsync(journal.fileno())

    def clean(self) -> None:
        """Remove what a process that was killed left half-written; nobody else may write."""
        for path in self.folder.glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)

    def damage(self, number: int) -> str:
        """What is wrong with a completed shard; nothing if its checksum holds."""
        assert self.meta is not None
        expected, size = self.meta.size(number), 0
        digest = hashlib.blake2b(digest_size=16)
        try:
            with self.path(number).open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except FileNotFoundError:
            return "missing"
        if size != expected:
            return f"{size:,} bytes instead of {expected:,}"
        return "" if digest.hexdigest() == self.sums[number] else "its checksum does not hold"

    def forget(self, numbers: Iterable[int]) -> None:
        """Remove shards, to be computed anew; nobody else may use the folder."""
        forgotten = set(numbers)
        left = {number: digest for number, digest in self.sums.items() if number not in forgotten}
        lines = "".join(_line(number, digest) for number, digest in left.items())
        _write(self.folder / _JOURNAL, memoryview(lines.encode()))
        for number in forgotten:
            self.path(number).unlink(missing_ok=True)

    def remove(self) -> bool:
        """Remove the folder unless somebody uses it; whether it is gone.

        It is moved away first, so that a removal that is interrupted leaves nothing half-there.
        """
        trash = self.folder.with_name(f"{_TRASH}{uuid.uuid4().hex}")
        with suppress(FileNotFoundError), alone(self.folder) as unused:
            if not unused:
                return False
            self.folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
        return True


def entries(directory: Path) -> Iterator[Entry]:
    """All folders of a store, in no order."""
    with suppress(FileNotFoundError):
        for folder in directory.iterdir():
            if _KEY.fullmatch(folder.name) and folder.is_dir():
                yield Entry.read(folder)


def sweep(directory: Path) -> None:
    """Finish removals that were interrupted."""
    for trash in directory.glob(f"{_TRASH}*"):
        shutil.rmtree(trash, ignore_errors=True)


def _line(number: int, digest: str) -> str:
    # The line before may have been cut short.
    return "\n" + json.dumps({"shard": number, "blake2b": digest}) + "\n"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _write(path: Path, content: memoryview) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)
