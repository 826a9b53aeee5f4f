"""The systems that must be trained, with the target's data, steps and seed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.evaluator.target import TRIAL
from c2c_search.evaluator.target import studied_in
from c2c_search.host import signals
from c2c_search.host.files import write_text
from c2c_search.host.json_store import JsonStore
from c2c_search.report.progress import Tell
from c2c_search.space.objective import PLAIN_ACCURACY
from c2c_search.space.objective import Objective
from c2c_search.space.objective import objective_in
from c2c_search.training import retries
from c2c_search.training.launch import Worker
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


@dataclass(frozen=True)
class Trainer:
    """Trains systems in a process of their own, each once; interrupted ones go on.

    Args:
        trial: Of the target.
        parameters: Numbers in the target's fuser.
        folder: Keeps what is trained.
        root: Folder of all stores: a study under it may have trained a control already.
        tell: Hears of progress.
        dtype: What the models compute in.
    """

    trial: TrialConfig
    parameters: int
    folder: Path
    root: Path
    tell: Tell
    dtype: str = "float32"

    def request(self, system: str, seed: int = 0) -> Train:
        """How a system is trained.

        Args:
            system: In the register, with a recipe.
            seed: Added to the trial's own.
        """
        recipe = SYSTEMS[system].recipe
        assert recipe is not None, f"{system} is not trained"
        trial = self.trial.model_copy(update={"seed": self.trial.seed + seed})
        objective = self._objective if system == SUBJECT else PLAIN_ACCURACY
        return Train.of(recipe, trial, self.parameters, lambda name: self.folder / name, objective)

    @cached_property
    def _objective(self) -> Objective:
        """What the target's best rung was chosen by, if a study under the root has trained it."""
        found = sorted((self.root / "trials").glob(f"*/{self.trial.hash()}"))
        return objective_in(found[0]) if found else PLAIN_ACCURACY

    def folder_of(self, system: str, seed: int = 0) -> Path:
        """Folder of what a system has learned, trained if there is none yet.

        Raises:
            C2CError: It cannot be trained.
        """
        train = self.request(system, seed)
        key, store = f"trained/{train.name}", JsonStore(self.folder)
        if (known := self._known(train, key, store)) is not None:
            return known
        folder = Path(train.directory)
        if train.learner == "fuser":
            write_text(folder / TRIAL, train.config.to_yaml())
        title = f"training {system}" + (f", seed {train.config.seed}" if seed else "")
        ended = self._train(title, train)
        best_dir = os.path.relpath(ended.best_dir, folder)
        store.save(key, ended.model_copy(update={"best_dir": best_dir}))
        return folder / best_dir

    def _known(self, train: Train, key: str, store: JsonStore) -> Path | None:
        """Where this very training has been taken to its end, in this dtype."""
        if (ended := store.load(key, Trained)) is not None:
            return Path(train.directory) / ended.best_dir
        for folder in sorted((self.root / "trials").glob(f"*/{train.name}")):
            results = JsonStore(folder.parent / "results")
            if (studied_in(results) or "float32") != self.dtype:
                continue
            ended = results.load(key, Trained)
            if ended is not None and not ended.pruned and (folder / ended.best_dir).is_dir():
                return folder / ended.best_dir
        return None

    def _worker(self) -> Worker:
        trial = self.trial
        pipeline = Pipeline(
            name="evaluation",
            data=trial.data,
            training=trial.training,
            evaluation=trial.evaluation,
            caches=CacheConfig(dtype=trial.cache_dtype),
        )
        return Worker(pipeline, log_file=self.folder / "worker.log", dtype=self.dtype)

    def _train(self, title: str, train: Train) -> Trained:
        """Let a worker train something to its end."""
        with self._worker() as worker:

            def hear(event: Event) -> None:
                signals.check()
                if isinstance(event, Progress):
                    self.tell(f"{title}: {event.stage}", event.done, event.total)
                elif isinstance(event, Step):
                    self.tell(f"{title}, loss {event.loss:.3f}", event.step, event.steps)
                elif isinstance(event, Rung) and event.step < train.config.training.steps:
                    worker.answer(True)

            last = retries.attempt(
                lambda: worker.ask(train), hear, on_retry=lambda text: self.tell(text, 0, 0)
            )
        if not isinstance(last, Trained):
            assert isinstance(last, Failed)
            raise retries.error(last, f"{title} failed ({last.failure})")
        return last
