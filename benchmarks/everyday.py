"""What a fuser costs its receiver on everyday questions, of which it has learned nothing.

Questions and reference answers are Dolly 15k's (CC BY-SA 3.0), as databricks publishes it
(``databricks-dolly-15k.jsonl``) or as chat rows. ``pick`` writes two sets that share no row, for
`data.files.guard` and for ``measure``, which compares nats per token of the reference answers.
``mislead`` hands the sharer of each row, of these or of any task, a document that has nothing to
do with it: a passage of a pipeline's private quiz.

    python benchmarks/everyday.py pick databricks-dolly-15k.jsonl
    python benchmarks/everyday.py measure everyday.jsonl mlruns/champions/quickstart
    python benchmarks/everyday.py mislead everyday.jsonl --to misled.jsonl
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy
import scipy.stats
import torch

from c2c_search.config.pipeline import load_pipeline
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.schema import Row
from c2c_search.data.sources import read_files
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.target import find_target
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.tokenization.templates import asked_about


QUESTION, ANSWER = range(1, 220), range(21, 600)
"""Lengths in characters: short ones, so that guarded steps stay cheap."""
GUARDED, ASKED = 600, 200
BATCH = 8


def main() -> None:
    """Pick questions, or measure fusers on them."""
    options = parse()
    if options.work == "pick":
        pick(options.rows, options.guard, options.questions)
    elif options.work == "mislead":
        mislead(options.rows, options.pipeline, options.to)
    else:
        measure(options.questions, options.fusers, options.root)


def pick(files: Sequence[str], guard: Path, questions: Path) -> None:
    """Write short rows in the order of their questions' SHA-256: the first, and the last."""
    rows = [row for row in read_files({"train": files})["train"] if is_short(row)]
    by_question = {row["messages"][-1]["content"]: row for row in rows}
    ordered = sorted(by_question, key=lambda text: hashlib.sha256(text.encode()).hexdigest())
    for path, chosen in ((guard, ordered[:GUARDED]), (questions, ordered[-ASKED:])):
        path.write_text("".join(f"{chat_line(by_question[text])}\n" for text in chosen))
        print(f"{len(chosen)} of {len(rows)} short rows to {path}")


def is_short(row: Row) -> bool:
    return len(row["messages"][-1]["content"]) in QUESTION and len(row["response"]) in ANSWER


def chat_line(row: Row) -> str:
    said = {"role": "assistant", "content": row["response"]}
    return json.dumps({"messages": [*row["messages"], said]}, ensure_ascii=False)


def mislead(rows: Path, pipeline: Path, to: Path) -> None:
    """Write rows whose sharers read a passage of the quiz's test split, and the row's question."""
    config = load_pipeline(pipeline).data.private_quiz
    quiz = private_rows(config, "test")
    found = []
    for number, row in enumerate(map(json.loads, rows.read_text(encoding="utf-8").splitlines())):
        invented = quiz[number % len(quiz)]
        read, about = (invented[name][0]["content"] for name in ("sharer_messages", "messages"))
        document = read.removesuffix(asked_about("", about))
        question = row["question"] if "question" in row else row["messages"][0]["content"]
        found.append(row | {"sharer_context": asked_about(document, question)})
    to.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in found))
    print(f"{len(found)} rows to {to}")


def measure(questions: Path, fusers: Sequence[str], root: Path) -> None:
    """Print each fuser's nats per token beside its receiver's."""
    rows = read_files({"test": [str(questions)]})["test"]
    for name in fusers:
        target = find_target(name, root=root)
        pair = load_pair(target)
        fused = with_fuser(pair, target.fuser())
        misled = any(row["sharer_messages"] for row in rows)
        prompts = fused.prompts(
            [row["messages"] for row in rows],
            [row["sharer_messages"] for row in rows] if misled else None,
        )
        alone = nats(receiver_alone(pair), prompts, rows)
        heard = nats(fused, prompts, rows)
        print(
            f"{target.name} in {target.dtype}, {len(rows)} answers, {int(alone[1].sum())} tokens"
        )
        print(in_words(alone, heard))


def load_pair(target: Target) -> C2CModel:
    """The two models in the dtype that the fuser was trained in, without the fuser."""
    assert target.sharer is not None, f"{target.name} has no fuser"
    dtype = getattr(torch, target.dtype)
    receiver, sharer = load(target.receiver, dtype=dtype), load(target.sharer, dtype=dtype)
    target.check(receiver, sharer)
    rounded = getattr(torch, target.cache_dtype)
    rest = {"template": target.template, "cache_dtype": rounded, "date": target.date}
    return C2CModel(receiver, sharer, None, **rest)


def nats(model: C2CModel, prompts: PairPrompts, rows: Sequence[Row]) -> numpy.ndarray:
    """Negative log-likelihood of each reference answer and its number of tokens, ``(2, rows)``."""
    found: list[tuple[float, int]] = []
    for start in range(0, len(rows), BATCH):
        chosen = range(len(rows))[start : start + BATCH]
        batch = model.batch(prompts, chosen)
        for scores, lengths in model.score(batch, [[rows[row]["response"]] for row in chosen]):
            found.append((-float(scores[0]), lengths[0]))
    return numpy.array(found).T


def in_words(alone: numpy.ndarray, heard: numpy.ndarray) -> str:
    """Nats per token of both, and how much more the fuser's are, with its 95 % interval."""

    def more(heard: numpy.ndarray, alone: numpy.ndarray) -> float:
        return float(heard.sum() / alone.sum() - 1)

    drawn = scipy.stats.bootstrap(
        (heard[0], alone[0]), more, paired=True, vectorized=False, rng=numpy.random.default_rng(0)
    )
    low, high = drawn.confidence_interval
    each = [float(one[0].sum() / one[1].sum()) for one in (alone, heard)]
    return (
        f"  receiver alone {each[0]:.3f}, C2C {each[1]:.3f} nats per token: "
        f"{more(heard[0], alone[0]):+.1%} (95 % interval {low:+.1%} to {high:+.1%})"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    work = parser.add_subparsers(dest="work", required=True)
    picking = work.add_parser("pick", help="write rows to guard, and others to ask")
    picking.add_argument("rows", nargs="+", help="Dolly 15k, one file or several")
    picking.add_argument("--guard", type=Path, default=Path("guard.jsonl"))
    picking.add_argument("--questions", type=Path, default=Path("everyday.jsonl"))
    misleading = work.add_parser("mislead", help="have sharers read what is beside the point")
    misleading.add_argument("rows", type=Path, help="chat or multiple-choice rows")
    pipeline = Path(__file__).parents[1] / "pipelines" / "private.yaml"
    misleading.add_argument("--pipeline", type=Path, default=pipeline, help="with a private quiz")
    misleading.add_argument("--to", type=Path, default=Path("misled.jsonl"))
    measuring = work.add_parser("measure", help="compare fusers with their receivers")
    measuring.add_argument("questions", type=Path, help="chat rows")
    measuring.add_argument("fusers", nargs="+", help="folders of champions or trials")
    measuring.add_argument("--root", type=Path, default=Path("mlruns"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
