"""Prompt caches as the workbench computes and keeps them against a plain loop that pads.

``plain``: prompts in the order in which they come, padded to the longest of each batch, through
the whole language model with its head, as a data loader of the published code gives them.
``computed``: ours, in batches of one length, what all prompts begin with read once, no head.
``stored``: ours into an empty store on the disk, rounded to bfloat16. ``read``: all of it read
back from there, in batches. Turn by turn in one run, after the caches have been compared:

    python benchmarks/prefill.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import machine
import timing
import torch
from profiling import Profile
from profiling import model_parts
from profiling import profile
from reference import padded_prefill
from steps import Examples
from timing import Times
from transformers import PreTrainedModel

from c2c_search.models.loading import load
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.entries import Entry
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.prompt_cache.prefill import prefill
from c2c_search.prompt_cache.prefill import stack_cache
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.token_alignment import encode_all


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel


PARTS = {
    "prefill": (Prefill, "run"),
    "write": (Entry, "write"),
    "read": (PromptCaches, "packed"),
}
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far caches may be apart, relative to their own deviation (root mean squares)."""

Prompts = Sequence[tuple[int, ...]]


def main() -> None:
    """Measure and print."""
    options = parse()
    receiver, sharer = load(options.receiver), load(options.sharer)
    encoded = encode_all(
        Examples.of_quiz(options.prompts).conversations,
        "plain",
        receiver.text_tokenizer,
        sharer.text_tokenizer,
    )
    results = []
    for loaded, prompts in (
        (receiver, [prompt.receiver_ids for prompt in encoded]),
        (sharer, [prompt.sharer_ids for prompt in encoded]),
    ):
        apart = difference(loaded.model, prompts[: options.compared], options.batch)
        assert apart < TOLERANCE[loaded.model.dtype], f"caches are {apart} deviations apart"
        with tempfile.TemporaryDirectory() as folder:
            ways = Ways(loaded, prompts, options.batch, Path(folder))
            times = timing.take_turns(ways.all, options.repeats, loaded.model.device)
            profiles = ways.profiles() if options.profile else {}
        results.append(summary(loaded.identity.source, prompts, times, apart, profiles))
    report(results, machine.describe(receiver, sharer), options)


class Ways:
    """All ways to the caches of some prompts.

    Args:
        loaded: The model.
        prompts: Their token ids.
        batch: Prompts of one batch, where the way does not choose it.
        folder: Where stores are kept.
    """

    def __init__(self, loaded: LoadedModel, prompts: Prompts, batch: int, folder: Path) -> None:
        self.loaded = loaded
        self.prompts = prompts
        self.batch = batch
        self.folder = folder
        self._stores = (PromptCacheStore(folder / str(number)) for number in count())
        self._filled = PromptCacheStore(folder / "filled")
        self.all = {
            "plain": self.plain,
            "computed": self.computed,
            "stored": self.stored,
            "read": self.read,
        }

    def plain(self, turn: int) -> None:
        for rows in in_order(len(self.prompts), self.batch):
            padded_prefill(self.loaded.model, [self.prompts[row] for row in rows])

    def computed(self, turn: int) -> None:
        planned = Prefill(self.loaded.model, self.prompts)
        for number in range(len(planned.batches)):
            planned.run(number)

    def stored(self, turn: int) -> None:
        next(self._stores).get(self.loaded, self.prompts)

    def read(self, turn: int) -> None:
        """Filled in the turn that warms up."""
        caches = self._filled.get(self.loaded, self.prompts)
        for rows in in_order(len(self.prompts), self.batch):
            caches.packed(rows, [torch.arange(len(self.prompts[row])) for row in rows])

    def profiles(self) -> dict[str, Profile]:
        """Where time and memory go in each way."""
        device = self.loaded.model.device
        parts = {**PARTS, **model_parts(self.loaded.model)}
        return {name: profile(partial(way, 0), parts, device) for name, way in self.all.items()}


def in_order(total: int, batch: int) -> list[list[int]]:
    """Rows batch by batch, as they come."""
    return [list(range(first, min(first + batch, total))) for first in range(0, total, batch)]


def difference(model: PreTrainedModel, prompts: Prompts, batch: int) -> float:
    """Root mean square of ours less the plain loop's caches, on real tokens, in deviations."""
    ours: dict[int, torch.Tensor] = {}
    for rows, caches in prefill(model, prompts):
        ours.update(zip(rows, (cache.float() for cache in caches), strict=True))
    squares, spread, numbers = 0.0, 0.0, 0
    for rows in in_order(len(prompts), batch):
        cache, mask = padded_prefill(model, [prompts[row] for row in rows])
        padded = stack_cache(cache).float()
        for row, its, real in zip(rows, padded, mask.bool(), strict=True):
            squares += float((ours[row] - its[real]).square().sum())
            spread += float((ours[row] - ours[row].mean()).square().sum())
            numbers += ours[row].numel()
    return float((squares / numbers) ** 0.5 / (spread / numbers) ** 0.5)


def summary(
    source: str, prompts: Prompts, times: Times, apart: float, profiles: dict[str, Profile]
) -> dict[str, Any]:
    """Medians, ratios and tokens per second of one model."""
    tokens = sum(map(len, prompts))
    return {
        "model": source,
        "prompts": len(prompts),
        "tokens": tokens,
        "deviations_apart": apart,
        "seconds": timing.medians(times),
        "spread": {name: (min(seconds), max(seconds)) for name, seconds in times.items()},
        "tokens_per_second": {
            name: tokens / statistics.median(seconds) for name, seconds in times.items()
        },
        "ratios": {
            "plain to computed": timing.ratio(times["plain"], times["computed"]),
            "plain to stored": timing.ratio(times["plain"], times["stored"]),
            "computed to read": timing.ratio(times["computed"], times["read"]),
        },
        "profiles": {name: each.as_json() for name, each in profiles.items()},
        "profiles_in_words": {name: each.in_words() for name, each in profiles.items()},
    }


def report(
    results: Sequence[dict[str, Any]], described: dict[str, Any], options: argparse.Namespace
) -> None:
    """Print medians and ratios, model by model."""
    words = [result.pop("profiles_in_words") for result in results]
    if options.json:
        settings = {"batch": options.batch, "repeats": options.repeats}
        print(json.dumps({"models": results, **settings, "machine": described}, indent=2))
        return
    print(f"{options.repeats} turns, batches of {options.batch}, on {machine.in_words(described)}")
    for result, profiles in zip(results, words, strict=True):
        print(f"\n{result['model']}: {result['prompts']} prompts, {result['tokens']} tokens")
        print(f"  the same caches, to {result['deviations_apart']:.1e} of their deviation")
        for name, seconds in result["seconds"].items():
            low, high = result["spread"][name]
            rate = result["tokens_per_second"][name]
            print(f"{name:>12}: {seconds:7.3f} s ({low:.3f} to {high:.3f}), {rate:9.0f} tokens/s")
        for name, ratio in result["ratios"].items():
            print(timing.ratio_in_words(name, ratio))
        for name, text in profiles.items():
            print(f"\n{name}: {text}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument(
        "--compared", type=int, default=32, help="prompts whose caches are compared"
    )
    parser.add_argument(
        "--batch", type=int, default=8, help="prompts in a batch of the plain loop"
    )
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each way")
    parser.add_argument("--profile", action="store_true", help="name where time and memory go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
