"""What the prompt-cache store holds, and how it is cleared and verified."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from c2c_search.errors import ConfigError
from c2c_search.prompt_cache.budget import budget
from c2c_search.prompt_cache.draft_lists import FOLDER
from c2c_search.prompt_cache.draft_lists import DraftList
from c2c_search.prompt_cache.draft_lists import draft_lists
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.entries import entries
from c2c_search.prompt_cache.entries import sweep
from c2c_search.prompt_cache.leases import alone
from c2c_search.prompt_cache.leases import last_used


State = Literal["complete", "partial", "unreadable"]
Kind = Literal["caches", "drafts"]

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Kept:
    """One list of prompts, as one model has read it, or what it has drafted to them.

    Args:
        key: Name of its folder.
        model: Where the model came from; empty if that cannot be told.
        prompts: Prompts in the list.
        tokens: Their tokens.
        dtype: What the caches are rounded to; empty for drafts.
        size: Bytes on the disk.
        last_used: In seconds since the epoch.
        state: ``partial``: some shards are not there, they are computed again whenever they are
            read; ``unreadable``: of an earlier format or without its description, never read.
        in_use: Whether a living process reads or writes it.
        kind: What it holds. Drafts are beyond the budget: they take a few bytes a token.
    """

    key: str
    model: str
    prompts: int
    tokens: int
    dtype: str
    size: int
    last_used: float
    state: State
    in_use: bool
    kind: Kind = "caches"


@dataclass(frozen=True)
class Contents:
    """What the store holds, the most recently used first, and what it may hold.

    Args:
        directory: Of the store of prompt caches; that of drafts lies beside it.
        kept: The folders of both.
        budget: Bytes that all prompt caches may take.
    """

    directory: Path
    kept: tuple[Kept, ...]
    budget: int

    @property
    def size(self) -> int:
        """Bytes of prompt caches on the disk."""
        return sum(each.size for each in self.kept if each.kind == "caches")

    @property
    def size_of_drafts(self) -> int:
        """Bytes of drafts on the disk."""
        return sum(each.size for each in self.kept if each.kind == "drafts")


@dataclass(frozen=True)
class Cleared:
    """What was removed, and what could not be because it is in use."""

    removed: tuple[Kept, ...]
    in_use: tuple[Kept, ...]


@dataclass(frozen=True)
class Damage:
    """A shard, or a line of drafts, that is not what was written.

    Args:
        key: Of its folder.
        model: Whose caches they are.
        shard: Its number; of a line, among the lines of its journal.
        what: Is wrong.
        removed: Whether it was removed, to be computed anew when it is next needed.
        part: Which of both it is.
    """

    key: str
    model: str
    shard: int
    what: str
    removed: bool
    part: Literal["shard", "line"] = "shard"


@dataclass(frozen=True)
class Verified:
    """What a look at every byte has found.

    Args:
        shards: Number of shards, and lines of drafts, that were looked at.
        size: Their bytes.
        damaged: Those that are not what was written.
        unreadable: Keys of folders that have no checksums.
    """

    shards: int
    size: int
    damaged: tuple[Damage, ...]
    unreadable: tuple[str, ...]


def contents(directory: Path) -> Contents:
    """What a store holds.

    Raises:
        ConfigError: The budget in the environment is not a size.
    """
    kept = []
    for entry in entries(directory):
        with suppress(FileNotFoundError):  # removed while we look
            kept.append(_kept(entry))
    for drafted in draft_lists(_drafts_of(directory)):
        with suppress(FileNotFoundError):
            kept.append(_drafted(drafted))
    kept.sort(key=lambda each: (-each.last_used, each.key))
    taken = sum(each.size for each in kept if each.kind == "caches")
    return Contents(directory, tuple(kept), budget(directory, None, taken))


def choose(
    found: Contents,
    *,
    now: float,
    model: str | None = None,
    older_than: str | None = None,
    down_to: int | None = None,
) -> tuple[Kept, ...]:
    """What to remove: all that fits the description, the least recently used first.

    Args:
        found: What there is.
        now: In seconds since the epoch.
        model: Only caches of this model.
        older_than: Only what was not used for so long, e.g. ``30d``.
        down_to: Only as much as is needed for the rest to take at most so many bytes.

    Raises:
        ConfigError: No caches are of that model, or the time is none.
    """
    known = {each.model for each in found.kept if each.model}
    if model is not None and known and model not in known:
        raise ConfigError(
            "The prompt caches to clear must be of a model that has some.",
            value=model,
            hint=f"There are caches of {', '.join(sorted(known))}.",
        )
    before = now - (0.0 if older_than is None else _duration(older_than))
    chosen = []
    size = found.size
    for each in reversed(found.kept):
        if down_to is not None and size <= down_to:
            break
        if down_to is not None and (each.in_use or each.kind == "drafts"):
            continue
        if (model is None or each.model == model) and each.last_used <= before:
            chosen.append(each)
            size -= each.size
    return tuple(chosen)


def clear(found: Contents, chosen: Iterable[Kept]) -> Cleared:
    """Remove caches, save those that a living process uses."""
    removed: list[Kept] = []
    in_use: list[Kept] = []
    for each in chosen:
        if each.kind == "drafts":
            gone = DraftList(_drafts_of(found.directory) / each.key).remove()
        else:
            gone = Entry.read(found.directory / each.key).remove()
        (removed if gone else in_use).append(each)
    sweep(found.directory)
    return Cleared(tuple(removed), tuple(in_use))


def verify(
    directory: Path,
    *,
    delete: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verified:
    """Compare every shard with the checksum that was taken when it was written.

    Args:
        directory: Of the store.
        delete: Remove damaged shards of folders that nobody uses.
        progress: Called with shards looked at and shards in all.
    """
    found = sorted(entries(directory), key=lambda entry: entry.folder)
    readable = [entry for entry in found if entry.meta is not None]
    total = sum(len(entry.sums) for entry in readable)
    done = size = 0
    damaged = []
    for entry in readable:
        meta = entry.meta
        assert meta is not None
        wrong = []
        for number in sorted(entry.sums):
            if entry.damage(number):
                wrong.append(number)
            done, size = done + 1, size + meta.size(number)
            progress(done, total)
        if not wrong:
            continue
        # The folder may have been removed, and begun anew, while we looked.
        again = Entry.read(entry.folder)
        still = {n: what for n in wrong if n in again.sums and (what := again.damage(n))}
        removed = bool(still) and delete and _delete(again, still)
        damaged += [
            Damage(entry.folder.name, meta.model, number, what, removed)
            for number, what in still.items()
        ]
    lines = 0
    for drafted in draft_lists(_drafts_of(directory)):
        there = [line is not None for line in drafted.lines()]
        lines, size = lines + len(there), size + drafted.size
        removed = not all(there) and delete and drafted.mend()
        damaged += [
            Damage(drafted.folder.name, drafted.model, number, "not as written", removed, "line")
            for number, whole in enumerate(there)
            if not whole
        ]
    unreadable = tuple(entry.folder.name for entry in found if entry.meta is None)
    return Verified(done + lines, size, tuple(damaged), unreadable)


def _drafts_of(directory: Path) -> Path:
    return directory.parent / FOLDER


def _drafted(drafted: DraftList) -> Kept:
    lines = [line for line in drafted.lines() if line is not None]
    used = drafted.last_used
    with drafted.alone() as unused:
        in_use = not unused
    newest = {line.batch: line.drafts for line in lines}  # a longer one stands behind
    drafts = [ids for of_batch in newest.values() for ids in of_batch]
    return Kept(
        key=drafted.folder.name,
        model=drafted.model,
        prompts=len(drafts),
        tokens=sum(map(len, drafts)),
        dtype="",
        size=drafted.size,
        last_used=used,
        state="complete",
        in_use=in_use,
        kind="drafts",
    )


def _kept(entry: Entry) -> Kept:
    meta = entry.meta
    used = last_used(entry.folder)
    with alone(entry.folder) as unused:
        in_use = not unused
    state: State = "unreadable"
    if meta is not None:
        state = "complete" if entry.complete else "partial"
    return Kept(
        key=entry.folder.name,
        model=meta.model if meta else "",
        prompts=meta.prompts if meta else 0,
        tokens=sum(meta.shards) if meta else 0,
        dtype=meta.dtype if meta else "",
        size=entry.size,
        last_used=used,
        state=state,
        in_use=in_use,
    )


def _delete(entry: Entry, numbers: Iterable[int]) -> bool:
    with suppress(FileNotFoundError), alone(entry.folder) as unused:
        if unused:
            entry.forget(numbers)
            return True
    return False


def _duration(text: str) -> float:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([mhdw])\s*", text)
    if found is None:
        raise ConfigError(
            "A time must be a number with m, h, d or w: minutes, hours, days or weeks.",
            value=text,
            hint="For example 30d.",
        )
    return float(found[1]) * _SECONDS[found[2]]
