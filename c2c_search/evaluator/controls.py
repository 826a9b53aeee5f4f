"""The controls that must be trained, with the subject's data, steps and seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluator.target import BEST
from c2c_search.evaluator.target import TRIAL
from c2c_search.evaluator.target import studied_in
from c2c_search.host import signals
from c2c_search.host.files import write_text
from c2c_search.host.json_store import JsonStore
from c2c_search.report.progress import Tell
from c2c_search.training import retries
from c2c_search.training.launch import Worker
from c2c_search.training.protocol import Adapted
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Progress
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Trained


ADAPTED = "adapted"
"""File (without .json) that says how a LoRA adapter's training ended."""

TRAINED = ("no_sharer", "ridge", "lora")
"""Systems that cannot answer before they are trained."""


def trial_of(system: str, trial: TrialConfig) -> TrialConfig:
    """How a control (or, for ``c2c``, the subject itself) is trained.

    Raises:
        KeyError: The system is not trained by a TrialConfig.
    """
    return {
        "c2c": lambda: trial,
        "no_sharer": trial.with_blank_sharer,
        "ridge": trial.with_ridge,
    }[system]()


@dataclass(frozen=True)
class Trainer:
    """Trains controls in a process of their own, each once; interrupted ones go on.

    Args:
        trial: Of the subject.
        folder: Keeps what is trained.
        root: Folder of all stores: a study under it may have trained a control already.
        tell: Hears of progress.
        dtype: What the models compute in.
    """

    trial: TrialConfig
    folder: Path
    root: Path
    tell: Tell
    dtype: str = "float32"

    def fuser(self, system: str, seed: int = 0) -> Path:
        """Folder of a control's fuser, trained if there is none yet.

        Args:
            system: ``no_sharer``, ``ridge``, or ``c2c`` for the subject with another seed.
            seed: Added to the trial's own.

        Raises:
            C2CError: It cannot be trained.
        """
        config = trial_of(system, self.trial)
        config = config.model_copy(update={"seed": config.seed + seed})
        if (known := self._known(config)) is not None:
            return known
        folder = self.folder / config.hash()
        write_text(folder / TRIAL, config.to_yaml())
        title = f"training {system}" + (f", seed {config.seed}" if seed else "")
        self._train(title, config, lambda worker: worker.train(config, folder), asks=True)
        write_text(folder / "done", "")
        return folder / BEST

    def adapter(self, parameters: int, seed: int = 0) -> Path:
        """Folder of a LoRA adapter of the receiver, trained if there is none yet.

        Args:
            parameters: Its size at most.
            seed: Added to the trial's own.

        Raises:
            C2CError: It cannot be trained.
        """
        config = self.trial.model_copy(update={"seed": self.trial.seed + seed})
        folder = self.folder / f"{config.hash()}-lora-{parameters}"
        ledger = JsonStore(folder)
        known = ledger.load(ADAPTED, Adapted)
        if known is None:
            title = "training lora" + (f", seed {config.seed}" if seed else "")
            ended = self._train(
                title, config, lambda worker: worker.adapt(config, parameters, folder)
            )
            assert isinstance(ended, Adapted)
            known = ended.model_copy(
                update={"adapter_dir": os.path.relpath(ended.adapter_dir, folder)}
            )
            ledger.save(ADAPTED, known)
        return folder / known.adapter_dir

    def _known(self, config: TrialConfig) -> Path | None:
        """Where this very configuration has been trained to its end, in this dtype."""
        own = self.folder / config.hash()
        if (own / "done").is_file():
            return own / BEST
        for folder in sorted((self.root / "trials").glob(f"*/{config.hash()}")):
            results = JsonStore(folder.parent / "results")
            if (studied_in(results) or "float32") != self.dtype:
                continue
            ended = results.load(f"trained/{config.hash()}", Trained)
            if ended is not None and not ended.pruned and (folder / ended.best_dir).is_dir():
                return folder / ended.best_dir
        return None

    def _worker(self) -> Worker:
        trial = self.trial
        pipeline = Pipeline(
            name="exam",
            data=trial.data,
            training=trial.training,
            evaluation=trial.evaluation,
            caches=CacheConfig(dtype=trial.cache_dtype),
        )
        return Worker(pipeline, log_file=self.folder / "worker.log", dtype=self.dtype)

    def _train(
        self,
        title: str,
        config: TrialConfig,
        request: Callable[[Worker], Iterator[Event]],
        *,
        asks: bool = False,
    ) -> Trained | Adapted:
        """Let a worker train something to its end; ``asks`` whether it waits at rungs."""
        steps = config.training.steps
        with self._worker() as worker:

            def hear(event: Event) -> None:
                signals.check()
                if isinstance(event, Progress):
                    self.tell(f"{title}: {event.stage}", event.done, event.total)
                elif isinstance(event, Step):
                    self.tell(f"{title}, loss {event.loss:.3f}", event.step, event.steps)
                elif isinstance(event, Rung) and asks and event.step < steps:
                    worker.answer(True)

            last = retries.attempt(
                lambda: request(worker), hear, on_retry=lambda text: self.tell(text, 0, 0)
            )
        if not isinstance(last, Trained | Adapted):
            assert isinstance(last, Failed)
            raise retries.error(last, f"{title} failed ({last.failure})")
        return last
