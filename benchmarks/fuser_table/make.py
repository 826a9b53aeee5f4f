"""Trains fusers drawn at random from a space, and keeps their learning curves as one table.

Each training is written to the folder of results as it ends; an interrupted run goes on, also in
the middle of a training. Fuser k is the same however many are asked for. What a table holds is
not trained again, so that it can grow on one machine after another:

    table=c2c_search/testing/fusers.parquet
    python benchmarks/fuser_table/make.py --fusers 300 --together 4 --extend $table
    python benchmarks/fuser_table/make.py --fusers 0 --extend $table --parquet $table

README.md beside this file is the table's data card.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from filelock import FileLock
from filelock import Timeout

from c2c_search.config.trial import TrialConfig
from c2c_search.errors import C2CError
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.registry import SYSTEMS
from c2c_search.host.files import write_text
from c2c_search.models.pair import PairSpec
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import walk
from c2c_search.space.objective import Objective
from c2c_search.space.reference import PAIR
from c2c_search.space.reference import reference
from c2c_search.space.schema import Space
from c2c_search.system_names import TWIN
from c2c_search.testing.tabled_fusers import FILE
from c2c_search.testing.tabled_fusers import FORMAT
from c2c_search.testing.tabled_fusers import table_rows
from c2c_search.testing.tabled_fusers import write_table
from c2c_search.training.divergence import DivergedError
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.process import release_memory
from c2c_search.training.protocol import Evaluate
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Split
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.service import WorkerService


ROOT = Path(__file__).parents[2]
EVERY, SEEDS = 10, 3
"""Every tenth fuser is trained with three seeds, which tell the noise; the others with one."""


@dataclass(frozen=True)
class Task:
    """One training: fuser ``number`` of the table, with a seed."""

    number: int
    seed: int
    params: Params
    config: TrialConfig

    @property
    def folder(self) -> str:
        return f"{self.number}-{self.seed}"


def main() -> None:
    """Train what is missing, then write the table."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    space = shortened(Space.load(options.space), options)
    options.results.mkdir(parents=True, exist_ok=True)
    claim(options.results, space)
    log = options.results / "trainings.jsonl"
    before = [] if options.extend is None else rows_of(options.extend, options.results, space)
    if options.fusers:
        with sole(options.results):
            mend(log)
            done = {(one["fuser"], one["seed"]) for one in (*read(log), *before)}
            if missing := to_do(space, options.fusers, done):
                Maker(space, options.results).make(missing, options.together)
    if options.parquet:
        known = json.loads((options.results / "table.json").read_text(encoding="utf-8"))
        trainings = read(log)
        new = {(one["fuser"], one["seed"]) for one in trainings}
        others = [row for row in before if (row["fuser"], row["seed"]) not in new]
        write_table(options.parquet, known, trainings, others)
        print(f"{len(trainings)} new trainings in {options.parquet}")


def shortened(space: Space, options: argparse.Namespace) -> Space:
    """The space with the table's budget: fewer steps and questions, one derangement."""
    pipeline = space.pipeline
    limit = {"validation": options.validation, "test": options.test}
    update = {
        "training": {"steps": options.steps, "rungs": tuple(options.rungs)},
        "data": {"limit": pipeline.data.limit.model_copy(update=limit)},
        "evaluation": {"derangements": 1},
    }
    sections = {
        name: getattr(pipeline, name).model_copy(update=each) for name, each in update.items()
    }
    return space.model_copy(update={"pipeline": pipeline.model_copy(update=sections)})


def claim(folder: Path, space: Space) -> None:
    """Bind the folder to a space and a budget.

    Raises:
        SystemExit: It has trainings of others.
    """
    path = folder / "space.json"
    mine = space.identity()
    if not path.exists():
        write_text(path, json.dumps(mine))
    elif json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(mine)):
        raise SystemExit(f"{folder} has trainings of another space or budget: name another one")


def rows_of(table: Path, folder: Path, space: Space) -> list[dict[str, Any]]:
    """The rows of a table that is to grow; what it measured first stands for the folder, too.

    Raises:
        SystemExit: It is of another space or budget.
    """
    about, rows = table_rows(table)
    if about["space"] != json.loads(json.dumps(space.identity())):
        raise SystemExit(f"{table} is of another space or budget: leave --extend out")
    if not (folder / "table.json").exists():
        write_text(folder / "table.json", json.dumps(about))
    return rows


@contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Be the only one who trains into a folder.

    Raises:
        SystemExit: Another process does.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SystemExit(f"another process trains into {folder}") from None
    with lock:
        yield


def draw(space: Space, number: int) -> Params:
    """Fuser ``number``: every dimension that applies by chance, and nothing that is no trial."""
    rng = Random(f"{space.search.seed}/{number}")
    while True:
        params = walk(space.dimensions, lambda _, dimension: dimension.draw(rng))
        try:
            space.configuration(params)
        except C2CError:
            continue
        return params


def to_do(space: Space, fusers: int, done: set[tuple[int, int]]) -> list[Task]:
    """The trainings that are missing, fuser by fuser."""
    found = []
    for number in range(fusers):
        params = draw(space, number)
        config = space.configuration(params)
        for seed in range(SEEDS if number % EVERY == 0 else 1):
            if (number, seed) not in done:
                seeded = config.model_copy(update={"seed": seed})
                found.append(Task(number, seed, params, seeded))
    return found


def groups(tasks: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """Trainings that run side by side: the next ones of one pair."""
    left = list(tasks)
    while left:
        together = [one for one in left if one.config.pair == left[0].config.pair][:size]
        left = [one for one in left if one not in together]
        yield together


def read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; the last one may be in the writing, or torn by a power cut."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def mend(path: Path) -> None:
    """Cut off a torn line, so that the next one stands by itself."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)


def append(path: Path, record: dict[str, Any]) -> None:
    """Add a line, which is on the disk when this returns."""
    with path.open("ab") as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


class Listener:
    """What one training tells; a training that goes on tells its earlier rungs again."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.ended = False
        self.rungs: list[dict[str, Any]] = []
        self._train_loss: float | None = None

    def hear(self, event: Step | Rung) -> None:
        if isinstance(event, Step):
            self._train_loss = event.loss
            return
        heard = {
            "step": event.step,
            "accuracy": event.accuracy,
            "deranged": event.deranged,
            "loss": event.metrics["validation/loss"],
            "train_loss": self._train_loss,
            "gate_open": event.metrics.get("gate/open_eval"),
            "blocks": [round(one, 4) for one in event.blocks],
        }
        self.rungs.append(heard)


class Maker:
    """Trains and measures with the pair's models at hand.

    Args:
        space: With the table's training budget.
        results: Folder of the log, of what was measured first, and of trainings that run.
    """

    def __init__(self, space: Space, results: Path) -> None:
        keep_freed_memory()
        self.space = space
        self.results = results
        self.listeners: dict[int, Listener] = {}
        self.service = WorkerService(space.pipeline, cache_dir=None, emit=self._hear)
        self.objectives: dict[str, Objective] = {}

    def make(self, missing: Sequence[Task], together: int) -> None:
        """Train, group after group, and say how far it is."""
        self._measure_models()
        running = {self._folder(task) for task in missing}
        for folder in set((self.results / "running").glob("*")) - running:
            shutil.rmtree(folder)  # written down, but not yet removed, when it was interrupted
        begun, done = time.perf_counter(), 0
        for group in groups(missing, together):
            self._train(group)
            done += len(group)
            each = (time.perf_counter() - begun) / done
            print(f"{done} of {len(missing)}, {each:.1f} s each", flush=True)

    def _measure_models(self) -> None:
        """What the margin is above, on both splits, measured once and kept."""
        path = self.results / "table.json"
        if not path.exists():
            pairs = {name: self._of_pair(name) for name in self.space.pairs}
            training = self.space.pipeline.training
            known = {
                "format": FORMAT,
                "space": self.space.identity(),
                "pairs": pairs,
                "rungs": training.rung_steps,
                "batch_size": training.batch_size,
            }
            write_text(path, json.dumps(known))
        for name, known in json.loads(path.read_text(encoding="utf-8"))["pairs"].items():
            self.objectives[name] = Objective.model_validate(known["validation"])

    def _of_pair(self, name: str) -> dict[str, Any]:
        pair = self.space.pairs[name]
        self.service.prepare(pair)
        found: dict[str, dict[str, Any]] = {}
        splits: tuple[Split, ...] = ("validation", "test")
        for split in splits:
            alone = {role: self._accuracy(role, pair, split) for role in ("receiver", "sharer")}
            found[split] = {"kind": "margin", **alone, "reference": None}
        if len(self.space.pairs) > 1:
            found["validation"]["reference"] = self._reference(name)
        return found

    def _reference(self, name: str) -> float:
        """Accuracy of the pair's no-sharer reference, as a study trains it."""
        config = self.space.configuration(reference(self.space, name))
        recipe = SYSTEMS[TWIN].recipe
        assert recipe is not None
        twin = recipe.variant(config.model_copy(update={"seed": config.seed + 1}))
        folder = self.results / "running" / f"reference-{name}"
        trained = self.service.train(twin, folder, lambda: False)
        shutil.rmtree(folder)
        return trained.accuracy

    def _train(self, group: Sequence[Task]) -> None:
        """Train a group and write down each as it ends; alone, if they cannot go on together."""
        self.listeners = {number: Listener(task) for number, task in enumerate(group)}
        trials = [self._request(task) for task in group]
        try:
            if len(group) == 1:
                trial = trials[0]
                ended = self.service.train(
                    trial.config, Path(trial.directory), lambda: True, objective=trial.objective
                )
                self._end(0, ended)
            else:
                self.service.train_together(trials, lambda: True)
        except (C2CError, DivergedError) as error:
            if len(group) == 1:
                self._fail(group[0], error)
            left = [one.task for one in self.listeners.values() if not one.ended]
            for task in left if len(group) > 1 else ():
                self._train([task])
        release_memory()

    def _request(self, task: Task) -> Train:
        return Train(
            config=task.config,
            directory=str(self._folder(task)),
            objective=self.objectives[self._pair_of(task)],
        )

    def _hear(self, event: Event) -> None:
        index = 0
        if isinstance(event, OfTrial):
            index, event = event.index, event.event
        if isinstance(event, Step | Rung) and index in self.listeners:
            self.listeners[index].hear(event)
        elif isinstance(event, Trained):
            self._end(index, event)

    def _end(self, index: int, trained: Trained) -> None:
        listener = self.listeners[index]
        listener.ended = True
        task, fuser = listener.task, trained.best_dir
        measure = partial(self._accuracy, pair=task.config.pair, split="test", fuser=fuser)
        record = {
            "parameters": trained.parameters,
            "seconds": trained.seconds,
            "failure": None,
            "rungs": listener.rungs,
            "test": {"accuracy": measure("c2c"), "deranged": measure("deranged")},
        }
        self._write(task, record)

    def _fail(self, task: Task, error: Exception) -> None:
        failure = "diverged" if isinstance(error, DivergedError) else "invalid"
        print(f"fuser {task.folder} failed ({failure}): {error}", flush=True)
        record = {"parameters": 0, "seconds": {}, "failure": failure, "rungs": [], "test": None}
        self._write(task, record)

    def _write(self, task: Task, record: dict[str, Any]) -> None:
        known = {
            "fuser": task.number,
            "seed": task.seed,
            "pair": self._pair_of(task),
            "hash": task.config.hash(),
            "params": task.params,
        }
        append(self.results / "trainings.jsonl", {**known, **record})
        shutil.rmtree(self._folder(task), ignore_errors=True)

    def _pair_of(self, task: Task) -> str:
        return str(task.params.get(PAIR, next(iter(self.space.pairs))))

    def _folder(self, task: Task) -> Path:
        return self.results / "running" / task.folder

    def _accuracy(
        self, system: str, pair: PairSpec, split: Split, fuser: str | None = None
    ) -> float:
        request = Evaluate(system=system, pair=pair, split=split, fuser_dir=fuser)
        items = self.service.evaluate(request).items
        return SystemResult(system=system, split=split, items=items).accuracy


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--space", type=Path, default=ROOT / "spaces" / "names.yaml")
    parser.add_argument("--fusers", type=int, default=300, help="fusers of the table, by number")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of a training")
    parser.add_argument("--rungs", type=float, nargs="+", default=[0.2, 0.4, 1.0])
    parser.add_argument("--validation", type=int, default=150, help="questions at each rung")
    parser.add_argument("--test", type=int, default=150, help="questions at the end")
    parser.add_argument("--together", type=int, default=1, help="trainings side by side")
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    parser.add_argument("--results", type=Path, default=Path("mlruns/fuser_table"))
    parser.add_argument("--extend", type=Path, help="a table whose trainings are not done again")
    parser.add_argument("--parquet", type=Path, help=f"write the table here, e.g. {FILE.name}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
