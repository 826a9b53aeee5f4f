"""Drafts on disk: what sharers have written to prompts, once for every trial."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

from c2c_search.prompt_cache.draft_lists import DraftLine
from c2c_search.prompt_cache.draft_lists import DraftList
from c2c_search.prompt_cache.store import Notify
from c2c_search.prompt_cache.store import Progress
from c2c_search.prompt_cache.store import room
from c2c_search.prompt_cache.store import turn


Draft = Callable[[Sequence[int]], list[list[int]]]
"""Token ids of the drafts of some prompts, by their numbers."""


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
        model: str = "",
        progress: Progress | None = None,
        notify: Notify | None = None,
    ) -> list[tuple[int, ...]]:
        """The drafts of prompts, written now unless they are there.

        Args:
            key: Of the model, the prompts, the batches and what ends a draft; not of ``tokens``.
            batches: Numbers of the prompts that are drafted together; each prompt in one.
            tokens: Of a draft, at most.
            draft: Writes those of a batch, of at most so many tokens.
            model: Where the model came from, for who looks after the store.
            progress: Called with prompts done and prompts in all.
            notify: Told when another process has to be waited for.

        Raises:
            StoreError: The disk is full or cannot be written.
        """
        folder = self.directory / key
        with room(folder):
            folder.mkdir(parents=True, exist_ok=True)
            drafted = DraftList(folder)
            drafted.touch()
            found = self._read(drafted, batches, tokens)
            if len(found) < len(batches):
                with turn(folder, notify, progress):
                    drafted.model = model
                    found = self._read(drafted, batches, tokens)
                    self._fill(drafted, batches, tokens, found, draft, progress)
        drafts: dict[int, tuple[int, ...]] = {}
        for number, rows in enumerate(batches):
            for row, ids in zip(rows, found[number], strict=True):
                drafts[row] = tuple(ids[:tokens])
        return [drafts[row] for row in range(len(drafts))]

    def _fill(
        self,
        drafted: DraftList,
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
            line = DraftLine.of(number, tokens, drafts)
            drafted.folder.mkdir(exist_ok=True)  # it may have been cleared while we waited
            with drafted.journal.open("a", encoding="utf-8") as journal:
                journal.write(f"\n{line.model_dump_json()}\n")  # the last line may be cut short
                journal.flush()
                os.fsync(journal.fileno())
            done += len(rows)
            if progress is not None:
                progress(done, total)

    def _read(
        self, drafted: DraftList, batches: Sequence[Sequence[int]], tokens: int
    ) -> dict[int, list[list[int]]]:
        """By batch, the drafts that are there, and as long as they are wanted."""
        return {
            line.batch: line.drafts
            for line in drafted.lines()
            if line is not None and line.fits(batches) and (line.tokens >= tokens or line.ended)
        }
