"""Evaluation with shared prompt caches against one pass of prompt and option for every option.

Both score the same four-option questions with the same model, turn by turn in one run, and must
find the same likelihoods; what is printed is the ratio of their median times. Prompt caches are
computed anew in every turn. Run it on a machine that does nothing else:

    python benchmarks/evaluate.py --questions 500
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from collections.abc import Sequence
from functools import partial
from typing import Any

import machine
import timing
import torch
from profiling import Profile
from profiling import model_parts
from profiling import profile
from timing import Times

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.data.splits import load_splits
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.inference.model import C2CModel
from c2c_search.inference.packed.context import PackedContext
from c2c_search.models.loading import load
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefill import Prefill
from c2c_search.tokenization.continuations import response_ids


PARTS = {
    "read the batch": (PromptCaches, "packed"),
    "prefill": (Prefill, "run"),
    "mask and cache": (PackedContext, "feed"),
}

Scores = list[list[float]]
"""Log-likelihood (nats) of each question's options."""

_TOLERANCE = {torch.float32: 0.01, torch.bfloat16: 0.5, torch.float16: 0.1}


def main() -> None:
    """Measure and print."""
    options = parse()
    loaded = load(options.model)
    # Caches as exact as the model, so that both ways must agree.
    model = C2CModel(loaded, loaded, None, cache_dtype=loaded.model.dtype)
    questions = four_option_questions(options.questions)
    ways: dict[str, Callable[[Sequence[Question]], Scores]] = {
        "shared": lambda asked: shared(model, asked, options.batch),
        "one by one": lambda asked: one_by_one(model, asked),
    }
    found: dict[str, Scores] = {}

    def timed(name: str) -> Callable[[int], None]:
        def answer(turn: int) -> None:
            found[name] = ways[name](questions if turn else questions[:2])

        return answer

    times = timing.take_turns({name: timed(name) for name in ways}, options.repeats, model.device)
    difference = furthest(found["shared"], found["one by one"])
    assert difference < _TOLERANCE[loaded.model.dtype], f"likelihoods differ by {difference} nats"
    profiles = {}
    if options.profile:
        parts = {**PARTS, **model_parts(loaded.model)}
        some = questions[: options.batch]
        profiles = {
            name: profile(partial(way, some), parts, model.device) for name, way in ways.items()
        }
    report(times, difference, profiles, machine.describe(loaded), options)


def four_option_questions(count: int) -> list[Question]:
    """So many questions of the built-in quiz, spread over its groups."""
    splits = load_splits(DataConfig(limit=SplitLimits(test=count, train=1, validation=1)))
    items = [Item.of_row(row) for row in splits.test if len(row["choices"]) == 4]
    assert len(items) == count, f"the quiz has {len(items)} four-option questions for a test"
    return [Question(item, item.messages, item.choices) for item in items]


def shared(model: C2CModel, questions: Sequence[Question], batch_size: int) -> Scores:
    """As the workbench evaluates: a prompt is read once, and its options on top of its cache."""
    receiver = SYSTEMS["receiver"].build(Materials(pair=model))
    chosen = receiver.choose(QuestionPrompts(model, questions, batch_size=batch_size))
    return [list(each.likelihoods) for each in chosen]


@torch.no_grad()
def one_by_one(model: C2CModel, questions: Sequence[Question]) -> Scores:
    """As a plain loop evaluates: every option is read together with its whole prompt."""
    scores = []
    prompts = encode_alone(model, [question.messages for question in questions])
    for question, prompt in zip(questions, prompts, strict=True):
        totals = []
        tokenizer = model.receiver.text_tokenizer
        read = prompt.receiver_ids
        (options,) = response_ids(
            [prompt.receiver_text], [question.options], model.receiver_template, tokenizer
        )
        for answer in options:
            ids = torch.tensor([[*read, *answer]], device=model.device)
            logits = model.receiver.model(ids, use_cache=False).logits[0, len(read) - 1 : -1]
            likelihoods = logits.float().log_softmax(dim=-1)
            targets = torch.tensor(answer, device=model.device)
            totals.append(float(likelihoods.gather(1, targets[:, None]).sum()))
        scores.append(totals)
    return scores


def furthest(one: Scores, other: Scores) -> float:
    """The largest difference of two likelihoods (nats)."""
    pairs = zip([n for row in one for n in row], [n for row in other for n in row], strict=True)
    return max(abs(mine - its) for mine, its in pairs)


def report(
    times: Times,
    difference: float,
    profiles: dict[str, Profile],
    described: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print medians and their ratio."""
    ratio = timing.ratio(times["one by one"], times["shared"])
    if options.json:
        result = {
            "seconds": timing.medians(times),
            "ratio": ratio["ratio"],
            "ratio_of_turns": [ratio["lowest"], ratio["highest"]],
            "largest_difference": difference,
            "questions": options.questions,
            "repeats": options.repeats,
            "model": options.model,
            "profiles": {name: each.as_json() for name, each in profiles.items()},
            "machine": described,
        }
        print(json.dumps(result, indent=2))
        return
    print(f"{options.model}, {options.questions} four-option questions, {options.repeats} times")
    print(f"on {machine.in_words(described)}")
    for name, seconds in times.items():
        print(timing.in_words(name, seconds))
    print(f"  the same likelihoods, to {difference:.1e} nats")
    print(timing.ratio_in_words("one by one to shared", ratio))
    for name, each in profiles.items():
        print(f"\n{name}, the first {options.batch} questions: {each.in_words()}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each way")
    parser.add_argument("--batch", type=int, default=32, help="questions in one pass, at most")
    parser.add_argument("--profile", action="store_true", help="name where time and memory go")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
