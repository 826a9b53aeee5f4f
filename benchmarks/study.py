"""A whole study's trials against as many runs of the published kind, from start to last number.

Ours: one worker process, as a study starts it, with an empty store of prompt caches: it loads both
models, fills the store, trains every trial and validates it. The reference's: for every trial a
process of its own that loads both models, trains the same fuser on the same examples in the same
order with reference-style steps (see `reference`) and scores validation option by option. Runs
cost the same, so a few are measured and stand for all (--reference-runs 8 measures every one):

    python benchmarks/study.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import machine

from c2c_search.config.pipeline import Pipeline
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.fuser.config import FuserConfig
from c2c_search.models.loading import default_cache_dir
from c2c_search.models.loading import resolve
from c2c_search.models.pair import PairSpec
from c2c_search.training.launch import Worker
from c2c_search.training.protocol import Event
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import OfTrial
from c2c_search.training.protocol import Prepare
from c2c_search.training.protocol import Prepared
from c2c_search.training.protocol import Step
from c2c_search.training.protocol import Train
from c2c_search.training.protocol import Trained
from c2c_search.training.protocol import TrainTogether


_PROGRAM = Path(__file__).with_name("reference_run.py")
_APART = 0.05  # relatively: a first loss on caches in bfloat16 against one on exact ones


@dataclass
class Run:
    """What a study, or some runs of the published kind, took.

    Args:
        total: Wall time, from the start of the first process on, in seconds.
        parts: Of it, by name; what is left is starting processes.
        losses: Of each trial, by step.
        accuracies: Of each trial, on validation.
    """

    total: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    losses: list[dict[int, float]] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)

    def add(self, parts: dict[str, float]) -> None:
        """Add seconds to the parts."""
        for name, seconds in parts.items():
            self.parts[name] = self.parts.get(name, 0.0) + seconds

    def end(self, total: float) -> None:
        """Take the wall time, and call what no part explains by its name."""
        self.total = total
        self.parts["start processes"] = total - sum(self.parts.values())


def main() -> None:
    """Measure and print."""
    options = parse()
    configs = trials(options, options.trials)
    for source in (options.receiver, options.sharer):
        resolve(source)  # fetched and converted before, on neither side
    theirs = reference_runs(configs[: options.reference_runs])
    ours = study(configs, options.trials_per_device)
    check(ours, theirs)
    report(ours, theirs, options)


def trials(options: argparse.Namespace, count: int) -> list[TrialConfig]:
    """Trials of one pair and one fuser that differ in their seeds and learning rates."""
    limit = SplitLimits(train=options.train, validation=options.validation, test=1)
    return [
        TrialConfig(
            pair=PairSpec(receiver=options.receiver, sharer=options.sharer),
            # Per token: statistics of calibration prompts are no part of the published recipe.
            fuser=FuserConfig(width=options.width, initialisation="random", normalisation="rms"),
            training=TrainingConfig(
                steps=options.steps,
                batch_size=options.batch,
                learning_rate=1e-3 / (1 + number % 3),
            ),
            data=DataConfig(limit=limit),
            evaluation=Pipeline(name="benchmark").evaluation,
            seed=number,
        )
        for number in range(count)
    ]


def study(configs: Sequence[TrialConfig], together: int) -> Run:
    """All trials, in one worker process that starts with an empty store.

    Args:
        configs: The trials.
        together: So many train in lockstep, as ``search.trials_per_device`` asks for.

    Raises:
        RuntimeError: A trial failed.
    """
    first = configs[0]
    pipeline = Pipeline(
        name="benchmark", data=first.data, training=first.training, evaluation=first.evaluation
    )
    with tempfile.TemporaryDirectory() as folder:
        cache_dir = Path(folder) / "cache"
        cache_dir.mkdir()
        models = default_cache_dir() / "models"
        models.mkdir(parents=True, exist_ok=True)
        (cache_dir / "models").symlink_to(models, target_is_directory=True)
        run, begun = Run(), time.perf_counter()
        log = Path(folder) / "worker.log"
        with Worker(pipeline, log_file=log, cache_dir=cache_dir) as worker:
            *_, prepared = _sound(worker.ask(Prepare(pair=first.pair)))
            assert isinstance(prepared, Prepared)
            run.add(prepared.seconds)
            named = [
                Train(config=config, directory=f"{folder}/{n}") for n, config in enumerate(configs)
            ]
            for first_of_group in range(0, len(named), together):
                group = named[first_of_group : first_of_group + together]
                run.losses += [{} for _ in group]
                losses = dict(enumerate(run.losses[first_of_group:]))
                ends = _ends(worker, TrainTogether(trials=tuple(group)), losses)
                for index in range(len(group)):
                    run.add(ends[index].seconds)
                    run.accuracies.append(ends[index].objective)
            run.end(time.perf_counter() - begun)
    return run


def reference_runs(configs: Sequence[TrialConfig]) -> Run:
    """Each trial in a process of its own, one after the other."""
    run, begun = Run(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, config in enumerate(configs):
            file = Path(folder) / f"{number}.yaml"
            file.write_text(config.to_yaml(), encoding="utf-8")
            command = [sys.executable, str(_PROGRAM), str(file)]
            process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(process.stdout.splitlines()[-1])
            run.add(found["seconds"])
            run.losses.append(dict(enumerate(found["losses"], start=1)))
            run.accuracies.append(found["accuracy"])
    run.end(time.perf_counter() - begun)
    return run


def check(ours: Run, theirs: Run) -> None:
    """Both must have trained the same: the first step's loss tells, before roundings add up.

    Raises:
        AssertionError: They did not.
    """
    for number, (one, other) in enumerate(zip(ours.losses, theirs.losses, strict=False)):
        apart = abs(one[1] - other[1]) / other[1]
        assert apart < _APART, f"trial {number}: first loss {one[1]}, the reference's {other[1]}"


def summary(ours: Run, theirs: Run) -> dict[str, Any]:
    """Seconds of both for all trials, their ratio, and trials per hour."""
    count, measured = len(ours.losses), len(theirs.losses)
    all_of_theirs = theirs.total / measured * count
    last = max(ours.losses[0])
    return {
        "trials": count,
        "reference_runs_measured": measured,
        "seconds": {"study": ours.total, "reference": all_of_theirs},
        "ratio": all_of_theirs / ours.total,
        "ratio_without_validation": _without_validation(theirs)
        / measured
        * count
        / _without_validation(ours),
        "trials_per_hour": {
            "study": 3600 * count / ours.total,
            "reference": 3600 * count / all_of_theirs,
        },
        "parts": {
            "study": ours.parts,
            "one reference run": {
                name: seconds / measured for name, seconds in theirs.parts.items()
            },
        },
        "first_losses": [(one[1], other[1]) for one, other in _both(ours.losses, theirs.losses)],
        "last_losses": [
            (one[last], other[last]) for one, other in _both(ours.losses, theirs.losses)
        ],
        "mean_accuracy": {
            "study": statistics.mean(ours.accuracies[:measured]),
            "reference": statistics.mean(theirs.accuracies),
        },
    }


def report(ours: Run, theirs: Run, options: argparse.Namespace) -> None:
    """Print totals, parts and the ratio."""
    found, described = summary(ours, theirs), machine.describe()
    if options.json:
        print(json.dumps({**found, **vars(options), "machine": described}, indent=2))
        return
    count, measured = found["trials"], found["reference_runs_measured"]
    print(
        f"{options.receiver} <- {options.sharer}: {count} trials of {options.steps} steps of "
        f"{options.batch}, {options.train} training and {options.validation} validation "
        f"questions, {options.trials_per_device} at once"
    )
    print(f"on {machine.in_words(described)}")
    print(
        "  the same trials: first losses "
        + ", ".join(f"{one:.4f} and {other:.4f}" for one, other in found["first_losses"])
        + "; last "
        + ", ".join(f"{one:.4f} and {other:.4f}" for one, other in found["last_losses"])
    )
    for name, seconds in found["seconds"].items():
        hourly = found["trials_per_hour"][name]
        print(f"{name:>12}: {seconds:8.1f} s for {count} trials, {hourly:7.1f} trials an hour")
    if measured < count:
        print(
            f"              ({measured} reference runs were measured; their mean, {count} times)"
        )
    for name, parts in found["parts"].items():
        print(f"  {name}: " + ", ".join(f"{part} {took:.1f} s" for part, took in parts.items()))
    print(f"{found['ratio']:8.2f}x  as many trials an hour")
    print(f"{found['ratio_without_validation']:8.2f}x  if neither side validated")


def _without_validation(run: Run) -> float:
    return run.total - sum(run.parts.get(part, 0.0) for part in ("evaluate", "derange"))


def _ends(
    worker: Worker, group: TrainTogether, losses: dict[int, dict[int, float]]
) -> dict[int, Trained]:
    """How each trial of a group ended; steps' losses are kept.

    Raises:
        RuntimeError: One failed.
    """
    ends = {}
    for event in _sound(worker.ask(group)):
        if isinstance(event, OfTrial) and isinstance(event.event, Step):
            losses[event.index][event.event.step] = event.event.loss
        elif isinstance(event, OfTrial) and isinstance(event.event, Trained):
            ends[event.index] = event.event
            worker.join(())
    return ends


def _sound(events: Iterable[Event]) -> Iterable[Event]:
    for event in events:
        if isinstance(event, Failed):
            raise RuntimeError(f"{event.failure}: {event.message}")
        yield event


def _both(one: Sequence[Any], other: Sequence[Any]) -> list[tuple[Any, Any]]:
    """As far as both go: fewer reference runs may be measured than there are trials."""
    return list(zip(one, other, strict=False))


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    add_settings(parser)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--reference-runs", type=int, default=2, help="those that are measured")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """What a trial is; shared with `growth.py`."""
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of a trial")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--train", type=int, default=320, help="training questions")
    parser.add_argument("--validation", type=int, default=60, help="validation questions")
    parser.add_argument(
        "--trials-per-device", type=int, default=1, help="trials of the study in lockstep"
    )
    parser.add_argument("--width", type=int, default=64, help="width of the fuser")


if __name__ == "__main__":
    main()
