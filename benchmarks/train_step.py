"""Training step with stored prompt caches against one that prefills both models again.

Both kinds of step train the same fuser on the same examples, turn by turn in one run; what is
printed is the ratio of their median times. Run it on a machine that does nothing else:

    python benchmarks/train_step.py
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.data.splits import load_splits
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.model import C2CModel
from c2c_search.inference.model import cache_shape
from c2c_search.inference.scoring import response_logits
from c2c_search.pair.batches import PairPrompts
from c2c_search.pair.loading import load
from c2c_search.pair.store import PromptCacheStore
from c2c_search.pair.token_alignment import encode_all
from c2c_search.pipeline.schema import TrainingConfig
from c2c_search.training.engine import TrainingEngine
from c2c_search.training.loop import calibrate
from c2c_search.training.runtime import keep_freed_memory


def main() -> None:
    """Measure and print."""
    options = parse()
    keep_freed_memory()
    torch.manual_seed(0)
    receiver, sharer = load(options.receiver), load(options.sharer)
    pair = C2CModel(receiver, sharer, None)
    rows = list(load_splits(DataConfig(limit=SplitLimits(train=options.batch * 4))).train)
    encoded = encode_all(
        [row["messages"] for row in rows],
        "plain",
        receiver.text_tokenizer,
        sharer.text_tokenizer,
    )
    fuser = Fuser(FuserConfig(width=options.width), cache_shape(receiver), cache_shape(sharer))
    responses = [pair.response_ids(row["response"]) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        store = PromptCacheStore(Path(folder))
        stored = PairPrompts(
            encoded=encoded,
            receiver=store.get(receiver, [prompt.receiver_ids for prompt in encoded]),
            sharer=store.get(sharer, [prompt.sharer_ids for prompt in encoded]),
        )
        model = C2CModel(receiver, sharer, fuser)
        calibrate(model, stored, seed=0)
        config = TrainingConfig(steps=10**6, batch_size=options.batch)
        with TrainingEngine(fuser, config) as engine:
            places = [
                [(step * options.batch + n) % len(rows) for n in range(options.batch)]
                for step in range(options.steps + 1)
            ]

            def train(batch_of: Callable[[list[int]], Any], chosen: list[int]) -> float:
                begun = time.perf_counter()
                batch = batch_of(chosen)
                fused = model.fuse(batch, through=engine)
                answers = [[responses[row]] for row in chosen]
                logits = response_logits(receiver.model, fused, batch.last_ids, answers)
                targets = torch.tensor([t for (answer,) in answers for t in answer])
                loss = torch.nn.functional.cross_entropy(logits, targets.to(logits.device))
                engine.backward_and_step(loss)
                return time.perf_counter() - begun

            def recomputed(chosen: list[int]) -> Any:
                prompts = pair.prompts([rows[row]["messages"] for row in chosen])
                return prompts.batch(range(len(chosen)))

            times: dict[str, list[float]] = {"stored": [], "recomputed": []}
            for chosen in places:
                times["stored"].append(train(stored.batch, chosen))
                times["recomputed"].append(train(recomputed, chosen))
    report(times, options)


def report(times: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print medians and their ratio; the first step of each kind is warm-up."""
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    result = {
        "seconds_per_step": medians,
        "ratio": medians["recomputed"] / medians["stored"],
        "batch": options.batch,
        "steps": options.steps,
        "pair": f"{options.receiver} <- {options.sharer}",
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['pair']}, {options.batch} short questions a step, {options.steps} steps each")
    for name, seconds in medians.items():
        low, high = min(times[name][1:]), max(times[name][1:])
        print(f"  {name:>10}: {seconds:.2f} s a step (median; {low:.2f} to {high:.2f})")
    print(f"  ratio: {result['ratio']:.2f}x, on {result['machine']}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--batch", type=int, default=8, help="examples a step")
    parser.add_argument("--steps", type=int, default=10, help="measured steps of each kind")
    parser.add_argument("--width", type=int, default=64, help="width of the fuser")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
