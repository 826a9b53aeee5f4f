"""What bounds a training step and a decoded token on this machine: arithmetic and memory.

The receiver's own layer weights are multiplied with so many rows as a step has tokens, one matrix
after the other, and nothing else: no step is faster than its operations at that rate, and no token
than its weights at the rate at which they come from memory. Then steps of three kinds (see
`steps`) and a decoded token are measured beside these bounds. Run it on a machine that does
nothing else:

    python benchmarks/roofline.py
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import machine
import timing
import torch
from steps import KINDS
from steps import Examples
from steps import published
from steps import stepping
from torch.utils.flop_counter import FlopCounterMode

from c2c_search.inference.decoding import go_on
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.tokenization.templates import asked
from c2c_search.training.process import keep_freed_memory


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel


def main() -> None:
    """Measure and print."""
    options = parse()
    keep_freed_memory()
    receiver, sharer = load(options.receiver), load(options.sharer)
    found = {
        "products": products(receiver, options.rows, options.turns),
        "steps": training_steps(receiver, sharer, options),
        "decoding": decoding(receiver, options),
    }
    report(found, machine.describe(receiver, sharer), options)


def layer_weights(loaded: LoadedModel) -> list[torch.Tensor]:
    """The matrices of a model's layers, without those of its vocabulary."""
    vocabulary = loaded.model.get_input_embeddings().weight.shape[0]
    return [
        weight
        for weight in loaded.model.parameters()
        if weight.ndim == 2 and vocabulary not in weight.shape
    ]


@torch.no_grad()
def products(loaded: LoadedModel, rows: Sequence[int], turns: int) -> list[dict[str, float]]:
    """Rates of products of so many rows with each of a model's layer weights."""
    weights = layer_weights(loaded)
    numbers, size = sum(map(torch.numel, weights)), sum(weight.nbytes for weight in weights)

    def multiply(count: int) -> None:
        for weight in weights:
            torch.nn.functional.linear(inputs[count][weight.shape[1]], weight)

    widths = {weight.shape[1] for weight in weights}
    inputs = {
        count: {width: weights[0].new_ones(count, width) for width in widths} for count in rows
    }
    ways = {str(count): lambda _, count=count: multiply(count) for count in rows}
    times = timing.medians(timing.take_turns(ways, turns, loaded.model.device))
    return [
        {
            "rows": count,
            "flop_per_second": 2 * count * numbers / times[str(count)],
            "bytes_per_second": size / times[str(count)],
        }
        for count in rows
    ]


def training_steps(
    receiver: LoadedModel, sharer: LoadedModel, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Operations of matrix products, and median seconds, of each kind of step."""
    examples, config = Examples.of_quiz(options.batch * 4), published(options.width)
    with stepping(receiver, sharer, examples, config, batch=options.batch) as steps:
        times = timing.medians(steps.measure(options.turns))
        counted = {}
        for kind in KINDS:
            with FlopCounterMode(display=False) as counter:
                steps.once(kind)
            counted[kind] = counter.get_total_flops()
    return {
        kind: {
            "flop": counted[kind],
            "seconds": times[kind],
            "flop_per_second": counted[kind] / times[kind],
        }
        for kind in KINDS
    }


def decoding(loaded: LoadedModel, options: argparse.Namespace) -> dict[str, float]:
    """Bytes of weights that a token reads, and the median seconds between two tokens."""
    model = C2CModel(loaded, loaded, None)
    batch = model.batch(model.prompts([asked("What lies behind the hills?")]))
    watch = timing.Watch(loaded.model.device)

    def choose(running: Sequence[int], logits: torch.Tensor) -> list[int]:
        chosen: list[int] = logits.argmax(dim=-1).tolist()
        watch.lap(f"token {len(watch.parts)}")
        return chosen

    go_on(
        loaded.model,
        model.fuse(batch),
        batch.last_ids,
        choose=choose,
        ended=lambda _, ids: False,
        max_new_tokens=4 * options.turns,
    )
    # Each weight once: a head that shares the embedding's reads it whole, the embedding a row.
    size = sum(weight.nbytes for weight in loaded.model.parameters())
    _, *later = watch.parts.values()
    seconds = statistics.median(later)
    return {"bytes": size, "seconds": seconds, "bytes_per_second": size / seconds}


def report(found: dict[str, Any], described: dict[str, Any], options: argparse.Namespace) -> None:
    """Print rates, and what they bound."""
    pair = f"{options.receiver} <- {options.sharer}"
    if options.json:
        asked_for = {"pair": pair, "batch": options.batch, "turns": options.turns}
        print(json.dumps({**found, **asked_for, "machine": described}, indent=2))
        return
    print(f"{pair}, {options.batch} short questions a step, medians of {options.turns}")
    print(f"on {machine.in_words(described)}")
    print("products with the receiver's layer weights")
    for each in found["products"]:
        print(
            f"{each['rows']:>10} rows: {each['flop_per_second'] / 1e9:7.1f} GFLOP/s, "
            f"weights at {each['bytes_per_second'] / 1e9:5.1f} GB/s"
        )
    print("training steps (matrix products counted)")
    for kind, each in found["steps"].items():
        print(
            f"{kind:>10}: {each['flop'] / 1e9:6.1f} GFLOP in {each['seconds']:.3f} s, "
            f"{each['flop_per_second'] / 1e9:.1f} GFLOP/s"
        )
    token = found["decoding"]
    print(
        f"decoding: {token['bytes'] / 1e6:.0f} MB of weights a token in "
        f"{1e3 * token['seconds']:.0f} ms, {token['bytes_per_second'] / 1e9:.1f} GB/s"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--width", type=int, default=64, help="width of the fuser")
    parser.add_argument("--turns", type=int, default=5, help="measured turns of everything")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[1, 48, 64, 200, 512], help="rows of a product"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
