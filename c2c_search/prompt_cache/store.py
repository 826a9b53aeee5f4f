"""Prompt caches on disk, computed once and shared by every trial and study."""

from __future__ import annotations

import errno
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from filelock import FileLock
from filelock import Timeout

from c2c_search.errors import NotFiniteError
from c2c_search.errors import StoreError
from c2c_search.host.dtypes import name_of
from c2c_search.host.files import is_full
from c2c_search.prompt_cache.budget import LEFT_TO_OTHERS
from c2c_search.prompt_cache.budget import VARIABLE
from c2c_search.prompt_cache.budget import budget
from c2c_search.prompt_cache.budget import size_text
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.caches import locations
from c2c_search.prompt_cache.caches import rounded
from c2c_search.prompt_cache.entries import FORMAT
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.entries import Meta
from c2c_search.prompt_cache.entries import entries
from c2c_search.prompt_cache.entries import sweep
from c2c_search.prompt_cache.hidden import planned
from c2c_search.prompt_cache.hidden import token_shape
from c2c_search.prompt_cache.leases import Lease
from c2c_search.prompt_cache.leases import last_used
from c2c_search.prompt_cache.prefill import BATCH_TOKENS
from c2c_search.prompt_cache.recomputed import Recomputed


if TYPE_CHECKING:
    from c2c_search.fuser.shapes import Source
    from c2c_search.models.loading import LoadedModel
    from c2c_search.prompt_cache.prefill import Prefill
    from c2c_search.prompt_cache.recomputed import Shape


Progress = Callable[[int, int], None]
Notify = Callable[[str], None]

_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_SIGN_SECONDS = 30.0  # between signs of life while another process computes
_MAPPED = 4096  # shards mapped at a time; the system allows a process about 65,000 mappings


