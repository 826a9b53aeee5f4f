"""Workers that sleep as a device would and answer by a script, without models.

In this process (`SimulatedWorker`), or as a process of its own behind the real protocol: the
module is started in place of `c2c_search.training.worker`.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.results import ItemResult
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.training import worker
from c2c_search.training.protocol import CHECKPOINTS
from c2c_search.training.protocol import EVENT
from c2c_search.training.protocol import LAST
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Request
from c2c_search.training.protocol import Result
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


if TYPE_CHECKING:
    from types import TracebackType

    from c2c_search.models.pair import PairSpec
    from c2c_search.study.finalists import FinalEvaluation
    from c2c_search.study.session import Session

SECONDS = "SIMULATED_STEP_SECONDS"  # of a step, for processes
STUDY = "simulated"
ITEMS = 240
_ALONE = 0.4  # accuracy of a model without a fuser's help

PIPELINE = """\
name: simulated
training: {{steps: {steps}, log_every: {log_every}, rungs: [0.5, 1.0]}}
champion: {{finalists: 1, level: 0.05, resamples: 200}}
"""
SPACE = """\
study: simulated
pipeline: pipeline.yaml
pairs:
  only: {{receiver: "path:a", sharer: "path:b"}}
search: {{trials: {trials}, sampler: random, pruner: none, seed: 0}}
dimensions:
  fuser.depth: {{int: [1, 8]}}
  fuser.width: {{int: [16, 256], log: true}}
  training.learning_rate: {{float: [1.0e-6, 1.0e-2], log: true}}
"""


def write_space(folder: Path, *, trials: int, steps: int, log_every: int = 1) -> Path:
    """Write a space of so many trials, and its pipeline."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.format(steps=steps, log_every=log_every))
    path = folder / "space.yaml"
    path.write_text(SPACE.format(trials=trials))
    return path


class Script:
    """What is asked, done by script, event by event.

    A training keeps a checkpoint after every step, ahead of what its driver has heard, and tells
    again what came after the last answer, as `training.loop` does.

    Args:
        pause: Called before every step.
    """

    def __init__(self, pause: Callable[[], None]) -> None:
        self._pause = pause
        self._answer: bool | None = None

    def answer(self, go_on: bool) -> None:
        """To the rung that came last."""
        self._answer = go_on

    def events(self, request: Request) -> Iterator[Event]:
        """What comes of a request, up to one of `protocol.LAST`."""
        if isinstance(request, Train):
            yield from self._train(request)
        elif isinstance(request, Evaluate):
            yield _evaluated(request)
        else:
            assert isinstance(request, Prepare)
            yield _prepared(request.pair)

    def _train(self, request: Train) -> Iterator[Event]:
        training, directory = request.config.training, Path(request.directory)
        kept = directory / CHECKPOINTS / "step"
        kept.parent.mkdir(parents=True, exist_ok=True)
        step, answered = map(int, kept.read_text().split()) if kept.exists() else (0, 0)
        for told in range(answered + 1, step + 1):
            yield from _report(told, request)
        judged, pruned, worked = _judged(request), False, 0.0
        for number, until in enumerate(training.rung_steps):
            while step < until:
                begun = time.perf_counter()
                self._pause()
                worked += time.perf_counter() - begun
                step += 1
                _keep(kept, f"{step} {answered}")
                yield from _report(step, request)
            yield Rung(rung=number, step=until, **judged)
            if until < training.steps:
                assert self._answer is not None, "after a rung the driver must answer"
                pruned, answered, self._answer = not self._answer, until, None
            if pruned:
                break
        best = directory / "best"
        best.mkdir(exist_ok=True)
        (best / "fuser_config.json").write_text(json.dumps({"accuracy": judged["accuracy"]}))
        (best / "fuser.safetensors").write_bytes(_NO_TENSORS)
        yield Trained(
            step=step,
            pruned=pruned,
            best_rung=0,
            best_dir=str(best),
            parameters=1000,
            bytes=len(_NO_TENSORS),
            seconds={"train": worked},
            **judged,
        )


