"""The worker as the driver uses it, started when needed, its pairs prepared."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from contextlib import AbstractContextManager
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from typing import Protocol
from typing import Self

from c2c_search.errors import ConfigError
from c2c_search.errors import StoreError
from c2c_search.evaluation.results import SystemResult
from c2c_search.host.dtypes import VARIABLE
from c2c_search.host.dtypes import requested
from c2c_search.host.json_store import JsonStore
from c2c_search.host.names import fit
from c2c_search.models.pair import PairSpec
from c2c_search.report.live import View
from c2c_search.study.turns import Turns
from c2c_search.study.unchanged import check_unchanged
from c2c_search.training import retries
from c2c_search.training.protocol import CHECKPOINTS
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Costs
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Notice
from c2c_search.training.protocol import Pace
from c2c_search.training.protocol import Paced
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


class WorkerProcess(Protocol):
    """What the driver needs of `training.launch.Worker`."""

    def ask(self, request: Request) -> Iterator[Event]: ...

    def answer(self, go_on: bool) -> None: ...

    def join(self, trials: Sequence[Train]) -> None: ...

    def interrupt(self) -> None: ...


StartWorker = Callable[[str | None], AbstractContextManager[WorkerProcess]]


class TrainingListener(Protocol):
    """What a training tells while it runs."""

    def on_step(self, step: Step) -> None: ...

    def on_rung(self, rung: Rung) -> bool:
        """Whether the training goes on; not asked for after its last rung."""
        ...


class TrainingRequest(NamedTuple):
    """A training: what the worker is asked, and who hears of it."""

    train: Train
    listener: TrainingListener


class TrainerClient:
    """Trainings and measurements of one study, each done once.

    What the store has is not done again; the worker process starts with the first piece that it
    lacks, and then every pair is prepared, so that no trial waits for a download.

    Args:
        start: Starts the worker process, told what the models compute in, or None to choose.
        pairs: The study's pairs, by name.
        store: Of the study.
        view: Shows progress.
        sleep: Waits before a new attempt.
        prepared: What is known of the pairs, by name; shared by the clients of a study's workers.
        turns: Of the threads that drive those workers.
    """

    def __init__(
        self,
        start: StartWorker,
        pairs: Mapping[str, PairSpec],
        store: JsonStore,
        view: View,
        *,
        sleep: Callable[[float], None] = time.sleep,
        prepared: dict[str, Prepared] | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.prepared: dict[str, Prepared] = {} if prepared is None else prepared
        self.view = view
        self._turns = turns or Turns()
        self._start = start
        self._pairs = pairs
        self._store = store
        self._sleep = sleep
        self._stack = ExitStack()
        self._process: WorkerProcess | None = None
        for name in pairs:
            if (known := store.load(f"prepared/{fit(name)}", Prepared)) is not None:
                self.prepared[name] = known

    @property
    def date(self) -> str | None:
        """The day that this study's dated chat templates write; None if none is dated."""
        return next((known.date for known in self.prepared.values() if known.date), None)

    def prepare(self) -> None:
        """Let every pair stand ready, or be known to have stood so before.

        Raises:
            C2CError: One cannot be prepared.
        """
        if self.prepared.keys() < self._pairs.keys():
            self.ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker process; the next piece of work starts another."""
        self._process = None
        self._stack.close()

    def interrupt(self) -> None:
        """From any thread, end what the worker is doing, as soon as it has begun."""
        if (process := self._process) is not None:
            process.interrupt()

    def train(self, training: TrainingRequest) -> Trained | Failed:
        """Train something, going on from its checkpoint if there is one.

        Returns:
            How it ended; a pruned training too is `Trained`. Its ``best_dir`` is relative to the
            training's directory, so that the study can be moved.
        """
        with self._turns.sole({key_of(training.train)}):
            if (known := self.finished(training.train)) is not None:
                return known
            process = self.ready()

            def hear(event: Event) -> None:
                self.hear(event, training, process)

            last = self._attempt(lambda: process.ask(training.train), hear)
            return self.keep(last, training.train) if isinstance(last, Trained) else _failed(last)

    def events(self, events: Iterator[Event]) -> Iterator[Event]:
        """The worker's events, waited for while others do something."""
        return self._turns.events(events)

    def claim(self, keys: Set[str]) -> bool:
        """See `Turns.claim`."""
        return self._turns.claim(keys)

    def release(self, keys: Set[str]) -> None:
        """See `Turns.release`."""
        self._turns.release(keys)

    def hear(self, event: Event, training: TrainingRequest, process: WorkerProcess) -> None:
        """Tell a training's listener what has come, and the worker what is answered."""
        if isinstance(event, Step):
            training.listener.on_step(event)
        elif isinstance(event, Rung):
            goes_on = training.listener.on_rung(event)
            # After the last rung the worker waits for no answer.
            if event.step < training.train.config.training.steps:
                process.answer(goes_on)
        else:
            self.progress(event)

    def keep(self, ended: Trained, train: Train) -> Trained:
        """Keep how a training has ended; what is kept, see `train`."""
        best_dir = os.path.relpath(ended.best_dir, train.directory)
        trained = ended.model_copy(update={"best_dir": best_dir})
        self._store.save(key_of(train), trained)
        # Only now: until the result stands, an interrupted training goes on from them.
        shutil.rmtree(Path(train.directory) / CHECKPOINTS, ignore_errors=True)
        return trained

    def known(self, train: Train) -> Trained:
        """The training that an earlier stage, or an earlier start, has finished.

        Raises:
            StoreError: Its record is gone.
        """
        if (found := self.finished(train)) is None:
            raise StoreError(
                "The results of a study's finished trials must stay in place.",
                value=str(self._store.path(key_of(train))),
                hint="Restore that file, or begin another study: give the space another name "
                "under `study:`.",
            )
        return found

    def finished(self, train: Train) -> Trained | None:
        """A finished training, by the objective asked for: it may have been trained for another.

        One that needs no steps can be a finalist's control first, and a trial later.
        """
        if (found := self._store.load(key_of(train), Trained)) is None:
            return None
        value = train.objective.value(found.accuracy, found.deranged)
        return found.model_copy(update={"objective": value})

    def measure(self, key: str, request: Evaluate) -> SystemResult:
        """Let a system answer a split.

        Args:
            key: Name of the measurement in the study, e.g. ``test/gemma-3-270m``.
            request: The system and the split.

        Raises:
            C2CError: It cannot be measured; there is no judging without it.
        """
        with self._turns.sole({key}):
            if (known := self._store.load(key, SystemResult)) is not None:
                return known
            last = self._asked(request)
            if not isinstance(last, Result):
                raise retries.error(_failed(last), f"{key} could not be measured")
            result = SystemResult(system=key.split("/", 1)[-1], split=last.split, items=last.items)
            self._store.save(key, result)
            return result

    def cost(self, key: str, request: Cost) -> Costs | Failed:
        """Let a trained fuser be asked for what it costs, once.

        Args:
            key: Name of the measurement in the study.
            request: The fuser.
        """
        with self._turns.sole({key}):
            if (known := self._store.load(key, Costs)) is not None:
                return known
            last = self._asked(request)
            if not isinstance(last, Costs):
                return _failed(last)
            self._store.save(key, last)
            return last

    def pace(self, request: Pace) -> Paced | Failed:
        """Let trainings in lockstep be timed; it depends on the moment, and is not kept."""
        last = self._asked(request)
        return last if isinstance(last, Paced) else _failed(last)

    def _asked(self, request: Request) -> Event:
        """What a worker that stands ready answers."""
        process = self.ready()
        return self._attempt(lambda: process.ask(request), self.progress)

    def ready(self) -> WorkerProcess:
        """The worker process, started and prepared if it is not."""
        if self._process is None:
            self.view.stage("start", message="a worker process")
            self._process = self._stack.enter_context(self._start(self._dtype()))
            for index, (name, pair) in enumerate(self._pairs.items()):
                self.view.stage("prepare", index, len(self._pairs), f"pair {name}")
                self._prepare(self._process, name, pair)
        return self._process

    def _dtype(self) -> str | None:
        """What this study's models compute in since its beginning; None when it begins.

        Raises:
            ConfigError: The user asks for another dtype, or a version before this one, which did
                not record it, began the study.
        """
        known = next(iter(self.prepared.values()), None)
        if known is None:
            return None
        asked = requested()
        if known.dtype is None and asked is None:
            raise ConfigError(
                "A study computes in one dtype, and this one began before that was recorded.",
                hint=f"Set {VARIABLE} to what it was: float32 on a CPU, bfloat16 on a GPU.",
            )
        if known.dtype is not None and asked not in (None, known.dtype):
            raise ConfigError(
                f"A study computes in one dtype, and this one began in {known.dtype}.",
                value=f"{VARIABLE}={asked}",
                hint=f"Unset {VARIABLE} to go on, or begin another study: give the space another "
                "name under `study:`.",
            )
        return known.dtype or asked

    def _prepare(self, process: WorkerProcess, name: str, pair: PairSpec) -> None:
        last = self._attempt(lambda: process.ask(Prepare(pair=pair)), self.progress)
        if not isinstance(last, Prepared):
            raise retries.error(_failed(last), f"pair {name} could not be prepared")
        known = self.prepared.get(name)
        if known is not None:
            check_unchanged(name, known, last)
            if known.dtype is not None:
                return
        self._store.save(f"prepared/{fit(name)}", last)
        self.prepared[name] = last

    def _attempt(
        self, request: Callable[[], Iterator[Event]], on_event: Callable[[Event], None]
    ) -> Event:
        return retries.attempt(
            lambda: self._turns.events(request()),
            on_event,
            on_retry=self.view.note,
            sleep=lambda seconds: self._turns.pause(seconds, self._sleep),
        )

    def progress(self, event: Event) -> None:
        """Show what is no training's own."""
        if isinstance(event, Progress):
            self.view.stage(event.stage, event.done, event.total, event.message)
        elif isinstance(event, Notice):
            self.view.note(event.message)


def key_of(train: Train) -> str:
    """Name of a training in the store."""
    return f"trained/{train.name}"


def _failed(event: Event) -> Failed:
    if isinstance(event, Failed):
        return event
    message = f"the worker ended with {event.type!r}, which was not asked for"
    return Failed(failure="fatal", message=message, exit_code=1)
