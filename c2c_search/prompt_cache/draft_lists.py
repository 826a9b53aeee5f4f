"""How drafts lie on disk, one folder for a list of prompts, and how they are looked after.

``drafts.jsonl`` gains a line with a checksum for every batch that is drafted, ``model`` says who
drafts. What has no line, or a damaged one, is not there. No torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from filelock import Timeout
from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError


FOLDER = "drafts"
"""Name of the store in the user's cache folder."""

_JOURNAL = "drafts.jsonl"
_MODEL = "model"
_LOCK = "lock"  # by whoever drafts; see `store.turn`


class DraftLine(BaseModel):
    """The drafts of one batch, of at most ``tokens`` tokens each."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    batch: int
    tokens: int
    drafts: list[list[int]]
    blake2b: str

    @classmethod
    def of(cls, batch: int, tokens: int, drafts: list[list[int]]) -> DraftLine:
        """A line with its checksum."""
        return cls(
            batch=batch, tokens=tokens, drafts=drafts, blake2b=_digest(batch, tokens, drafts)
        )

    @property
    def whole(self) -> bool:
        """Whether it is as it was written."""
        return self.blake2b == _digest(self.batch, self.tokens, self.drafts)

    @property
    def ended(self) -> bool:
        """Whether all of them stopped by themselves before they were cut."""
        return all(len(ids) < self.tokens for ids in self.drafts)

    def fits(self, batches: Sequence[Sequence[int]]) -> bool:
        """Whether it is as it was written, and of one of these batches."""
        if not self.whole:
            return False
        known = self.batch in range(len(batches))
        return known and len(self.drafts) == len(batches[self.batch])


class DraftList:
    """The drafts of one list of prompts.

    Args:
        folder: Named by the key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / _JOURNAL

    @property
    def model(self) -> str:
        """Where the model came from that drafts; empty where that cannot be told."""
        with suppress(FileNotFoundError, UnicodeDecodeError):
            return (self.folder / _MODEL).read_text(encoding="utf-8")
        return ""

    @model.setter
    def model(self, source: str) -> None:
        if self.model != source:
            (self.folder / _MODEL).write_text(source, encoding="utf-8")

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        with suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0

    @property
    def last_used(self) -> float:
        """When it was last read or written, in seconds since the epoch; 0 if it is gone."""
        for path in (self.journal, self.folder):  # looking at a folder locks it, by a file there
            with suppress(FileNotFoundError):
                return path.stat().st_mtime
        return 0.0

    def touch(self) -> None:
        """Say that it is used, where that can be written."""
        with suppress(OSError):
            os.utime(self.journal)

    def lines(self) -> Iterator[DraftLine | None]:
        """What was written, line by line; None for one that is damaged or was cut short."""
        with suppress(FileNotFoundError):
            text = self.journal.read_text(encoding="utf-8", errors="replace")
            for written in filter(None, text.splitlines()):
                line = None
                with suppress(ValidationError):
                    line = DraftLine.model_validate_json(written)
                yield line if line is not None and line.whole else None

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether nobody drafts into it; nobody can begin to within."""
        lock = FileLock(self.folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def remove(self) -> bool:
        """Remove it, unless somebody drafts into it; whether it is gone."""
        if not self.folder.is_dir():
            return True
        with self.alone() as unused:
            if unused:
                shutil.rmtree(self.folder)
        return unused

    def mend(self) -> bool:
        """Leave out the damaged lines, unless somebody drafts; whether they are gone."""
        with self.alone() as unused:
            if unused:
                whole = [line.model_dump_json() for line in self.lines() if line is not None]
                partial = self.journal.with_suffix(".partial")
                partial.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
                partial.replace(self.journal)
        return unused


def draft_lists(directory: Path) -> list[DraftList]:
    """All lists of a store."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return [DraftList(path) for path in sorted(directory.iterdir()) if path.is_dir()]
    return []


def _digest(batch: int, tokens: int, drafts: list[list[int]]) -> str:
    content = json.dumps([batch, tokens, drafts]).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
