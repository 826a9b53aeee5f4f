"""One trial again, from nothing but its configuration."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from c2c_search.config.pipeline import CacheConfig
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.errors import ConfigError
from c2c_search.host.devices import WHOLE
from c2c_search.host.files import write_text
from c2c_search.host.json_store import JsonStore
from c2c_search.host.signals import interruptible
from c2c_search.host.terminal import Console
from c2c_search.inference.manifest import read_manifest
from c2c_search.models.sources import short_names
from c2c_search.report.live import View
from c2c_search.report.live import watch
from c2c_search.report.state import Score
from c2c_search.report.state import StudyState
from c2c_search.space.objective import Objective
from c2c_search.space.objective import objective_in
from c2c_search.study.driver import WorkerFactory
from c2c_search.study.driver import start_worker
from c2c_search.study.trainer import TrainerClient
from c2c_search.study.trainer import TrainingRequest
from c2c_search.study.unchanged import check_unchanged
from c2c_search.training import retries
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Rung
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained


class _Shown:
    """Shows a training; it always goes on."""

    def __init__(self, view: View, name: str) -> None:
        self._view = view
        self._name = name

    def on_step(self, step: Step) -> None:
        self._view.step(self._name, step.step, step.loss)

    def on_rung(self, rung: Rung) -> bool:
        self._view.rung(self._name, rung.step, Score(rung.accuracy, rung.deranged))
        return True


def repeat_trial(
    path: Path,
    directory: Path | None = None,
    *,
    console: Console | None = None,
    worker_factory: WorkerFactory = start_worker,
    sleep: Callable[[float], None] = time.sleep,
) -> Trained:
    """Train the trial of a file to its end and print its metrics.

    Args:
        path: A ``trial.yaml``, or a champion's folder; in a study's folder its best rung is
            chosen as it was there.
        directory: Keeps checkpoints and fusers; ``trial-HASH`` here if None. Goes on from a
            checkpoint in it.
        console: Where progress and metrics go; standard output by default.
        worker_factory: Starts the worker process.
        sleep: Waits before a new attempt.

    Raises:
        ConfigError: The file is not a trial.
        DataError: Models, data or prompts are not those of the study beside the file.
        C2CError: The trial failed.
    """
    console = console or Console()
    config = _trained_by(path) if path.is_dir() else TrialConfig.load(path)
    name, objective = f"trial-{config.hash()}", objective_in(path.parent)
    folder = _claim((directory or Path(name)).absolute(), config, objective)
    pipeline = Pipeline(
        name=name,
        data=config.data,
        training=config.training,
        evaluation=config.evaluation,
        caches=CacheConfig(dtype=config.cache_dtype),
    )
    pair = config.pair
    short = short_names((pair.receiver, pair.sharer))
    state = StudyState(name=name, trials=1, steps=config.training.steps, twins=0)
    with (
        interruptible(),
        watch(state, console) as view,
        TrainerClient(
            lambda dtype: worker_factory(pipeline, folder / "worker.log", dtype, WHOLE),
            {"pair": config.pair},
            JsonStore(folder / "results"),
            view,
            sleep=sleep,
        ) as trainer,
    ):
        trainer.prepare()
        if (studied := _studied(path, config)) is not None:
            check_unchanged(str(config.pair), studied, trainer.prepared["pair"])
        view.begin(
            name,
            {"pair": f"{short[pair.receiver]} <- {short[pair.sharer]}"},
            config.training.steps,
        )
        train = Train(config=config, directory=str(folder), objective=objective)
        ended = trainer.train(TrainingRequest(train, _Shown(view, name)))
    if isinstance(ended, Failed):
        raise retries.error(ended, f"{name} failed ({ended.failure})")
    for metric, value in {"objective": ended.objective, **ended.metrics}.items():
        console.print(f"{metric:<32}{value:.6g}", highlight=False)
    console.print(f"{'fuser':<32}{folder / ended.best_dir}", highlight=False, soft_wrap=True)
    return ended


def _studied(path: Path, config: TrialConfig) -> Prepared | None:
    """The pair as the study prepared it in whose folder the trial's file lies; None elsewhere."""
    results = JsonStore(path.absolute().parent.parent / "results")
    for file in sorted((results.folder / "prepared").glob("*.json")):
        known = results.load(f"prepared/{file.stem}", Prepared)
        sources = (
            {}
            if known is None
            else {role: one.get("source") for role, one in known.models.items()}
        )
        if sources == {"receiver": config.pair.receiver, "sharer": config.pair.sharer}:
            return known
    return None


def _trained_by(champion: Path) -> TrialConfig:
    """The trial that a champion's manifest tells of."""
    trial = read_manifest(champion).trial
    if trial is None:
        raise ConfigError(
            "A trial is repeated of a champion that a study found.",
            value=str(champion),
            hint="It was imported: how it was trained is not on record.",
        )
    return TrialConfig.from_yaml(json.dumps(trial), name=str(champion))  # which is YAML too


def _claim(folder: Path, config: TrialConfig, objective: Objective) -> Path:
    """Bind a folder to a trial, so that no other one goes on from its checkpoints."""
    bound = folder / "trial.yaml"
    if not bound.exists():
        write_text(bound, config.to_yaml())
        objective.write(folder)
    elif TrialConfig.from_yaml(bound.read_text(encoding="utf-8")).hash() != config.hash():
        raise ConfigError(
            "A folder keeps the checkpoints of one trial, and this one has another's.",
            value=str(folder),
            hint="Name another folder with --to.",
        )
    return folder
