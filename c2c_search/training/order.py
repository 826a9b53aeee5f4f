"""In which order a training sees its examples, which follows from the seed alone."""

from __future__ import annotations

import random


class Order:
    """Examples epoch after epoch, each epoch in an order of its own.

    Args:
        seed: Of the trial; of a later stage, with the stage's number.
        total: Examples that there are.
        batch: Examples of a pass.
    """

    def __init__(self, seed: int | str, total: int, batch: int) -> None:
        self._seed, self._total, self._batch = seed, total, batch
        self._epoch = -1
        self._shuffled: list[int] = []

    def rows(self, number: int) -> list[int]:
        """The examples of a pass, counted from 0 over the whole training."""
        rows = []
        for position in range(number * self._batch, (number + 1) * self._batch):
            epoch, within = divmod(position, self._total)
            rows.append(self._of_epoch(epoch)[within])
        return rows

    def _of_epoch(self, epoch: int) -> list[int]:
        if self._epoch != epoch:
            self._epoch, self._shuffled = epoch, list(range(self._total))
            random.Random(f"{self._seed}/{epoch}").shuffle(self._shuffled)
        return self._shuffled
