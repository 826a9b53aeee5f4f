"""What every value of every axis of the fuser costs and scores, one change at a time.

Each value is trained for the same small budget on a pipeline's data and the quickstart's pair,
with the same seeds as the base fuser, and judged on validation, with the right messages and with
other items'; intervals resample whole facts over all seeds. What is done is kept in the folder of
results: an interrupted run goes on.

    python benchmarks/fuser_axes.py --markdown docs/fuser_axes.md
    python benchmarks/fuser_axes.py --pipeline private --sets private --steps 400

``--sets size`` compares the published fuser's size with small ones (minutes a training).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fuser_variants import SETS
from fuser_variants import TITLES
from fuser_variants import Variant
from fuser_variants import training_of
from rich.console import Console
from rich.progress import Progress

from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.pairing import Pairing
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.fuser import cost
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.shapes import CacheShape
from c2c_search.models.pair import PairSpec
from c2c_search.study.sizes import shape_of
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.protocol import Evaluate
from c2c_search.training.service import WorkerService


ROOT = Path(__file__).parent.parent
PAIR = PairSpec(receiver="pypi:smollm2-135m-instruct", sharer="pypi:gemma-3-270m")


@dataclass(frozen=True)
class Done:
    """A variant's trainings: answers by seed, and the mean wall time.

    ``answers`` are those with the right messages, ``wrong`` those with other items', ``alone``
    those of the receiver.
    """

    variant: Variant
    answers: dict[int, SystemResult]
    wrong: dict[int, SystemResult]
    alone: dict[int, SystemResult]
    seconds: float

    def pairing(self) -> Pairing:
        """A_M, P and P/G over all seeds."""
        seeds = sorted(self.answers)
        return pairing(
            *(pooled(results, seeds) for results in (self.answers, self.wrong, self.alone))
        )


def pooled(results: dict[int, SystemResult], seeds: Iterable[int]) -> SystemResult:
    """Some seeds' answers as one system: a fact's items stay together in resampling."""
    items = [
        item.model_copy(update={"id": f"{item.id}#{seed}"})
        for seed in seeds
        for item in results[seed].items
    ]
    return SystemResult(system="c2c", split="validation", items=tuple(items))


def main() -> None:
    """Train what is missing, then write the tables."""
    options = parse()
    torch.manual_seed(0)
    keep_freed_memory()
    missing = [
        (variant, seed)
        for seed in range(options.seeds)
        for name in options.sets
        for variant in SETS[name]
        if not _path(options, variant, seed).exists()
    ]
    if missing and not options.table_only:
        with Progress(console=Console(stderr=True)) as progress:
            service = WorkerService(_pipeline(options), cache_dir=None, emit=lambda event: None)
            alone = _measured(service, "receiver")
            for variant, seed in progress.track(missing, description="trainings"):
                progress.console.print(f"{variant.axis} = {variant.value}, seed {seed}")
                _train(service, options, variant, seed, alone)
    text = _head(options) + "".join(_table(options, name) for name in options.sets)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


def _pipeline(options: argparse.Namespace) -> Any:
    pipeline = load_pipeline(ROOT / "pipelines" / f"{options.pipeline}.yaml")
    training = pipeline.training.model_copy(update={"steps": options.steps, "rungs": (1.0,)})
    return pipeline.model_copy(update={"training": training})


def _config(service: WorkerService, variant: Variant, seed: int) -> TrialConfig:
    training = service.pipeline.training
    training = training.model_copy(update=dict(training_of(variant, training.steps)))
    return TrialConfig(
        pair=PAIR,
        fuser=FuserConfig.model_validate(variant.fuser),
        training=training,
        data=service.pipeline.data,
        evaluation=service.pipeline.evaluation,
        seed=seed,
    )


def _train(
    service: WorkerService,
    options: argparse.Namespace,
    variant: Variant,
    seed: int,
    alone: SystemResult,
) -> None:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = service.trial(_config(service, variant, seed), Path(folder), go_on=lambda: True)
        trained = run.run()
        seconds = time.perf_counter() - begun
        wrong = _measured(service, "deranged", trained.best_dir)
    assert run.answers is not None
    content = {
        "answers": run.answers.model_dump(mode="json"),
        "wrong": wrong.model_dump(mode="json"),
        "alone": alone.model_dump(mode="json"),
        "seconds": seconds,
        "trained": trained.model_dump(mode="json"),
    }
    path = _path(options, variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)


def _measured(service: WorkerService, system: str, fuser_dir: str | None = None) -> SystemResult:
    request = Evaluate(system=system, pair=PAIR, split="validation", fuser_dir=fuser_dir)
    items = service.evaluate(request).items
    return SystemResult(system=system, split="validation", items=items)


def _path(options: argparse.Namespace, variant: Variant, seed: int) -> Path:
    name = f"{variant.name}-{options.steps}-{seed}.json"
    return Path(options.results) / options.pipeline / name


def _read(options: argparse.Namespace, variant: Variant) -> Done | None:
    found: dict[str, dict[int, SystemResult]] = {"answers": {}, "wrong": {}, "alone": {}}
    seconds = []
    for seed in range(options.seeds):
        path = _path(options, variant, seed)
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            for kind, results in found.items():
                results[seed] = SystemResult.model_validate(content[kind])
            seconds.append(content["seconds"])
    return Done(variant, **found, seconds=sum(seconds) / len(seconds)) if seconds else None


def _head(options: argparse.Namespace) -> str:
    command = (
        f"python benchmarks/fuser_axes.py --pipeline {options.pipeline} --steps {options.steps} "
        f"--seeds {options.seeds} --sets {' '.join(options.sets)}"
    )
    batch = _pipeline(options).training.batch_size
    return (
        "# What every value of every axis costs and scores\n\n"
        f"Each fuser is trained for {options.steps} steps of {batch} questions of "
        f"`pipelines/{options.pipeline}.yaml` on the quickstart's pair ({PAIR}) and judged on its "
        "validation questions. A_M: with the right messages; P = A_M - A_D: above its accuracy "
        "with other items' messages; P/G: P as a share of what it gains over its receiver alone. "
        "Intervals: 95 %, whole facts resampled over all seeds; `minus base` is A_M's difference, "
        "paired by question and seed. Seconds are a training's wall time, beside whatever else "
        f"ran. What each axis is: [fusers.md](fusers.md). Command: `{command}`.\n"
    )


def _table(options: argparse.Namespace, name: str) -> str:
    found = [done for one in SETS[name] if (done := _read(options, one))]
    if not found or found[0].variant != SETS[name][0]:
        return f"\n## {name}\n\nThe base fuser has not been trained yet.\n"
    shapes = shape_of(PAIR.receiver, adapted=True), shape_of(PAIR.sharer)
    base = json.dumps(found[0].variant.fuser, sort_keys=True)
    if trained := found[0].variant.training:
        base += f"; in training {json.dumps(trained, sort_keys=True)}"
    lines = [
        f"\n## {TITLES[name]}\n\nBase: `{base}`.\n",
        "| axis | value | from | parameters | seconds | seeds | A_M | P | P/G | minus base |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
        *(_line(done, found[0], shapes) for done in found),
    ]
    return "\n".join(lines) + "\n"


def _line(done: Done, base: Done, shapes: tuple[CacheShape, CacheShape]) -> str:
    variant = done.variant
    size = cost.parameters(FuserConfig.model_validate(variant.fuser), *shapes) / 1e6
    difference = ""
    if done is not base:
        both = [seed for seed in done.answers if seed in base.answers]
        difference = str(paired_bootstrap(pooled(done.answers, both), pooled(base.answers, both)))
    found = done.pairing()
    cells: Iterable[str] = (
        variant.axis,
        variant.value,
        variant.source,
        f"{size:.2f} M",
        f"{done.seconds:.0f}",
        str(len(done.answers)),
        str(found.matched),
        str(found.pairing_gain),
        "" if found.share is None else found.share.written(".2f"),
        difference,
    )
    return "| " + " | ".join(cells) + " |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["axes", "linear"])
    parser.add_argument("--pipeline", choices=["quickstart", "private"], default="quickstart")
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each fuser")
    parser.add_argument("--results", default="mlruns/fuser_axes", help="folder of what is done")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
