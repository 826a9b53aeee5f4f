"""Drafts on disk: what sharers have written to prompts, once for every trial."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import ValidationError

from c2c_search.prompt_cache.store import Notify
from c2c_search.prompt_cache.store import Progress
from c2c_search.prompt_cache.store import room
from c2c_search.prompt_cache.store import turn


FOLDER = "drafts"
"""Name of the store in the user's cache folder."""

_JOURNAL = "drafts.jsonl"

Draft = Callable[[Sequence[int]], list[list[int]]]
"""Token ids of the drafts of some prompts, by their numbers."""


class _Line(BaseModel):
    """The drafts of one batch, of at most ``tokens`` tokens each."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    batch: int
    tokens: int
    drafts: list[list[int]]
    blake2b: str

    @property
    def ended(self) -> bool:
        """Whether all of them stopped by themselves before they were cut."""
        return all(len(ids) < self.tokens for ids in self.drafts)

    def fits(self, batches: Sequence[Sequence[int]]) -> bool:
        """Whether it is as it was written, and of one of these batches."""
        if self.blake2b != _digest(self.batch, self.tokens, self.drafts):
            return False
        known = self.batch in range(len(batches))
        return known and len(self.drafts) == len(batches[self.batch])


class DraftStore:
    """Drafts by everything that changes them, one journal for a list of prompts.

    A draft is greedy and stops by itself: a shorter one is the beginning of a longer one, token by
    token, since both are written in the same batches. So the longest ones serve all lengths. An
    interrupted computation goes on after its last finished batch. They take a few bytes a token,
    and are outside the budget of prompt caches.

    Args:
        directory: Where they are kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(
        self,
        key: str,
        batches: Sequence[Sequence[int]],
        tokens: int,
        draft: Draft,
        *,
        progress: Progress | None = None,
        notify: Notify | None = None,
    ) -> list[tuple[int, ...]]:
        """The drafts of prompts, written now unless they are there.

        Args:
            key: Of the model, the prompts, the batches and what ends a draft; not of ``tokens``.
            batches: Numbers of the prompts that are drafted together; each prompt in one.
            tokens: Of a draft, at most.
            draft: Writes those of a batch, of at most so many tokens.
            progress: Called with prompts done and prompts in all.
            notify: Told when another process has to be waited for.

        Raises:
            StoreError: The disk is full or cannot be written.
        """
        folder = self.directory / key
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)
            found = self._read(folder, batches, tokens)
            if len(found) < len(batches):
                with turn(folder, notify, progress):
                    found = self._read(folder, batches, tokens)
                    self._fill(folder, batches, tokens, found, draft, progress)
        drafts: dict[int, tuple[int, ...]] = {}
        for number, rows in enumerate(batches):
            for row, ids in zip(rows, found[number], strict=True):
                drafts[row] = tuple(ids[:tokens])
        return [drafts[row] for row in range(len(drafts))]

    def _fill(
        self,
        folder: Path,
        batches: Sequence[Sequence[int]],
        tokens: int,
        found: dict[int, list[list[int]]],
        draft: Draft,
        progress: Progress | None,
    ) -> None:
        """Write what is not found, and add it there."""
        total, done = sum(map(len, batches)), sum(len(batches[number]) for number in found)
        for number, rows in enumerate(batches):
            if number in found:
                continue
            found[number] = drafts = draft(rows)
            digest = _digest(number, tokens, drafts)
            line = _Line(batch=number, tokens=tokens, drafts=drafts, blake2b=digest)
            with (folder / _JOURNAL).open("a", encoding="utf-8") as journal:
                journal.write(f"\n{line.model_dump_json()}\n")  # the last line may be cut short
                journal.flush()
                os.fsync(journal.fileno())
            done += len(rows)
            if progress is not None:
                progress(done, total)

    def _read(
        self, folder: Path, batches: Sequence[Sequence[int]], tokens: int
    ) -> dict[int, list[list[int]]]:
        """By batch, the drafts that are there, and as long as they are wanted."""
        found: dict[int, list[list[int]]] = {}
        with suppress(FileNotFoundError):
            text = (folder / _JOURNAL).read_text(encoding="utf-8", errors="replace")
            for written in filter(None, text.splitlines()):
                with suppress(ValidationError):
                    line = _Line.model_validate_json(written)
                    if not line.fits(batches):
                        continue
                    if line.tokens >= tokens or line.ended:
                        found[line.batch] = line.drafts
        return found


def _digest(batch: int, tokens: int, drafts: list[list[int]]) -> str:
    content = json.dumps([batch, tokens, drafts]).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
