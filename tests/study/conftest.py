"""A whole study without torch: a worker that is scripted, and stores that are copied."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import ItemResult
from c2c_search.host.devices import Share
from c2c_search.models.pair import PairSpec
from c2c_search.space.schema import Space
from c2c_search.study import start
from c2c_search.study import storage
from c2c_search.study.driver import Outcome
from c2c_search.study.driver import run_study
from c2c_search.study.finalists import FinalEvaluation
from c2c_search.study.session import Session
from c2c_search.study.succession import PROMOTED
from c2c_search.study.succession import PromotedChampion
from c2c_search.tracking import open_store
from c2c_search.tracking import relocate
from c2c_search.training.protocol import DRAFTS
from c2c_search.training.protocol import Cost
from c2c_search.training.protocol import Costs
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
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
from c2c_search.training.protocol import TrainedTogether
from c2c_search.training.protocol import TrainTogether
from tests.space.conftest import write_space


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds of each study, and are drawn where they are looked at."""
    monkeypatch.setattr(start, "log_figures", lambda run, found: None)


ITEMS = 240
_UNHEARD = ("zeroed", "noise", "random")


@dataclass
class Script:
    """What the scripted worker does, and what it was asked.

    Args:
        accuracy: Of a fuser, from its configuration.
        deranged: Its accuracy with another item's message, from its own.
        blocks: Its objective on each block of validation, from its own.
        latency: Milliseconds that a fuser takes, from its accuracy.
        alone: Accuracy of each model on its own, by its folder's name.
        shut_adds: What a finalist with its gate shut answers more than its receiver.
        deaf: Whether a fuser answers the same whatever message it is given.
        failures: Failures to come, by the configuration they hit; each is used up.
        at: Called with the number of every event before it is sent; raises to interrupt.
    """

    accuracy: Callable[[TrialConfig], float] = lambda config: (
        0.3 if config.fuser.sharer in ("blank", "self") else 0.5 + 0.05 * config.fuser.depth
    )
    deranged: Callable[[TrialConfig, float], float] = lambda config, accuracy: accuracy / 2
    blocks: Callable[[TrialConfig, float], tuple[float, ...]] = lambda config, objective: ()
    alone: dict[str, float] = field(default_factory=lambda: {"a": 0.4, "b": 0.45})
    latency: Callable[[float], float] = lambda accuracy: 100 * accuracy
    failures: Callable[[TrialConfig], Failed | None] = lambda config: None
    at: Callable[[int], None] = lambda number: None
    prepare: Callable[[FakeWorker, PairSpec], Iterator[Event]] | None = None
    weights: str = "w"
    date: str | None = None  # that the prompts of a worker without a date are written on
    prompts: str = ""
    dates: list[str | None] = field(default_factory=list)
    shut_adds: float = 0.0
    deaf: bool = False
    events: int = 0
    trained: list[TrialConfig] = field(default_factory=list)
    asked: list[Train] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    evaluated: list[Evaluate] = field(default_factory=list)
    costed: list[Cost] = field(default_factory=list)
    costless: str = ""
    adapted: list[TrialConfig] = field(default_factory=list)
    dtypes: list[str | None] = field(default_factory=list)
    together: list[list[TrialConfig]] = field(default_factory=list)
    joined: list[TrialConfig] = field(default_factory=list)
    fit: int = 100  # trainings that fit the memory together
    paces: Callable[[int], Paced | Failed] = lambda together: Paced(seconds=1, taken=0, free=1)
    paced: list[int] = field(default_factory=list)
    starts: int = 0
    groups: tuple[str, str] = ("country/ja", "country/zh")


