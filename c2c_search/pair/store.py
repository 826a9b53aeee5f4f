"""Pair room: prompt caches on disk, computed once and shared by every trial and study."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from errno import EDQUOT
from errno import ENOSPC
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock

from c2c_search.errors import StoreError
from c2c_search.pair.prefill import prefill


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from c2c_search.pair.loading import LoadedModel


_FORMAT = 1  # part of every key: caches of another layout are never read
_BYTES = 2
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PromptCaches:
    """A model's stored prompt caches, memory-mapped.

    Args:
        tokens: ``(all tokens, 2, layers, size)`` in bfloat16, or as computed; a prompt's tokens
            stand together.
        offsets: Where each prompt begins; one more at the end.
    """

    tokens: torch.Tensor
    offsets: tuple[int, ...]

    @classmethod
    def compute(
        cls,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        dtype: torch.dtype = torch.bfloat16,
    ) -> PromptCaches:
        """Compute in memory, by default rounded as the store rounds: a question asked is stored.

        Args:
            model: A frozen causal language model.
            prompts: Token ids of each prompt.
            dtype: What the caches are rounded to.
        """
        caches: dict[int, torch.Tensor] = {}
        for rows, batch in prefill(model, prompts):
            caches.update(zip(rows, batch.to(dtype).cpu(), strict=True))
        return cls(
            tokens=torch.cat([caches[row] for row in range(len(prompts))]),
            offsets=_offsets(prompts),
        )

    def packed(self, rows: Sequence[int], places: Sequence[torch.Tensor]) -> torch.Tensor:
        """Chosen tokens of some prompts, one prompt after the other, in float32.

        Args:
            rows: The prompts.
            places: For each, the positions of the tokens to take; they may repeat.

        Returns:
            ``(2, layers, taken tokens, size)``.
        """
        index = torch.cat(
            [self.offsets[row] + place for row, place in zip(rows, places, strict=True)]
        )
        return (
            self.tokens[index]
            .permute(1, 2, 0, 3)
            .to(torch.float32, memory_format=torch.contiguous_format)
        )


class PromptCacheStore:
    """Prompt caches by everything that changes them: the model's bytes and the tokens it reads.

    An interrupted computation goes on after its last finished batch. One process computes a
    key at a time; readers need no lock.

    Args:
        directory: Where the caches are kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(
        self,
        model: LoadedModel,
        prompts: Sequence[Sequence[int]],
        *,
        progress: Progress | None = None,
    ) -> PromptCaches:
        """The prompt caches of ``prompts``, computed now unless they are there.

        Args:
            model: The model and its identity.
            prompts: Token ids of each prompt.
            progress: Called with prompts done and prompts in all.

        Raises:
            StoreError: The disk is full or cannot be written.
        """
        folder = self.directory / self.key(model, prompts)
        try:
            if not (folder / "meta.json").is_file():
                folder.mkdir(parents=True, exist_ok=True)
                with FileLock(folder / "lock"):
                    if not (folder / "meta.json").is_file():
                        _compute(folder, model, prompts, progress)
            return _open(folder)
        except OSError as error:
            if error.errno not in (ENOSPC, EDQUOT):
                raise
            raise StoreError(
                "The prompt caches must fit on the disk.",
                value=f"no space left in {folder}",
                hint="Free some space, set C2C_SEARCH_CACHE to a folder on a larger disk, or "
                "lower data.limit; what is computed stays and the same command goes on.",
            ) from error

    def key(self, model: LoadedModel, prompts: Sequence[Sequence[int]]) -> str:
        """Name of the folder: a hash of format, model bytes, arithmetic and token ids."""
        digest = hashlib.sha256()
        identity = model.identity
        parts = (
            _FORMAT,
            identity.weights_sha256,
            identity.config_sha256,  # RoPE, say, is no weight
            str(model.model.dtype),
        )
        digest.update(json.dumps([*parts, [list(prompt) for prompt in prompts]]).encode())
        return digest.hexdigest()[:32]


def _compute(
    folder: Path,
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    progress: Progress | None,
) -> None:
    """Fill ``tokens.bin``; ``done`` counts finished prompts, in the order of `prefill`."""
    offsets = _offsets(prompts)
    order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
    journal = folder / "done"
    done = int(journal.read_text()) if journal.is_file() else 0
    shape: tuple[int, ...] = ()
    for rows, caches in _remaining(model, prompts, order[done:]):
        shape = tuple(caches.shape[2:])
        _reserve(folder / "tokens.bin", offsets[-1] * int(np.prod(shape)) * _BYTES)
        tokens = _map(folder / "tokens.bin", (offsets[-1], *shape), mode="r+")
        for row, cache in zip(rows, caches, strict=True):
            stored = cache.to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy()
            tokens[offsets[row] : offsets[row + 1]] = stored
        tokens.flush()
        done += len(rows)
        _write(journal, str(done))
        if progress is not None:
            progress(done, len(prompts))
    meta = {
        "shape": [offsets[-1], *shape],
        "offsets": list(offsets),
        "model": model.identity.source,
    }
    _write(folder / "meta.json", json.dumps(meta))


def _remaining(
    model: LoadedModel, prompts: Sequence[Sequence[int]], rows: Sequence[int]
) -> Iterator[tuple[list[int], torch.Tensor]]:
    if not rows:  # interrupted after the last batch: one prompt tells the shape again
        rows = [0]
    for batch, caches in prefill(model.model, [prompts[row] for row in rows]):
        yield [rows[place] for place in batch], caches


def _open(folder: Path) -> PromptCaches:
    meta = json.loads((folder / "meta.json").read_text())
    tokens = _map(folder / "tokens.bin", tuple(meta["shape"]), mode="c")
    return PromptCaches(
        tokens=torch.from_numpy(tokens).view(torch.bfloat16),
        offsets=tuple(meta["offsets"]),
    )


def _offsets(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(accumulate((len(prompt) for prompt in prompts), initial=0))


def _map(path: Path, shape: tuple[int, ...], *, mode: str) -> np.memmap:
    return np.memmap(path, dtype=np.int16, mode=mode, shape=shape)  # type: ignore[call-overload]


def _reserve(path: Path, size: int) -> None:
    """Claim the disk space first: a full disk is an error now, not a bus error later."""
    if path.is_file() and path.stat().st_size == size:
        return
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
