"""What runs on a node: the worker process there, its lines kept until the driver takes them.

Ray makes an actor of `NodeWorker`; the class itself knows nothing of Ray.
"""

from __future__ import annotations

import hashlib
import queue
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import c2c_search
from c2c_search.config.pipeline import Pipeline
from c2c_search.host.process import is_gone
from c2c_search.host.process import this_process
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.training import launch
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import REQUEST
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Join
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainTogether
from c2c_search.training.remote import parcel


NODES = "nodes"
"""Folder in the model cache of trials that are trained for a driver elsewhere."""

_TAKE_SECONDS = 1.0  # that `take` waits for something to take


class Told(NamedTuple):
    """A line of the worker's, and what changed in the folders of its trainings by then.

    Args:
        line: The event as JSON.
        parcels: By the driver's name of the folder.
    """

    line: str
    parcels: dict[str, bytes]


class NodeWorker:
    """A worker process on this machine, for a driver on another.

    Folders are named by the driver; each lies under another name here, and what changes in it is
    sent with the next line.

    Args:
        pipeline: The study's pipeline, as JSON.
        dtype: What the models compute in; None to choose.
        program: Module of the worker process.
    """

    def __init__(self, pipeline: str, dtype: str | None, program: str) -> None:
        launch.PROGRAM = program
        home = default_cache_dir() / NODES
        _sweep(home)
        self._folder = home / this_process().replace("/", "+")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._worker = launch.Worker(
            Pipeline.model_validate_json(pipeline),
            log_file=self._folder / "worker.log",
            dtype=dtype,
        )
        self._told: queue.Queue[Told] = queue.Queue()
        self._trained: list[str] = []  # folders of the request's trainings
        self._sent: dict[str, dict[str, str]] = {}
        self._pointers: dict[str, bytes | None] = {}

    def versions(self) -> tuple[str, str]:
        """Of c2c-search and Python on this node."""
        return c2c_search.__version__, sys.version.split()[0]

    def begin(self, request: str, parcels: dict[str, bytes]) -> None:
        """Begin a request.

        Args:
            request: As JSON, with the driver's names of folders.
            parcels: What the driver has in the folders that it names, each from nothing.
        """
        self._told = queue.Queue()
        asked = self._here(request, parcels)
        trained = [train.directory for train in trainings(REQUEST.validate_json(request))]
        self._trained = trained
        arguments = (asked, trained, self._told)
        threading.Thread(target=self._run, args=arguments, daemon=True).start()

    def join(self, request: str, parcels: dict[str, bytes]) -> None:
        """Let trials join a group; see `begin`."""
        here = self._here(request, parcels)
        self._trained += [train.directory for train in trainings(REQUEST.validate_json(request))]
        self._worker.join(trainings(here))

    def _here(self, request: str, parcels: dict[str, bytes]) -> Request:
        """The request with this node's names of folders, which get what the driver has there."""
        for name, each in parcels.items():
            folder = self._local(name)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            parcel.unpack(each, folder)
            self._sent[name] = parcel.sums_of(folder)
            self._pointers[name] = self._pointer(name)
        return with_folders(REQUEST.validate_json(request), lambda name: str(self._local(name)))

    def take(self) -> list[Told]:
        """What was told since the last call; nothing if nothing is told for a second."""
        try:
            taken = [self._told.get(timeout=_TAKE_SECONDS)]
        except queue.Empty:
            return []
        while not self._told.empty():
            taken.append(self._told.get())
        return taken

    def answer(self, go_on: bool) -> None:
        """The driver's word after a rung."""
        self._worker.answer(go_on)

    def interrupt(self) -> None:
        """End what the process is doing."""
        self._worker.interrupt()

    def close(self) -> None:
        """End the process and remove the folders."""
        self._worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, request: Request, trained: list[str], told: queue.Queue[Told]) -> None:
        try:
            for event in self._worker.ask(request):
                changed = {name: each for name in trained if (each := self._changed(name, event))}
                told.put(Told(EVENT.dump_json(self._named(event, trained)).decode(), changed))
        except Exception as error:
            failed = Failed(failure="transient", message=f"{type(error).__name__}: {error}")
            told.put(Told(failed.model_dump_json(), {}))

    def _changed(self, name: str, event: Event) -> bytes:
        """What changed in a folder: looked for at rungs, at the end and at each checkpoint."""
        pointer = self._pointer(name)
        paused = isinstance(getattr(event, "event", event), Rung | Trained)
        if not paused and pointer == self._pointers[name]:
            return b""
        self._pointers[name] = pointer
        packed, self._sent[name] = parcel.pack(self._local(name), self._sent[name])
        return packed

    def _pointer(self, name: str) -> bytes | None:
        try:
            return (self._local(name) / parcel.POINTER).read_bytes()
        except FileNotFoundError:
            return None

    def _local(self, name: str) -> Path:
        """Where a folder of the driver's lies here."""
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:32]

    def _named(self, event: Event, trained: list[str]) -> Event:
        """The event with the driver's name of the folder of what was trained."""
        if isinstance(event, OfTrial) and isinstance(event.event, Trained):
            inner = self._named(event.event, trained)
            return event.model_copy(update={"event": inner})
        if not isinstance(event, Trained):
            return event
        best = Path(event.best_dir)
        (name,) = [name for name in trained if best.is_relative_to(self._local(name))]
        there = Path(name) / best.relative_to(self._local(name))
        return event.model_copy(update={"best_dir": str(there)})


def trainings(request: Request) -> tuple[Train, ...]:
    """The trainings of a request."""
    if isinstance(request, TrainTogether | Join):
        return request.trials
    return (request,) if isinstance(request, Train) else ()


def folders(request: Request) -> list[str]:
    """The folders that a request names."""
    if isinstance(request, Cost):
        return [request.fuser_dir]
    if isinstance(request, Evaluate):
        return [each for each in (request.fuser_dir, request.trained_dir) if each is not None]
    return [train.directory for train in trainings(request)]


def with_folders(request: Request, named: Callable[[str], str]) -> Request:
    """The request with other names of its folders."""
    if isinstance(request, TrainTogether | Join):
        trials = tuple(
            train.model_copy(update={"directory": named(train.directory)})
            for train in request.trials
        )
        return request.model_copy(update={"trials": trials})
    if isinstance(request, Train):
        return request.model_copy(update={"directory": named(request.directory)})
    if isinstance(request, Cost):
        return request.model_copy(update={"fuser_dir": named(request.fuser_dir)})
    if isinstance(request, Evaluate):
        given = {"fuser_dir": request.fuser_dir, "trained_dir": request.trained_dir}
        renamed = {key: named(folder) for key, folder in given.items() if folder is not None}
        return request.model_copy(update=renamed)
    return request


def _sweep(home: Path) -> None:
    """Remove what drivers and nodes that were killed left in the folder."""
    for folder in home.glob("*"):
        if is_gone(folder.name.replace("+", "/")):
            shutil.rmtree(folder, ignore_errors=True)
