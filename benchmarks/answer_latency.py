"""Time to the first token and to a whole answer: C2C against each of its two models alone.

All systems answer the same question from its raw text, turn by turn in one run, and none stops
early. Each model also answers through transformers' own ``generate``. The fuser's weights are
random: its arithmetic is not. Run it on a machine that does nothing else:

    python benchmarks/answer_latency.py --prompt-tokens 32 64 128 256 512
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import machine
import torch
from timing import Times
from timing import Watch
from transformers import StoppingCriteria
from transformers import StoppingCriteriaList

from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.decoding import go_on
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import LoadedModel
from c2c_search.models.loading import load
from c2c_search.tokenization.spans import tokenize
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import render


_TEXT = "The river ran past the old town and under the bridge, where the boats of the market lay. "

Answer = Callable[[str, Watch], None]


class Clock(StoppingCriteria):
    """Tells a watch when `generate` has its first token, and stops nothing."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> object:
        if "first token" not in self.watch.parts:
            self.watch.lap("first token")
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def main() -> None:
    """Measure and print."""
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    receiver, sharer = load(options.receiver), load(options.sharer)
    torch.manual_seed(0)
    config = FuserConfig(width=options.width, normalisation="rms")
    fuser = Fuser(config, cache_shape(receiver), cache_shape(sharer)).eval()
    systems: dict[str, Answer] = {
        "receiver": ours(C2CModel(receiver, receiver, None), options.new_tokens),
        "receiver, generate": theirs(receiver, options.new_tokens),
        "sharer": ours(C2CModel(sharer, sharer, None), options.new_tokens),
        "sharer, generate": theirs(sharer, options.new_tokens),
        "c2c": ours(C2CModel(receiver, sharer, fuser), options.new_tokens),
    }
    results = []
    for length in options.prompt_tokens:
        text = question(receiver, length)
        times = take_turns(systems, text, receiver.model.device, options.repeats)
        results.append({"prompt_tokens": len(read(receiver, text)), **summary(times)})
    report(results, machine.describe(receiver, sharer), options)


def question(loaded: LoadedModel, length: int) -> str:
    """A text that a model reads, with the template around it, in about so many tokens."""
    tokenizer = loaded.text_tokenizer
    ids = tokenizer(_TEXT * length, add_special_tokens=False)["input_ids"]
    around = len(read(loaded, ""))
    return str(tokenizer.decode(ids[: max(length - around, 1)])).strip()


def read(loaded: LoadedModel, text: str) -> list[int]:
    """A model's tokens of a question."""
    rendered = render(asked(text), "plain", loaded.text_tokenizer)
    return tokenize([rendered.text], loaded.text_tokenizer, special=rendered.special)[0].ids


def ours(model: C2CModel, new_tokens: int) -> Answer:
    """As `C2CModel` answers; a model that is its own sharer is that model alone."""

    @torch.no_grad()
    def answer(text: str, watch: Watch) -> None:
        prompts = model.prompts([asked(text)])
        watch.lap("read")
        batch = model.batch(prompts)
        fused = model.fuse(batch)
        watch.lap("fuse")

        def choose(running: Sequence[int], logits: torch.Tensor) -> list[int]:
            chosen: list[int] = logits.argmax(dim=-1).tolist()
            if "first token" not in watch.parts:
                watch.lap("first token")
            return chosen

        go_on(
            model.receiver.model,
            fused,
            batch.last_ids,
            choose=choose,
            ended=lambda _, ids: False,
            max_new_tokens=new_tokens,
        )
        watch.lap("decode")

    return answer


def theirs(loaded: LoadedModel, new_tokens: int) -> Answer:
    """As transformers' own ``generate`` answers."""

    @torch.no_grad()
    def answer(text: str, watch: Watch) -> None:
        ids = torch.tensor([read(loaded, text)], device=loaded.model.device)
        watch.lap("read")
        loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            stopping_criteria=StoppingCriteriaList([Clock(watch)]),
        )
        watch.lap("decode")

    return answer


def take_turns(
    systems: dict[str, Answer], text: str, device: torch.device, repeats: int
) -> dict[str, Times]:
    """All systems answer in every round; the first round is warm-up."""
    times: dict[str, Times] = {name: {} for name in systems}
    for turn in range(repeats + 1):
        for name, answer in systems.items():
            watch = Watch(device)
            answer(text, watch)
            for part, seconds in watch.parts.items():
                times[name].setdefault(part, []).extend([seconds] if turn else [])
    return times


def summary(times: dict[str, Times]) -> dict[str, object]:
    """Medians in seconds, and the ratios that matter."""
    decode = {name: statistics.median(parts["decode"]) for name, parts in times.items()}
    first = {
        name: statistics.median(
            [
                sum(turn)
                for turn in zip(*(s for p, s in parts.items() if p != "decode"), strict=True)
            ]
        )
        for name, parts in times.items()
    }
    plain = max(first["receiver, generate"], first["sharer, generate"])
    return {
        "systems": {
            name: {
                "first_token": first[name],
                "decode": decode[name],
                "parts": {part: statistics.median(seconds) for part, seconds in parts.items()},
            }
            for name, parts in times.items()
        },
        "ratios": {
            "c2c's first token to the slower model's, through generate": first["c2c"] / plain,
            "c2c's first token to the slower model's, ours": first["c2c"]
            / max(first["receiver"], first["sharer"]),
            "c2c's decoding to the receiver's, ours": decode["c2c"] / decode["receiver"],
            "c2c's decoding to the receiver's, through generate": decode["c2c"]
            / decode["receiver, generate"],
        },
    }


def report(
    results: list[dict[str, object]], described: dict[str, Any], options: argparse.Namespace
) -> None:
    """Print medians and ratios, for each length of the prompt."""
    result = {
        "lengths": results,
        "new_tokens": options.new_tokens,
        "repeats": options.repeats,
        "width": options.width,
        "pair": f"{options.receiver} <- {options.sharer}",
        "machine": described,
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['pair']}, answers of {options.new_tokens} tokens")
    print(f"on {machine.in_words(described)}")
    for each in results:
        print(f"\nprompt of {each['prompt_tokens']} tokens (ms, medians of {options.repeats})")
        for name, system in each["systems"].items():  # type: ignore[attr-defined]
            parts = ", ".join(f"{part} {1e3 * took:.0f}" for part, took in system["parts"].items())
            first = 1e3 * system["first_token"]
            print(f"  {name:>18}: first token {first:6.0f}  ({parts})")
        for name, ratio in each["ratios"].items():  # type: ignore[attr-defined]
            print(f"  {ratio:5.2f}x  {name}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--prompt-tokens", type=int, nargs="+", default=[64])
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens of every answer")
    parser.add_argument("--repeats", type=int, default=10, help="measured rounds")
    parser.add_argument("--width", type=int, default=64, help="width of the fuser")
    parser.add_argument("--threads", type=int, help="of torch; half the cores read side by side")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