def _keep(path: Path, text: str) -> None:
    """Whole or not at all."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.replace(path)


def _report(step: int, request: Train) -> Iterator[Step]:
    training = request.config.training
    if step % training.log_every == 0 or step == 1:
        loss = 1 / step
        told = {"train/loss": loss, "train/learning_rate": loss, "train/gradient_norm": loss}
        yield Step(step=step, steps=training.steps, loss=loss, metrics=told)


def _judged(request: Train) -> dict[str, Any]:
    """What a rung of a training says; it follows from its configuration."""
    accuracy, deranged = _ALONE, None
    if request.learner == "fuser" and request.config.fuser.sharer != "blank":
        told = request.config.identity()
        del told["pair"]  # which knows in which folder the study lies
        accuracy = 0.7 + int(canonical_hash(told)[:6], 16) / 2**26
        deranged = _ALONE
    return {
        "split": "validation",
        "objective": request.objective.value(accuracy, deranged),
        "accuracy": accuracy,
        "deranged": deranged,
        "metrics": {"validation/accuracy": accuracy},
    }


def _prepared(pair: PairSpec) -> Prepared:
    models = {
        role: {
            "source": getattr(pair, role),
            "revision": None,
            "architecture": "Simulated",
            "weights_sha256": role,
            "tokenizer_sha256": "t",
            "config_sha256": "c",
            "licence": None,
            "licence_url": None,
        }
        for role in ("receiver", "sharer")
    }
    data = {split: split for split in ("train", "validation", "test")}
    return Prepared(models=models, data=data, seconds={"load": 0.0}, dtype="float32")


def _evaluated(request: Evaluate) -> Result:
    """The right message helps, nothing else does."""
    learned = request.fuser_dir if request.system == "c2c" else request.trained_dir
    accuracy = _ALONE
    if learned is not None:
        accuracy = json.loads((Path(learned) / "fuser_config.json").read_text())["accuracy"]
    right = round(accuracy * ITEMS)
    items = tuple(
        ItemResult(
            id=f"q{i}",
            group="all",
            cluster=f"c{i // 2}",
            answer=0,
            chosen=int(i >= right),
            scores=(0.0, -1.0) if i < right else (-1.0, 0.0),
        )
        for i in range(ITEMS)
    )
    return Result(system=request.system, split=request.split, items=items)


_HEADER = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
_NO_TENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(8)


class Mark(NamedTuple):
    """When a trial of the search began or ended.

    Args:
        wall: Seconds, by the wall clock.
        busy: Seconds of processor that this process had used by then.
        ended: Whether it ended.
    """

    wall: float
    busy: float
    ended: bool


class SimulatedWorker:
    """`training.launch.Worker` in the driver's process: a step is a sleep.

    Its events go through JSON, as those of a process do.

    Args:
        seconds: Of a step.
        marks: Filled as the search's trials begin and end.
    """

    def __init__(self, seconds: float, marks: list[Mark]) -> None:
        self._marks = marks
        self._ended = threading.Event()
        self._script = Script(lambda: self._pause(seconds))

    def __enter__(self) -> SimulatedWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.interrupt()

    def answer(self, go_on: bool) -> None:
        """See `training.launch.Worker`."""
        self._script.answer(go_on)

    def interrupt(self) -> None:
        """See `training.launch.Worker`."""
        self._ended.set()

    def ask(self, request: Request) -> Iterator[Event]:
        """See `training.launch.Worker`."""
        self._ended.clear()
        searched = isinstance(request, Train) and request.config.fuser.sharer != "blank"
        if searched:
            self._mark(ended=False)
        for event in self._script.events(request):
            if searched and isinstance(event, Trained):
                self._mark(ended=True)
            yield EVENT.validate_json(event.model_dump_json())

    def _pause(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise InterruptedError

    def _mark(self, *, ended: bool) -> None:
        self._marks.append(Mark(time.perf_counter(), time.process_time(), ended))


class Service:
    """`training.service.WorkerService` by script, in a process of its own."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        seconds = float(os.environ[SECONDS])
        self._script = Script(lambda: time.sleep(seconds))
        self._emit = emit

    def prepare(self, pair: PairSpec) -> Event:
        """See `training.service.WorkerService`."""
        return self._last(Prepare(pair=pair))

    def train(
        self, config: Any, directory: Path, go_on: Callable[[], bool], **options: Any
    ) -> Event:
        """See `training.service.WorkerService`."""
        return self._last(Train(config=config, directory=str(directory), **options), go_on)

    def evaluate(self, request: Evaluate) -> Event:
        """See `training.service.WorkerService`."""
        return self._last(request)

    def _last(self, request: Request, go_on: Callable[[], bool] = lambda: True) -> Event:
        for event in self._script.events(request):
            if isinstance(event, LAST):
                return event
            self._emit(event)
            if not isinstance(event, Rung) or not isinstance(request, Train):
                continue
            if event.step < request.config.training.steps:
                self._script.answer(go_on())
        raise AssertionError(f"nothing came of {request.type!r}")


class Server(worker.Server):
    """The real server in front of it."""

    def service(self) -> Any:
        """See `training.worker.Server`."""
        if self._service is None:
            self._service = Service(self.emit)  # type: ignore[assignment]
        return self._service


def promotion(session: Session, final: FinalEvaluation) -> PromotedChampion:
    """Put a champion on record without its package."""
    assert final.champion is not None
    champion = PromotedChampion(
        name=final.champion.name,
        trial_hash=final.champion.config.hash(),
        folder=session.files.champion,
        registered_name=session.space.pipeline.champion.registered_name,
        version="1",
    )
    session.store.save(PROMOTED, champion)
    return champion


if __name__ == "__main__":
    worker.Server = Server  # type: ignore[misc]
    worker.main()
