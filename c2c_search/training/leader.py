"""The first rank's side of trials that train on several devices."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from c2c_search.training.followers import Followers
from c2c_search.training.followers import ranks_for


if TYPE_CHECKING:
    from c2c_search.training.protocol import Failed
    from c2c_search.training.protocol import Pace
    from c2c_search.training.protocol import Train
    from c2c_search.training.protocol import TrainTogether


class Leader:
    """Has other ranks train beside this process, from the first training on several devices.

    Args:
        pipeline: The study's, as JSON.
        cache_dir: Where models and prompt caches are kept; empty for the user's cache folder.
        abort: Ends this process, having told the driver: a group that has lost a rank is lost.
    """

    def __init__(self, pipeline: str, cache_dir: str, abort: Callable[[Failed], None]) -> None:
        self._pipeline, self._cache_dir, self._abort = pipeline, cache_dir, abort
        self._followers: Followers | None = None
        self._count = 1

    @property
    def leads(self) -> bool:
        """Whether others follow."""
        return self._followers is not None

    @contextmanager
    def leading(self, request: Train | TrainTogether | Pace) -> Iterator[None]:
        """Have the trial's other ranks do a training while this process does it in the block."""
        first = request.trials[0] if request.type == "train_together" else request
        devices = first.config.training.devices_per_trial
        if devices == 1:
            yield
            return
        import torch

        threads = torch.get_num_threads()
        if self._followers is None:
            self._count = ranks_for(devices, os.environ)
            if self._count > 1:
                self._start(first.config.data.date, threads)
        if self._followers is None:
            yield
            return
        self._followers.begin(request)
        torch.set_num_threads(max(1, threads // self._count))
        yield
        self._followers.end()
        torch.set_num_threads(threads)

    def close(self) -> None:
        """End the others."""
        if self._followers is not None:
            self._followers.close()

    def _start(self, date: str | None, threads: int) -> None:
        from c2c_search.config.pipeline import Pipeline
        from c2c_search.training.ranks import Ranks
        from c2c_search.training.ranks import belong_to

        pipeline = Pipeline.model_validate_json(self._pipeline).on(date).model_dump_json()
        if sys.platform != "win32":  # all are on this machine
            interface = "lo0" if sys.platform == "darwin" else "lo"
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        self._followers = Followers(
            self._count, pipeline, self._cache_dir, threads=threads, abort=self._abort
        )
        belong_to(Ranks(0, self._count, self._followers.rendezvous))
