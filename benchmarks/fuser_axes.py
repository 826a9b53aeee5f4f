"""What every value of every axis of the fuser costs and scores, one change at a time.

Each value is trained for the same small budget on a pipeline's data and the quickstart's pair,
with the same seeds as the base fuser, and judged on validation, with the right messages and with
other items'; intervals resample whole facts over all seeds. What is done is kept in
`fuser_axes.parquet` beside this file, seed after seed: a run goes on where the last one ended, on
this machine or on another one.

    python benchmarks/fuser_axes.py --tables private:300:private \\
        --markdown docs/fuser_axes_private.md
    python benchmarks/fuser_axes.py --tables quickstart:80:axes,linear \\
        --markdown docs/fuser_axes.md

``quickstart:60:size`` compares the published fuser's size with small ones (minutes a training).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import torch
from axes_record import Training
from axes_record import answered
from axes_record import read
from axes_record import write
from fuser_variants import SETS
from fuser_variants import TITLES
from fuser_variants import Variant
from fuser_variants import training_of
from rich.console import Console
from rich.progress import Progress

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.trial import TrialConfig
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
RECORD = Path(__file__).parent / "fuser_axes.parquet"
TASKS = {
    "quickstart": "Questions that both models can read",
    "private": "Passages that the sharer alone has read",
}
_TABLES = ("quickstart:80:axes,linear", "private:300:private")
PAIR = PairSpec(receiver="pypi:smollm2-135m-instruct", sharer="pypi:gemma-3-270m")


@dataclass(frozen=True)
class Table:
    """Variants on a pipeline's data.

    Args:
        pipeline: The file's name in ``pipelines``.
        steps: Optimizer steps of a training.
        sets: Names of `SETS`.
    """

    pipeline: str
    steps: int
    sets: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Table:
        """From ``PIPELINE:STEPS:SET,SET``."""
        pipeline, steps, sets = text.split(":")
        found = tuple(sets.split(","))
        if not set(found) <= set(SETS):
            raise ValueError(f"sets are {', '.join(SETS)}")
        return cls(pipeline, int(steps), found)

    def __str__(self) -> str:
        return f"{self.pipeline}:{self.steps}:{','.join(self.sets)}"

    @cached_property
    def config(self) -> Pipeline:
        """The pipeline with this budget, judged at its end."""
        pipeline = load_pipeline(ROOT / "pipelines" / f"{self.pipeline}.yaml")
        training = pipeline.training.model_copy(update={"steps": self.steps, "rungs": (1.0,)})
        return pipeline.model_copy(update={"training": training})

    def trial(self, variant: Variant, seed: int) -> TrialConfig:
        """A variant's training."""
        pipeline, changed = self.config, dict(training_of(variant, self.steps))
        return TrialConfig(
            pair=PAIR,
            fuser=FuserConfig.model_validate(variant.fuser),
            training=pipeline.training.model_copy(update=changed),
            data=pipeline.data,
            evaluation=pipeline.evaluation,
            seed=seed,
        )

    def missing(self, known: Container[str], seeds: int) -> list[TrialConfig]:
        """What has not been trained, all variants with a seed before the next one."""
        variants = [variant for name in self.sets for variant in SETS[name]]
        trials = [self.trial(variant, seed) for seed in range(seeds) for variant in variants]
        return [trial for trial in trials if trial.hash() not in known]


def main() -> None:
    """Train what is missing, then write the tables."""
    options = parse()
    torch.manual_seed(0)
    keep_freed_memory()
    for table in options.tables:
        missing = table.missing(read(options.record), options.seeds)
        if missing and not options.table_only:
            train(table, missing, options.record)
    known = read(options.record)
    sections = (_section(table, known, options.seeds) for table in options.tables)
    text = _head(options) + "".join(sections)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


def train(table: Table, trials: Sequence[TrialConfig], record: Path) -> None:
    """Train, and add each training to the record as soon as it has ended."""
    with Progress(console=Console(stderr=True)) as progress:
        service = WorkerService(table.config, cache_dir=None, emit=lambda event: None)
        alone = _measured(service, "receiver")
        for trial in progress.track(trials, description=str(table)):
            begun = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                run = service.trial(trial, Path(folder), go_on=lambda: True)
                trained = run.run()
                seconds = time.perf_counter() - begun
                wrong = _measured(service, "deranged", trained.best_dir)
            assert run.answers is not None
            done = Training.of(trial.hash(), seconds, run.answers, wrong, alone)
            write(record, [*read(record).values(), done])


