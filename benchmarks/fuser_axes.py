"""What every value of every axis of the fuser costs and scores, one change at a time.

Each value is trained for the same small budget on the quickstart's pair and data, with the same
seeds as the base fuser, and judged on validation; intervals resample whole countries over all
seeds. What is done is kept in the folder of results: an interrupted run goes on.

    python benchmarks/fuser_axes.py --markdown docs/fuser_axes.md

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
from rich.console import Console
from rich.progress import Progress

from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.trial import TrialConfig
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.fuser import cost
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.shapes import CacheShape
from c2c_search.models.pair import PairSpec
from c2c_search.study.sizes import shape_of
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.service import WorkerService


ROOT = Path(__file__).parent.parent
PAIR = PairSpec(receiver="pypi:smollm2-135m-instruct", sharer="pypi:gemma-3-270m")


@dataclass(frozen=True)
class Done:
    """A variant's trainings: answers by seed, and the mean wall time."""

    variant: Variant
    answers: dict[int, SystemResult]
    seconds: float

    def pooled(self, seeds: Iterable[int]) -> SystemResult:
        """Some seeds' answers as one system: a country's items stay together in resampling."""
        items = [
            item.model_copy(update={"id": f"{item.id}#{seed}"})
            for seed in seeds
            for item in self.answers[seed].items
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
            for variant, seed in progress.track(missing, description="trainings"):
                progress.console.print(f"{variant.axis} = {variant.value}, seed {seed}")
                _train(service, options, variant, seed)
    text = _head(options) + "".join(_table(options, name) for name in options.sets)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


def _pipeline(options: argparse.Namespace) -> Any:
    pipeline = load_pipeline(ROOT / "pipelines" / "quickstart.yaml")
    training = pipeline.training.model_copy(update={"steps": options.steps, "rungs": (1.0,)})
    return pipeline.model_copy(update={"training": training})


def _config(service: WorkerService, variant: Variant, seed: int) -> TrialConfig:
    training = service.pipeline.training.model_copy(update=dict(variant.training))
    return TrialConfig(
        pair=PAIR,
        fuser=FuserConfig.model_validate(variant.fuser),
        training=training,
        data=service.pipeline.data,
        evaluation=service.pipeline.evaluation,
        seed=seed,
    )


def _train(
    service: WorkerService, options: argparse.Namespace, variant: Variant, seed: int
) -> None:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = service.trial(_config(service, variant, seed), Path(folder), go_on=lambda: True)
        trained = run.run()
    assert run.answers is not None
    content = {
        "answers": run.answers.model_dump(mode="json"),
        "seconds": time.perf_counter() - begun,
        "trained": trained.model_dump(mode="json"),
    }
    path = _path(options, variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)


def _path(options: argparse.Namespace, variant: Variant, seed: int) -> Path:
    return Path(options.results) / f"{variant.name}-{options.steps}-{seed}.json"


def _read(options: argparse.Namespace, variant: Variant) -> Done | None:
    answers, seconds = {}, []
    for seed in range(options.seeds):
        path = _path(options, variant, seed)
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            answers[seed] = SystemResult.model_validate(content["answers"])
            seconds.append(content["seconds"])
    return Done(variant, answers, sum(seconds) / len(seconds)) if answers else None


def _head(options: argparse.Namespace) -> str:
    command = f"python benchmarks/fuser_axes.py --steps {options.steps} --seeds {options.seeds}"
    batch = _pipeline(options).training.batch_size
    return (
        "# What every value of every axis costs and scores\n\n"
        f"Each fuser is trained for {options.steps} steps of {batch} questions on the "
        f"quickstart's pair ({PAIR}) and judged on its 300 validation questions. Intervals: "
        "95 %, whole countries resampled over all seeds; `minus base` is paired by question and "
        "seed. Seconds are a training's wall time, beside whatever else ran. What each axis is: "
        f"[fusers.md](fusers.md). Command: `{command} --sets {' '.join(options.sets)}`.\n"
    )


def _table(options: argparse.Namespace, name: str) -> str:
    found = [done for one in SETS[name] if (done := _read(options, one))]
    if not found or found[0].variant != SETS[name][0]:
        return f"\n## {name}\n\nThe base fuser has not been trained yet.\n"
    shapes = shape_of(PAIR.receiver, adapted=True), shape_of(PAIR.sharer)
    base = json.dumps(found[0].variant.fuser, sort_keys=True)
    lines = [
        f"\n## {TITLES[name]}\n\nBase: `{base}`.\n",
        "| axis | value | from | parameters | seconds | seeds | accuracy | minus base |",
        "|---|---|---|--:|--:|--:|--:|--:|",
        *(_line(done, found[0], shapes) for done in found),
    ]
    return "\n".join(lines) + "\n"


def _line(done: Done, base: Done, shapes: tuple[CacheShape, CacheShape]) -> str:
    variant = done.variant
    size = cost.parameters(FuserConfig.model_validate(variant.fuser), *shapes) / 1e6
    difference = ""
    if done is not base:
        both = [seed for seed in done.answers if seed in base.answers]
        difference = str(paired_bootstrap(done.pooled(both), base.pooled(both)))
    cells: Iterable[str] = (
        variant.axis,
        variant.value,
        variant.source,
        f"{size:.2f} M",
        f"{done.seconds:.0f}",
        str(len(done.answers)),
        str(accuracy_interval(done.pooled(done.answers))),
        difference,
    )
    return "| " + " | ".join(cells) + " |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["axes", "linear"])
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of a training")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each fuser")
    parser.add_argument("--results", default="mlruns/fuser_axes", help="folder of what is done")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
