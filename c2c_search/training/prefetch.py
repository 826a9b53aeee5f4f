"""The next batch, gathered in the background while a step computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Generic
from typing import Self
from typing import TypeVar


Batch = TypeVar("Batch")


class Prefetcher(Generic[Batch]):
    """Hands out batches, the same ones with and without a thread.

    Args:
        gather: Makes the batch of some rows, of nothing but the rows.
        background: Whether a thread gathers ahead. It must be off where gathering runs a model.
    """

    def __init__(self, gather: Callable[[list[int]], Batch], *, background: bool) -> None:
        self._gather = gather
        self._background = background
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[list[int], Future[Batch]] | None = None

    def take(self, rows: list[int], then: list[int] | None) -> Batch:
        """The batch of ``rows``; ``then`` are the rows asked for next, None if there are none."""
        ahead, self._ahead = self._ahead, None
        gathered = ahead[1] if ahead is not None and ahead[0] == rows else None
        batch = self._gather(rows) if gathered is None else gathered.result()
        if self._background and then is not None:
            self._ahead = then, self._executor().submit(self._gather, then)
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ahead = None
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None

    def _executor(self) -> ThreadPoolExecutor:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        return self._thread