def _measured(service: WorkerService, system: str, fuser_dir: str | None = None) -> SystemResult:
    request = Evaluate(system=system, pair=PAIR, split="validation", fuser_dir=fuser_dir)
    items = service.evaluate(request).items
    return SystemResult(system=system, split="validation", items=items)


def _head(options: argparse.Namespace) -> str:
    command = f"python benchmarks/fuser_axes.py --seeds {options.seeds} --tables "
    command += " ".join(map(str, options.tables))
    return (
        "# What every value of every axis costs and scores\n\n"
        f"Each fuser is trained for the same budget on the quickstart's pair ({PAIR}) and judged "
        "on validation questions. A_M: with the right messages; P = A_M - A_D: above its accuracy "
        "with other items' messages; P/G: P as a share of what it gains over its receiver alone. "
        "Intervals: 95 %, whole facts resampled over all seeds; `minus base` is A_M's difference, "
        "paired by question and seed. Seconds are a training's wall time, beside whatever else "
        f"ran. What each axis is: [fusers.md](fusers.md). Command: `{command}`; "
        "what it found before is in `benchmarks/fuser_axes.parquet`.\n"
    )


def _section(table: Table, known: Mapping[str, Training], seeds: int) -> str:
    asked = f"{table.steps} steps of {table.config.training.batch_size} questions"
    text = f"\n## {TASKS[table.pipeline]}\n\n`pipelines/{table.pipeline}.yaml`, {asked}.\n"
    return text + "".join(_table(table, name, known, seeds) for name in table.sets)


def _table(table: Table, name: str, known: Mapping[str, Training], seeds: int) -> str:
    found = []
    for variant in SETS[name]:
        of_variant = {
            seed: known[digest]
            for seed in range(seeds)
            if (digest := table.trial(variant, seed).hash()) in known
        }
        if of_variant:
            found.append((variant, of_variant))
    text = f"\n### {TITLES[name]}\n\n"
    if not found or found[0][0] != SETS[name][0]:
        return f"{text}The base fuser has not been trained yet.\n"
    shapes = shape_of(PAIR.receiver, adapted=True), shape_of(PAIR.sharer)
    base, trained = found[0]
    described = json.dumps(base.fuser, sort_keys=True)
    if base.training:
        described += f"; in training {json.dumps(base.training, sort_keys=True)}"
    lines = [
        f"Base: `{described}`.\n",
        "| axis | value | from | parameters | seconds | seeds | A_M | P | P/G | minus base |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
        *(_line(variant, of_variant, trained, shapes) for variant, of_variant in found),
    ]
    return text + "\n".join(lines) + "\n"


def _line(
    variant: Variant,
    trained: Mapping[int, Training],
    base: Mapping[int, Training],
    shapes: tuple[CacheShape, CacheShape],
) -> str:
    size = cost.parameters(FuserConfig.model_validate(variant.fuser), *shapes) / 1e6
    done = list(trained.values())
    difference = ""
    both = sorted(set(trained) & set(base))
    if trained is not base and both:
        mine, its = ([each[seed] for seed in both] for each in (trained, base))
        difference = str(paired_bootstrap(answered(mine, "right"), answered(its, "right")))
    found = pairing(*(answered(done, kind) for kind in ("right", "wrong", "alone")))
    cells: Iterable[str] = (
        variant.axis.removeprefix("linear ").removeprefix("private "),
        variant.value,
        variant.source,
        f"{size:.2f} M",
        f"{fmean(one.seconds for one in done):.0f}",
        str(len(done)),
        str(found.matched),
        str(found.pairing_gain),
        "" if found.share is None else found.share.written(".2f"),
        difference,
    )
    return "| " + " | ".join(cells) + " |"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--tables",
        nargs="+",
        type=Table.parse,
        default=[Table.parse(each) for each in _TABLES],
        metavar="PIPELINE:STEPS:SET,SET",
        help=f"what is trained (default: {' '.join(_TABLES)})",
    )
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each fuser")
    parser.add_argument("--record", type=Path, default=RECORD, help="what is done, and grows")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--table-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