class PromptCacheStore:
    """Prompt caches by everything that changes them: model, dtype, rounding and tokens.

    A key stands for a model and a whole list of prompts, because a cache depends, in its last
    bits, on the prompts it was computed with: were prompts shared one by one between lists, a
    study's numbers would depend on which studies came before it.

    All studies share one budget. What does not fit is computed whenever it is read, prompt by
    prompt, with the numbers that would have been stored; see `Recomputed`. The least
    recently used caches make room for new ones; those that a living process uses never do. An
    interrupted computation goes on after its last finished shard. One process computes a key at
    a time; readers need no lock.

    Args:
        directory: Where the caches are kept.
        dtype: What they are rounded to.
        budget: Bytes that all of them may take; see `c2c_search.prompt_cache.budget.budget`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        dtype: torch.dtype = torch.bfloat16,
        budget: int | None = None,
    ) -> None:
        self.directory = directory
        self.dtype = dtype
        self.budget = budget
        self.exact_shapes: dict[tuple[str, Source, int], dict[Shape, bool]] = defaultdict(dict)
        """By model, what is kept, and tokens that all prompts share; see `Recomputed`."""

    def get(
        self,
        model: LoadedModel,
        prompts: Sequence[Sequence[int]],
        *,
        source: Source = "kv",
        learned: bool = False,
        progress: Progress | None = None,
        notify: Notify | None = None,
    ) -> PromptCaches:
        """The prompt caches of ``prompts``, computed now unless they are there.

        Args:
            model: The model and its identity.
            prompts: Token ids of each prompt.
            source: What is kept of them; see `token_shape`.
            learned: Whether trainings learn from them, which read an example once where every
                trial reads those that it is judged by at every rung: if they do not fit, they
                leave a quarter of the budget to others.
            progress: Called with prompts done and prompts in all that are to be stored.
            notify: Told in words when not all of them fit the budget, and when another process
                has to be waited for.

        Raises:
            ConfigError: A prompt is too long for the model, or a number for ``dtype``.
            NotFiniteError: The model's caches hold NaN or infinity.
            StoreError: The disk is full or cannot be written.
        """
        prefill = planned(model.model, prompts, source)
        folder = self.directory / self.key(model, prompts, source)
        with room(folder):
            lease = Lease(folder)
            entry = Entry.read(folder)
            if not entry.complete:
                with turn(folder, notify, progress):
                    entry = self._claim(folder, model, prefill, source, learned)
                    entry = self._fill(entry, model, prefill, progress)
        if not entry.complete and notify is not None:
            notify(self._too_small(entry))
        if entry.complete:
            shards = _Shards(entry, self.dtype, lease, None)
            return PromptCaches(shards, locations(prefill))
        shapes = self.exact_shapes[model.identity.weights_sha256, source, prefill.shared]
        others = Recomputed(prefill, self.dtype, shapes)
        behind = len(prefill.batches)
        found = tuple(
            place if place[0] in entry.there else (behind + row, 0)
            for row, place in enumerate(locations(prefill))
        )
        return PromptCaches(_Shards(entry, self.dtype, lease, others), found, ready=False)

    def key(
        self, model: LoadedModel, prompts: Sequence[Sequence[int]], source: Source = "kv"
    ) -> str:
        """Name of the folder: a hash of format, model bytes, how it computes, and token ids.

        Other versions of the libraries compute other last bits, or mend an architecture.
        """
        identity = model.identity
        parts = (
            FORMAT,
            identity.weights_sha256,
            identity.config_sha256,  # RoPE, say, is no weight
            torch.__version__,
            transformers.__version__,
            str(model.model.dtype),
            model.model.device.type,
            torch.get_float32_matmul_precision(),
            str(self.dtype),
            BATCH_TOKENS,
            *(() if source == "kv" else (source,)),  # as before there was another
        )
        content = json.dumps([*parts, [list(prompt) for prompt in prompts]])
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    def _claim(
        self, folder: Path, model: LoadedModel, prefill: Prefill, source: Source, learned: bool
    ) -> Entry:
        """Take as much of the budget as there is for what is not there, and say so in the meta.

        Where it is too little, the shards of short prompts are kept: they hold the most prompts,
        and a pass takes as long to begin for a short one.
        """
        meta = Meta(
            format=FORMAT,
            model=model.identity.source,
            dtype=name_of(self.dtype),
            prompts=len(prefill.prompts),
            token=token_shape(model.model, source),
            shards=tuple(sum(prefill.lengths(number)) for number in range(len(prefill.batches))),
        )
        with FileLock(self.directory / ".lock"):
            entry = Entry(folder, meta)
            entry.clean()
            limit, granted = self._make_room(entry)
            if learned and granted < entry.claimed - entry.size:
                granted -= int(limit * LEFT_TO_OTHERS)
            first = len(meta.shards)
            while first > 0:
                if first - 1 not in entry.there:
                    granted -= meta.size(first - 1)
                if granted < 0:
                    break
                first -= 1
            entry = Entry(folder, meta.model_copy(update={"first": first}))
            entry.write_meta()
        return entry

    def _make_room(self, entry: Entry) -> tuple[int, int]:
        """The budget, and what may be added to an entry; the least used are removed for it."""
        sweep(self.directory)
        others = [one for one in entries(self.directory) if one.folder != entry.folder]
        taken = entry.size + sum(one.size for one in others)
        limit = budget(self.directory, self.budget, taken)
        needed = entry.claimed
        used = sum(one.claimed for one in others)
        for one in sorted(others, key=lambda one: last_used(one.folder)):
            if used + needed <= limit:
                break
            if one.remove():
                used -= one.claimed
        return limit, limit - used - entry.size

    def _fill(
        self, entry: Entry, model: LoadedModel, prefill: Prefill, progress: Progress | None
    ) -> Entry:
        done = sum(len(prefill.batches[number]) for number in entry.there)
        total = done + sum(len(prefill.batches[number]) for number in entry.wanted)
        for number in entry.wanted:
            shard = rounded(prefill.run(number), self.dtype).cpu().contiguous()
            if not bool(shard.isfinite().all()):
                raise NotFiniteError("model", model.identity.source, "prompt caches")
            entry.write(number, memoryview(shard.view(torch.uint8).numpy()).cast("B"))
            done += len(prefill.batches[number])
            if progress is not None:
                progress(done, total)
        return Entry.read(entry.folder)

    def _too_small(self, entry: Entry) -> str:
        assert entry.meta is not None
        numbers = range(len(entry.meta.shards))
        whole = sum(map(entry.meta.size, numbers))
        stored = sum(entry.meta.size(number) for number in entry.there)
        return (
            f"Of {size_text(whole)} of prompt caches of {entry.meta.model}, {size_text(stored)} "
            "fit the budget; the rest is computed prompt by prompt whenever it is read: slower, "
            "with the same numbers; `c2c-search plan` tells what that costs. Make room with "
            f"`c2c-search cache clear`, or raise {VARIABLE}."
        )


class _Shards:
    """Shards mapped from the disk, and behind them the prompts that are in none, one by one.

    Args:
        entry: Where shards are.
        dtype: What they are rounded to.
        lease: Keeps the entry while this object lives.
        others: The prompts of shards that are not there; None where all are.
    """

    def __init__(
        self, entry: Entry, dtype: torch.dtype, lease: Lease, others: Recomputed | None
    ) -> None:
        assert entry.meta is not None
        self._entry = entry
        self._meta = entry.meta
        self._dtype = dtype
        self._lease = lease
        self._others = others
        self._mapped: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._meta.shards) + (0 if self._others is None else self._meta.prompts)

    def __getitem__(self, number: int, /) -> torch.Tensor:
        beyond = number - len(self._meta.shards)
        if beyond < 0:
            return self._map(number)
        assert self._others is not None
        return self._others[beyond]

    def prepare(self, numbers: Iterable[int]) -> None:
        """Have what is in no shard computed; see `Recomputed.compute`."""
        if self._others is not None:
            self._others.compute(self._beyond(numbers))

    def expect(self, numbers: Iterable[int]) -> None:
        """Say what will be asked for soon; see `Recomputed.expect`."""
        if self._others is not None:
            self._others.expect(self._beyond(numbers))

    def _beyond(self, numbers: Iterable[int]) -> list[int]:
        shards = len(self._meta.shards)
        return [number - shards for number in numbers if number >= shards]

    def _map(self, number: int) -> torch.Tensor:
        shard = self._mapped.get(number)
        if shard is None:
            if len(self._mapped) >= _MAPPED:
                self._mapped.clear()
            shape = (self._meta.shards[number], *self._meta.token)
            path = str(self._entry.path(number))
            flat = torch.from_file(
                path, shared=False, size=torch.Size(shape).numel(), dtype=self._dtype
            )
            shard = self._mapped[number] = flat.view(shape)
        return shard


@contextmanager
def turn(folder: Path, notify: Notify | None, progress: Progress | None) -> Iterator[None]:
    """Compute what a folder holds while no other process does, after waiting for one that does."""
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if notify is not None:
            notify("Waiting for another process that computes the same prompt caches …")
        while not lock.is_locked:
            with suppress(Timeout):
                lock.acquire(timeout=_SIGN_SECONDS)
            if progress is not None:  # a sign of life, for who would take the process to hang
                progress(0, 0)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """Write into a folder of the cache.

    Raises:
        StoreError: The disk is full, or the folder cannot be written or locked.
    """
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StoreError(
                "The prompt caches must fit on the disk.",
                value=f"no space left in {folder}",
                hint="Free some space, set C2C_SEARCH_CACHE to a folder on a larger disk, or lower"
                " data.limit; what is computed stays and the same command goes on.",
            ) from error
        if error.errno in (*_NOT_OURS, *_NO_LOCKS):
            raise StoreError(
                "Prompt caches must be kept in a folder that can be written, where files can be "
                "locked.",
                value=str(folder.parent),
                hint=f"{error}: set C2C_SEARCH_CACHE to a folder of yours on a local disk.",
            ) from error
        raise
