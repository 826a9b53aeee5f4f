"""A training step whose prompt caches do not fit on the disk against one whose caches are stored.

Nothing is stored for the one, and little stays in memory, as where data is far larger than both.
Steps on the same random examples take turns in one run: from stored caches; with exactly the
examples computed that are asked for, and those of the next steps that fill up passes; and, as
before that, with the whole batch of about 2,048 tokens computed in which an example would have
been stored. All three have the same numbers to the bit, which is checked. Run it on a machine
that does nothing else:

    python benchmarks/without_disk.py
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import machine
import torch
from steps import Examples
from steps import Step
from steps import Steps
from steps import published
from timing import Times
from timing import Watch

from c2c_search.models.loading import load
from c2c_search.prompt_cache import recomputed
from c2c_search.prompt_cache.batches import PairBatch
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.training.process import keep_freed_memory


AHEAD = 64  # examples that a training tells of, too
NAMES = {
    "stored": "stored prompt caches",
    "prompts": "computed when read, prompt by prompt",
    "batches": "computed when read, in whole batches",
}


def main() -> None:
    """Measure and print."""
    options = parse()
    keep_freed_memory()
    recomputed._RECENT = options.memory_mb * 10**6
    receiver, sharer = load(options.receiver), load(options.sharer)
    examples, config = Examples.of_quiz(options.examples), published(64)
    with (
        tempfile.TemporaryDirectory() as folder,
        Steps(
            receiver, sharer, examples, config, batch=options.batch, folder=Path(folder), kinds=()
        ) as steps,
    ):
        times = measure(steps, options.steps)
    # Of all steps together: a pass computes for some that are to come.
    means = {kind: statistics.fmean(seconds) for kind, seconds in times.items()}
    ratios = {kind: means[kind] / means["stored"] for kind in NAMES if kind != "stored"}
    described = machine.describe(receiver, sharer)
    if options.json:
        print(json.dumps({"seconds_per_step": means, "ratios": ratios, "machine": described}))
        return
    print(f"{options.batch} of {options.examples} short questions a step, {options.steps} steps")
    print(f"on {machine.in_words(described)}")
    for kind, name in NAMES.items():
        print(f"{means[kind]:8.3f} s  a step, {name} ({ratios.get(kind, 1.0):.2f}x)")


def measure(steps: Steps, turns: int) -> Times:
    """Seconds of steps of every kind in turn."""
    order = list(range(len(steps.encoded)))
    random.Random(0).shuffle(order)
    prompts = {
        "stored": steps.prompts,
        "prompts": unstored(steps),
        "batches": unstored(steps, whole=True),
    }
    learns = {kind: stepping(steps, each) for kind, each in prompts.items()}
    times: Times = {kind: [] for kind in NAMES}
    for turn in range(turns + 1):
        rows = [order[(turn * steps.batch + place) % len(order)] for place in range(steps.batch)]
        begin = (turn + 1) * steps.batch
        prompts["prompts"].expect([*order, *order][begin : begin + AHEAD])
        losses = []
        for kind, step in learns.items():
            watch = Watch(steps.pair.device)
            losses.append(step(rows, watch))
            watch.lap("learn")
            if turn:  # the first warms up
                times[kind].append(watch.seconds)
        assert all(torch.equal(loss, losses[0]) for loss in losses), "other numbers"
    return times


def stepping(steps: Steps, prompts: PairPrompts) -> Step:
    """A step that learns from these prompts."""

    def read(rows: Sequence[int]) -> PairBatch:
        return prompts.batch(rows)

    return steps.stepping(read)


def unstored(steps: Steps, *, whole: bool = False) -> PairPrompts:
    """The same prompts where nothing of them is kept on the disk.

    Args:
        whole: Whether each comes out of the whole batch in which it would have been stored.
    """
    read = []
    for model, ids in (
        (steps.pair.receiver, [prompt.receiver_ids for prompt in steps.encoded]),
        (steps.pair.sharer, [prompt.sharer_ids for prompt in steps.encoded]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            store = PromptCacheStore(Path(folder), budget=0)
            if whole:  # no pass of fewer is trusted
                store.exact_shapes = defaultdict(_Untrusted)
            read.append(store.get(model, ids))
    return replace(steps.prompts, receiver=read[0], sharer=read[1])


class _Untrusted(dict[recomputed.Shape, bool]):
    """Knows of every shape that it does not give a whole batch's bits."""

    def __contains__(self, shape: object) -> bool:
        return True

    def __getitem__(self, shape: recomputed.Shape) -> bool:
        return False


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--examples", type=int, default=400, help="to draw from")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each kind")
    parser.add_argument("--memory-mb", type=int, default=64, help="that computed prompts stay in")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