class FakeWorker:
    """`training.launch.Worker` without models; checkpoints are a number in a file."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._answer: bool | None = None
        self._joining: tuple[Train, ...] | None = None

    def __enter__(self) -> FakeWorker:
        self.script.starts += 1
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, request: Request) -> Iterator[Event]:
        if isinstance(request, Prepare):
            return self._prepare(request.pair)
        if isinstance(request, TrainTogether):
            return self._train_together(request.trials)
        if isinstance(request, Train):
            return self._train(request)
        if isinstance(request, Cost):
            return self._cost(request)
        if isinstance(request, Pace):
            self.script.paced.append(request.together)
            return iter([self.script.paces(request.together)])
        assert isinstance(request, Evaluate)
        return self._evaluate(request)

    def _cost(self, request: Cost) -> Iterator[Event]:
        self.script.costed.append(request)
        config = json.loads((Path(request.fuser_dir) / "fuser_config.json").read_text())
        if self.script.costless:
            yield Failed(failure="invalid", message=self.script.costless)
            return
        yield Costs(latency_ms=self.script.latency(config["accuracy"]), peak_memory_mb=1.0)

    def _prepare(self, pair: PairSpec) -> Iterator[Event]:
        if self.script.prepare is not None:
            yield from self.script.prepare(self, pair)
            return
        yield self._event(Progress(stage="load", done=1, total=1))
        yield Prepared(
            models={role: self._identity(getattr(pair, role)) for role in ("receiver", "sharer")},
            data={split: f"sha-{split}" for split in ("train", "validation", "test")},
            seconds={"load": 0.0},
            dtype="float32",
            date=self.script.dates[-1] or self.script.date,
            prompts=self.script.prompts,
        )

    def _keep(self, checkpoint: Path, step: int, answered: int) -> None:
        """Go on from this step, if the process is ended now, and tell those since an answer."""
        # Whole or not at all: another thread may end the process meanwhile.
        written = checkpoint.with_suffix(".new")
        written.write_text(f"{step} {answered}")
        written.replace(checkpoint)

    def _step(self, step: int) -> Event:
        told = {"train/loss": 1 / step}
        return self._event(Step(step=step, steps=4, loss=1 / step, metrics=told))

    def _train(self, request: Train) -> Iterator[Event]:
        config, directory = request.config, Path(request.directory)
        if request.learner != "fuser":
            yield from self._adapt(request)
            return
        self.script.trained.append(config)
        self.script.asked.append(request)
        if (failed := self.script.failures(config)) is not None:
            yield failed
            return
        checkpoint, accuracy = directory / "step.txt", self.script.accuracy(config)
        deranged = None
        if config.fuser.sharer != "blank":
            deranged = self.script.deranged(config, accuracy)
        known = request.objective.metrics(accuracy, deranged)
        metrics = {f"validation/{name}": value for name, value in known.items()}
        objective = request.objective.value(accuracy, deranged)
        directory.mkdir(parents=True, exist_ok=True)
        step, answered = (
            map(int, checkpoint.read_text().split()) if checkpoint.exists() else (0, 0)
        )
        self.script.resumed.append(step)
        for each in range(answered + 1, step + 1):
            yield self._step(each)
        pruned = False
        for rung, until in enumerate(config.training.rung_steps):
            while step < until:
                step += 1
                yield self._step(step)
                self._keep(checkpoint, step, answered)
            yield self._event(
                Rung(
                    rung=rung,
                    step=until,
                    split="validation",
                    objective=objective,
                    accuracy=accuracy,
                    deranged=deranged,
                    blocks=self.script.blocks(config, objective),
                    metrics=metrics,
                    parameters=1000 * config.fuser.depth,
                    tokens=100 * until,
                    flops=1e9 * until,
                )
            )
            if until < config.training.steps:
                assert self._answer is not None
                pruned, self._answer = not self._answer, None
                answered = until
            if pruned:
                break
        best = directory / "best"
        best.mkdir(exist_ok=True)
        (best / "fuser_config.json").write_text(json.dumps({"accuracy": accuracy}))
        (best / "fuser.safetensors").write_bytes(_safetensors())
        if config.fuser.drafts:
            (directory / DRAFTS).write_text('{"id": "q0", "question": "?", "draft": "!"}\n')
        assert self._answer is None
        yield Trained(
            step=step,
            split="validation",
            pruned=pruned,
            objective=objective,
            accuracy=accuracy,
            deranged=deranged,
            blocks=self.script.blocks(config, objective),
            best_rung=0,
            best_dir=str(best),
            parameters=1000 * config.fuser.depth,
            bytes=4000,
            seconds={"train": 1.0},
            metrics=metrics,
        )

    def _train_together(self, trials: Sequence[Train]) -> Iterator[Event]:
        """An event of each in turn; what fails in one, or is larger than fits, fails the group."""
        self.script.together.append([trial.config for trial in trials])
        if len(trials) > self.script.fit:
            yield Failed(failure="out_of_memory", message="too large")
            return
        running, begun = {}, 0
        joining = trials
        while running or joining:
            for trial in joining:
                running[begun], begun = self._train(trial), begun + 1
            joining = ()
            for index, training in list(running.items()):
                event = next(training)
                if isinstance(event, Failed):
                    yield event
                    return
                yield OfTrial(index=index, event=event)  # type: ignore[arg-type]
                if isinstance(event, Rung):  # the answer is to it, and to no other trial's
                    event = next(training)
                    yield OfTrial(index=index, event=event)  # type: ignore[arg-type]
                if isinstance(event, Trained):
                    del running[index]
                    assert self._joining is not None
                    self.script.joined += [trial.config for trial in self._joining]
                    joining, self._joining = (*joining, *self._joining), None
        yield TrainedTogether()

    def _adapt(self, request: Train) -> Iterator[Event]:
        self.script.adapted.append(request.config)
        adapter = Path(request.directory) / "best"
        adapter.mkdir(parents=True)
        (adapter / "fuser_config.json").write_text(json.dumps({"accuracy": 0.4}))
        yield self._event(
            Rung(
                rung=0,
                step=4,
                split="validation",
                objective=0.5,
                accuracy=0.5,
                metrics={"train/loss": 1.0},
            )
        )
        yield Trained(
            step=4,
            split="validation",
            pruned=False,
            objective=0.5,
            accuracy=0.5,
            best_rung=0,
            best_dir=str(adapter),
            parameters=request.parameters,
            bytes=4 * request.parameters,
            seconds={"train": 1.0},
            metrics={"validation/accuracy": 0.5, "lora/rank": 2},
        )

    def interrupt(self) -> None:
        """Its requests are short, and end by themselves."""

    def answer(self, go_on: bool) -> None:
        assert self._answer is None
        self._answer = go_on

    def join(self, trials: Sequence[Train]) -> None:
        assert self._joining is None
        self._joining = tuple(trials)

    def _evaluate(self, request: Evaluate) -> Iterator[Event]:
        self.script.evaluated.append(request)
        yield self._event(Progress(stage="evaluate", done=0, total=1))
        learned = request.trained_dir or request.fuser_dir
        if request.system in ("receiver", "sharer"):
            accuracy = self.script.alone[_name(getattr(request.pair, request.system))]
        elif request.system == "shut" or learned is None or self._deranged(request):
            accuracy = self.script.alone[_name(request.pair.receiver)]
            accuracy += self.script.shut_adds if request.system == "shut" else 0
        else:
            config = json.loads((Path(learned) / "fuser_config.json").read_text())
            accuracy = config["accuracy"]
            accuracy -= 0.2 if request.system in _UNHEARD else 0
        items = answers(accuracy, self.script.groups)
        yield Result(system=request.system, split=request.split, items=items)

    def _deranged(self, request: Evaluate) -> bool:
        """Whether the fuser has nothing to say: it listens, and hears the wrong message."""
        return request.system == "deranged" and not self.script.deaf

    def _event(self, event: Event) -> Event:
        self.script.events += 1
        self.script.at(self.script.events)
        return event

    def _identity(self, source: str) -> dict[str, str | None]:
        name = _name(source)
        return {
            "source": source,
            "revision": None,
            "architecture": "Tiny",
            "weights_sha256": f"{self.script.weights}-{name}",
            "tokenizer_sha256": "t",
            "config_sha256": "c",
            "licence": "Apache-2.0",
            "licence_url": None,
        }


def _name(source: str) -> str:
    return Path(source.partition(":")[2]).name


def answers(
    accuracy: float, groups: tuple[str, str] = ("country/ja", "country/zh")
) -> tuple[ItemResult, ...]:
    """The first items right, the rest wrong, two items a cluster."""
    right = round(accuracy * ITEMS)
    return tuple(
        ItemResult(
            id=f"q{i}",
            group=groups[i % 2],
            cluster=f"c{i // 2}",
            answer=0,
            chosen=int(i >= right),
            scores=(0.0, -1.0) if i < right else (-1.0, 0.0),
        )
        for i in range(ITEMS)
    )


def _safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


def fake_promotion(session: Session, final: FinalEvaluation) -> PromotedChampion:
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


class Unrecorded:
    """A tracker and its runs that keep nothing, for tests that look at Optuna alone."""

    run_id = "none"

    def trial(self, *args: object, **options: object) -> Unrecorded:
        return self

    study = open = trial

    def children(self, parent: str) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # MLflow's part is the one that tests/tracking and tests/champion make.
    root = tmp_path_factory.getbasetemp() / "mlruns-template"
    open_store(root)
    storage.open_storage(root).engine.dispose()
    return root


@pytest.fixture
def root(stores: Path, tmp_path: Path) -> Path:
    root = tmp_path / "mlruns"
    root.mkdir()
    for name in ("mlflow.db", storage.DATABASE):
        shutil.copy(stores / name, root)
    relocate(root)
    return root


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    return write_space(tmp_path)


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def start_worker(script: Script) -> Callable[..., FakeWorker]:
    def start(pipeline: Pipeline, log_file: Path, dtype: str | None, share: Share) -> FakeWorker:
        script.dtypes.append(dtype)
        script.dates.append(pipeline.data.date)
        return FakeWorker(script)

    return start


@pytest.fixture
def run(
    space_file: Path, root: Path, start_worker: Callable[..., FakeWorker], output: io.StringIO
) -> Callable[..., Outcome]:
    """Runs the study of ``space_file`` with the scripted worker."""

    def run(**options: Any) -> Outcome:
        return run_study(
            space_file,
            root=options.pop("root", root),
            console=Console(file=output, width=120),
            worker_factory=options.pop("worker_factory", start_worker),
            promotion=options.pop("promotion", fake_promotion),
            ready=options.pop("ready", lambda space, file: None),
            sleep=lambda seconds: None,
            **options,
        )

    return run


@pytest.fixture
def quick(run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """`run` without MLflow, which takes nine tenths of the time."""
    monkeypatch.setattr(start, "Tracker", Unrecorded())
    for name in ("reconcile", "save_views"):
        monkeypatch.setattr(start, name, lambda *args: None)
    return run


@pytest.fixture
def planned_space(tiny_pair, tmp_path: Path) -> Space:
    """On real models: both ways of a pair, two alignments; the first fuser is enqueued."""
    lines = [
        {"question": f"{n} and {'what ' * (n % 5)}?", "choices": list("abc"), "answer": n % 3}
        for n in range(60)
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    there = tiny_pair.model_dump()
    return Space(
        study="tiny",
        pairs={"there": there, "back": dict(zip(there, reversed(there.values()), strict=True))},
        search={"trials": 4, "pruner": "none"},
        dimensions={
            "pair": {"choices": ["there", "back"]},
            "fuser.width": {"choices": [8, 16]},
            "fuser.token_alignment": {"choices": ["span", "first"]},
        },
        enqueue=[{"pair": "there", "fuser.width": 8, "fuser.token_alignment": "span"}],
        pipeline={
            "name": "tiny",
            "data": {"source": "jsonl", "files": {"train": [str(file)]}},
            "training": {"steps": 20, "batch_size": 2},
            "champion": {"controls": ["text_relay", "routing"], "finalists": 1},
        },
    )
