"""A training step on stored prompt caches against steps that prefill both models again.

All kinds of steps train equal fusers on the same examples, turn by turn in one run, after one
step's loss and gradient have been compared; printed are the ratios of their median times. Run it
on a machine that does nothing else:

    python benchmarks/train_step.py
    python benchmarks/train_step.py --recompute-prefills               # that comparison alone
    python benchmarks/train_step.py --recompute-prefills --layer-loop  # the published code's step
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import machine
import timing
from profiling import Profile
from profiling import model_parts
from profiling import profile
from reference import LayerLoopFuser
from reference import ReferenceTraining
from steps import KINDS
from steps import Examples
from steps import Steps
from steps import published
from steps import stepping
from timing import Times

from c2c_search.inference.fused_pair import FusedPair
from c2c_search.inference.packed.context import PackedContext
from c2c_search.models.loading import load
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.process import keep_freed_memory


NAMES = {
    "stored": "stored prompt caches",
    "recomputed": "prefills recomputed",
    "reference": "and layer loop (reference)",
}
PARTS = {
    "read the batch": (PromptCaches, "packed"),
    "prefill": (Prefill, "run"),
    "fuse": (FusedPair, "fused_cache"),
    "fuse, layer by layer": (LayerLoopFuser, "fuse"),
    "receiver's mask and cache": (PackedContext, "feed"),
    "backward, clipping": (TrainingEngine, "backward_and_step"),
    "backward, clipping (reference)": (ReferenceTraining, "backward_and_step"),
}


def main() -> None:
    """Measure and print."""
    options = parse()
    keep_freed_memory()
    receiver, sharer = load(options.receiver), load(options.sharer)
    examples, config = Examples.of_quiz(options.batch * 4), published(options.width)
    with stepping(
        receiver, sharer, examples, config, batch=options.batch, kinds=kinds(options)
    ) as steps:
        agreement = steps.agreement()
        times = steps.measure(options.steps)
        profiles = profiled(steps) if options.profile else {}
    described = machine.describe(receiver, sharer)
    report(times, agreement, profiles, described, options)


def kinds(options: argparse.Namespace) -> tuple[str, ...]:
    """Which steps are compared."""
    if not options.recompute_prefills:
        return KINDS
    return ("stored", "reference" if options.layer_loop else "recomputed")


def profiled(steps: Steps) -> dict[str, Profile]:
    """Where time and memory go in a step of each kind."""
    parts = {**PARTS, **model_parts(steps.pair.receiver.model, steps.pair.sharer.model)}
    return {
        kind: profile(partial(steps.once, kind), parts, steps.pair.device) for kind in steps.kinds
    }


def summary(times: Times) -> dict[str, Any]:
    """Medians, their ratios to a stored step, and the share of it that reading takes."""
    stored = times["stored"]
    return {
        "seconds_per_step": timing.medians(
            {kind: times[kind] for kind in times if kind != "read"}
        ),
        "ratios": {
            kind: timing.ratio(times[kind], stored)
            for kind in ("recomputed", "reference")
            if kind in times
        },
        "read_share": statistics.median(times["read"]) / statistics.median(stored),
    }


def report(
    times: Times,
    agreement: dict[str, float],
    profiles: dict[str, Profile],
    described: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print medians and ratios."""
    found = summary(times)
    pair = f"{options.receiver} <- {options.sharer}"
    if options.json:
        result = {
            **found,
            "agreement": agreement,
            "batch": options.batch,
            "steps": options.steps,
            "width": options.width,
            "pair": pair,
            "profiles": {kind: each.as_json() for kind, each in profiles.items()},
            "machine": described,
        }
        print(json.dumps(result, indent=2))
        return
    print(f"{pair}, {options.batch} short questions a step, {options.steps} steps each")
    print(f"on {machine.in_words(described)}")
    print(
        f"  the same step: loss {agreement['loss']:.5f} and {agreement['reference_loss']:.5f}, "
        f"gradient norm {agreement['gradient_norm']:.5f} and "
        f"{agreement['reference_gradient_norm']:.5f}"
    )
    for kind, name in NAMES.items():
        if kind in times:
            print(timing.in_words(name, times[kind]))
    for kind, ratio in found["ratios"].items():
        print(timing.ratio_in_words(f"{NAMES[kind]} to {NAMES['stored']}", ratio))
    print(f"{found['read_share']:8.1%}  of a stored step is reading the batch")
    for kind, each in profiles.items():
        print(f"\n{NAMES[kind]}: {each.in_words()}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each kind")
    parser.add_argument("--width", type=int, default=64, help="width of the fuser")
    parser.add_argument(
        "--recompute-prefills",
        action="store_true",
        help="compare with steps in which both models read the prompts anew, and nothing else",
    )
    parser.add_argument(
        "--layer-loop",
        action="store_true",
        help="with --recompute-prefills: pad, and loop over layers, as the published code does",
    )
    parser.add_argument("--profile", action="store_true", help="name where time and memory go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if options.layer_loop and not options.recompute_prefills:
        parser.error("--layer-loop reads prompts anew: add --recompute-prefills")
    return options


if __name__ == "__main__":
    main()
