"""Where a study's workers run: in processes of this machine, or on the nodes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from typing import NamedTuple

from c2c_search.config.pipeline import Pipeline
from c2c_search.host.devices import Share
from c2c_search.host.devices import usual_workers
from c2c_search.study.trainer import WorkerProcess


EngineName = Literal["local", "ray"]
WorkerFactory = Callable[
    [Pipeline, Path, str | None, Share], AbstractContextManager[WorkerProcess]
]


class Engine(NamedTuple):
    """Who starts workers, and how many.

    Args:
        workers: How many.
        start: Starts one.
        device: Tells what one computes on, by its part of the machine.
    """

    workers: int
    start: WorkerFactory
    device: Callable[[Share], str]


@contextmanager
def opened(
    name: EngineName,
    workers: int | None,
    address: str | None,
    local: WorkerFactory,
    *,
    devices: int = 1,
) -> Iterator[Engine]:
    """Open an engine for one start of a study.

    Args:
        name: Which one.
        workers: How many workers are asked for; None for as many as pay.
        address: Of a Ray cluster; see `training.remote.cluster.connect`.
        local: Starts a worker of this machine.
        devices: That a trial trains on.

    Raises:
        C2CError: The cluster cannot be used.
    """
    if name == "local":
        count = workers or usual_workers(os.environ, devices)
        yield Engine(count, local, lambda share: share.told(os.environ))
        return
    from c2c_search.training.remote.cluster import connect
    from c2c_search.training.remote.cluster import cores_or_gpus
    from c2c_search.training.remote.worker import RemoteWorker
    from c2c_search.training.remote.worker import place_seconds

    seconds, cluster = place_seconds(), connect(address)
    try:
        count = workers or cluster.workers(devices)
        bundle = cluster.bundle(count, devices)

        def start(
            pipeline: Pipeline, log_file: Path, dtype: str | None, share: Share
        ) -> AbstractContextManager[WorkerProcess]:
            return RemoteWorker(pipeline, dtype=dtype, bundle=bundle, place_seconds=seconds)

        told = cores_or_gpus(bundle)
        yield Engine(count, start, lambda share: told)
    finally:
        cluster.disconnect()
