"""The driver's end of a worker on another machine: the same protocol as `launch.Worker`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import c2c_search
from c2c_search.config.pipeline import Pipeline
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.host.environment import number
from c2c_search.training import launch
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import LAST
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Train
from c2c_search.training.remote import parcel
from c2c_search.training.remote.cluster import Bundle
from c2c_search.training.remote.cluster import Place
from c2c_search.training.remote.node import NodeWorker
from c2c_search.training.remote.node import Told
from c2c_search.training.remote.node import folders
from c2c_search.training.watchdog import Patience
from c2c_search.training.watchdog import SilenceError


PLACE_VARIABLE = "C2C_SEARCH_PLACE_SECONDS"
PLACE_SECONDS = 120.0
_NODE_PATIENCE = 2.0  # so many times as long as the node, which ends a silent worker itself
_ANSWER_SECONDS = 120.0  # for a call, none of which waits for the worker process


class RemoteWorker:
    """A worker process on some node, found at the first request and again after the node is lost.

    A context manager, as `launch.Worker`. Folders of a request travel to the node, and what a
    training changes in them travels back at rungs and checkpoints: no disk is shared.

    Args:
        pipeline: The study's pipeline.
        dtype: What the models compute in; None leaves the choice to the first process.
        bundle: What it takes of a node.
        place_seconds: How long to wait for a node.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        dtype: str | None,
        bundle: Bundle,
        place_seconds: float,
    ) -> None:
        self._pipeline = pipeline
        self._dtype = dtype
        self._bundle = bundle
        self._place_seconds = place_seconds
        self._place: Place | None = None
        self._actor: Any = None
        self._interrupted = False
        self._patience = Patience()

    def __enter__(self) -> RemoteWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process on the node; a trial in it goes on from its last checkpoint."""
        place, self._place = self._place, None
        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(LostNodeError):
                _get(actor.close.remote())
        if place is not None:
            place.leave()

    def interrupt(self) -> None:
        """From any thread, end what was asked: it fails in a way that may pass."""
        self._interrupted = True
        if (actor := self._actor) is not None:
            actor.interrupt.remote()

    def answer(self, go_on: bool) -> None:
        """The word after a rung: go on, or stop."""
        with suppress(LostNodeError):  # which the next line that is waited for tells
            _get(self._actor.answer.remote(go_on))

    def join(self, trials: Sequence[Train]) -> None:
        """The word after a trial's end in a group: who joins it."""
        request = Join(trials=tuple(trials))
        with suppress(LostNodeError):
            _get(self._actor.join.remote(request.model_dump_json(), _parcels(request)))

    def ask(self, request: Request) -> Iterator[Event]:
        """Send a request and yield what comes of it; see `launch.Worker.ask`.

        Raises:
            NoPlaceError: No node has room for this worker.
        """
        self._interrupted = False
        try:
            self._ready()
            _get(self._actor.begin.remote(request.model_dump_json(), _parcels(request)))
            for told in self._told():
                for name, each in told.parcels.items():
                    parcel.unpack(each, Path(name))
                event = EVENT.validate_json(told.line)
                if isinstance(event, Prepared):
                    self._dtype = event.dtype
                yield event
                if isinstance(event, LAST):
                    return
        except LostNodeError as error:
            self._forget()
            yield Failed(failure="transient", message=f"a node was lost ({error})")

    def _told(self) -> Iterator[Told]:
        """What the node tells; it watches over its worker, and this over what it tells of that."""
        silent_since = time.monotonic()
        while not self._interrupted:
            taken = _get(self._actor.take.remote())
            silent = time.monotonic() - silent_since
            if not taken and silent > _NODE_PATIENCE * self._patience.seconds:
                raise LostNodeError(str(SilenceError(silent)))
            for line, parcels in taken:
                self._patience.heard(silent)
                yield Told(line, parcels)
                silent, silent_since = 0.0, time.monotonic()
        raise LostNodeError("interrupted")

    def _ready(self) -> None:
        if self._actor is not None:
            return
        self._place = Place(self._bundle, self._place_seconds)
        pipeline = self._pipeline.model_dump_json()
        self._actor = self._place.start(NodeWorker, pipeline, self._dtype, launch.PROGRAM)
        version, python = _get(self._actor.versions.remote())
        if version != c2c_search.__version__:
            self._forget()
            raise ConfigError(
                "Every node must have this version of c2c-search.",
                value=f"{version} (Python {python}) there, {c2c_search.__version__} here",
            )

    def _forget(self) -> None:
        """Take the node as lost; the next request looks for another."""
        place, self._place, self._actor = self._place, None, None
        if place is not None:
            place.leave()


def _parcels(request: Request) -> dict[str, bytes]:
    """What is in the folders that a request names."""
    return {name: parcel.pack(Path(name), {})[0] for name in folders(request)}


class LostNodeError(Exception):
    """The actor or its node is gone, or does not answer."""


def _get(call: Any) -> Any:
    """What a call returns.

    Raises:
        LostNodeError: It is not answered.
    """
    import ray
    from ray.exceptions import GetTimeoutError
    from ray.exceptions import RayError
    from ray.exceptions import RayTaskError

    try:
        return ray.get(call, timeout=_ANSWER_SECONDS)
    except RayTaskError as error:
        if isinstance(error.cause, C2CError):
            raise error.cause from None
        raise LostNodeError(str(error.cause)) from None
    except (GetTimeoutError, RayError) as error:
        raise LostNodeError(type(error).__name__) from None


def place_seconds() -> float:
    """Seconds that a worker waits for a node, from the environment.

    Raises:
        ConfigError: The environment names no positive number.
    """
    return number(
        PLACE_VARIABLE,
        PLACE_SECONDS,
        holds=lambda seconds: 0 < seconds < math.inf,
        rule="a number of seconds above 0",
        hint=f"Unset it for {PLACE_SECONDS:.0f}.",
    )
