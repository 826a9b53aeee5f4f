"""Evaluation with shared prompt caches against one pass of prompt and option for every option.

Both score the same four-option questions with the same model, turn by turn in one run, and must
find the same likelihoods; what is printed is the ratio of their median times. Prompt caches are
computed anew in every turn. Run it on a machine that does nothing else:

    python benchmarks/evaluate.py --questions 500
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from collections.abc import Sequence

import torch

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitLimits
from c2c_search.data.splits import load_splits
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems.passes import encode_alone
from c2c_search.evaluation.systems.reading import Reading
from c2c_search.inference.model import C2CModel
from c2c_search.pair.loading import load


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
    for way in ways.values():
        way(questions[:2])
    times: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Scores] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            begun = time.perf_counter()
            found[name] = way(questions)
            times[name].append(time.perf_counter() - begun)
    difference = furthest(found["shared"], found["one by one"])
    assert difference < _TOLERANCE[loaded.model.dtype], f"likelihoods differ by {difference} nats"
    report(times, difference, options)


def four_option_questions(count: int) -> list[Question]:
    """So many questions of the built-in quiz, spread over its groups."""
    splits = load_splits(DataConfig(limit=SplitLimits(test=count, train=1, validation=1)))
    items = [Item.of_row(row) for row in splits.test if len(row["choices"]) == 4]
    assert len(items) == count, f"the quiz has {len(items)} four-option questions for a test"
    return [Question(item, item.messages, item.choices) for item in items]


def shared(model: C2CModel, questions: Sequence[Question], batch_size: int) -> Scores:
    """As the workbench evaluates: a prompt is read once, and its options on top of its cache."""
    receiver = SYSTEMS["receiver"].build(Materials(pair=model))
    chosen = receiver.choose(Reading(model, questions, batch_size=batch_size))
    return [list(each.likelihoods) for each in chosen]


@torch.no_grad()
def one_by_one(model: C2CModel, questions: Sequence[Question]) -> Scores:
    """As a plain loop evaluates: every option is read together with its whole prompt."""
    scores = []
    prompts = encode_alone(model, [question.messages for question in questions])
    for question, prompt in zip(questions, prompts, strict=True):
        totals = []
        for option in question.options:
            answer = model.response_ids(option)
            ids = torch.tensor([[*prompt, *answer]], device=model.device)
            logits = model.receiver.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
            likelihoods = logits.float().log_softmax(dim=-1)
            targets = torch.tensor(answer, device=model.device)
            totals.append(float(likelihoods.gather(1, targets[:, None]).sum()))
        scores.append(totals)
    return scores


def furthest(one: Scores, other: Scores) -> float:
    """The largest difference of two likelihoods (nats)."""
    pairs = zip([n for row in one for n in row], [n for row in other for n in row], strict=True)
    return max(abs(mine - its) for mine, its in pairs)


def report(times: dict[str, list[float]], difference: float, options: argparse.Namespace) -> None:
    """Print medians and their ratio."""
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    cuda = torch.cuda.is_available()
    result = {
        "seconds": medians,
        "ratio": medians["one by one"] / medians["shared"],
        "largest_difference": difference,
        "questions": options.questions,
        "repeats": options.repeats,
        "model": options.model,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{options.model}, {options.questions} four-option questions, {options.repeats} times")
    for name, seconds in medians.items():
        low, high = min(times[name]), max(times[name])
        print(f"  {name:>10}: {seconds:.2f} s (median; {low:.2f} to {high:.2f})")
    print(f"  the same likelihoods, to {difference:.1e} nats")
    print(f"  ratio: {result['ratio']:.2f}x, on {result['machine']}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3, help="measured turns of each way")
    parser.add_argument("--batch", type=int, default=32, help="questions in one pass, at most")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
