"""Memory of trials, measured, against what is predicted from configurations alone.

Every case runs in a process of its own: a short trial of the real pair, as the worker runs it,
with calibration, steps, checkpoint and validation. Counted is what torch's allocators give out,
exactly; beside it stands the most that the process had resident, which holds Python, the
libraries and what the C library keeps as well.

    python benchmarks/memory.py --data train.jsonl

``--data`` adds cases on prompts from a file of rows, those of about ``--tokens`` tokens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import machine
import torch

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.data.sources import read_files
from c2c_search.data.splits import load_splits
from c2c_search.evaluation.latency.peak_memory import peak_memory
from c2c_search.evaluation.scoring import with_fuser
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.models.loading import resolve
from c2c_search.models.pair import PairSpec
from c2c_search.prompt_cache.batches import PairPrompts
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training.calibration import calibrate
from c2c_search.training.fuser_training import FuserTraining
from c2c_search.training.loop import TrainingData
from c2c_search.training.memory.prediction import Rehearsal
from c2c_search.training.memory.prediction import model_bytes
from c2c_search.training.memory.rows import Rows
from c2c_search.training.process import keep_freed_memory
from c2c_search.training.process import release_memory
from c2c_search.training.process import start_deepspeed


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


FUSERS: dict[str, dict[str, Any]] = {
    "c2c, width 64": {"width": 64},
    "c2c, width 512, depth 3": {"width": 512, "depth": 3},
    "linear, started by ridge": {
        "projector": "linear",
        "initialisation": "ridge",
        "keys": "unrotated",
        "injection": "replace",
    },
    "joint, LoRA 8": {"projector": "joint", "lora_rank": 8},
    "linear, appended": {"projector": "linear", "injection": "append"},
}
_COLUMNS = ("models", "caches", "fuser", "activations", "predicted", "measured", "resident")
_HEADINGS = (
    "MB; resident is beyond what an empty worker has; the last two columns are predicted over"
    " measured,\nin all and beside the models\n"
    + " " * 48
    + "".join(f"{name:>12}" for name in _COLUMNS)
)
_STEPS = 2  # the first makes the optimizer's moments
_ROWS = 200  # as many as a fuser is calibrated on
_QUESTIONS = 64


@dataclass(frozen=True)
class Case:
    """One fuser on one batch."""

    fuser: str
    batch: int
    data: str


def main() -> None:
    """Measure every case in a process of its own, and print the table."""
    options = parse()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)), options)))
        return
    sources = ["quiz"] if options.data is None else ["quiz", str(options.data)]
    cases = [
        Case(fuser, batch, data)
        for data in sources
        for fuser in options.fusers
        for batch in options.batch
    ]
    results: list[dict[str, Any]] = []
    if not options.json:
        print(_HEADINGS)
    for case in cases:
        arguments = [*sys.argv[1:], "--case", json.dumps(asdict(case))]
        done = subprocess.run(
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        results.append(json.loads(done.stdout.strip().splitlines()[-1]))
        if not options.json:
            print(line(results[-1]), flush=True)
    report(results, options)


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Run a short trial, from its calibration to its validation, and count."""
    keep_freed_memory()
    start_deepspeed()
    empty = resident()
    receiver, sharer = load(options.receiver), load(options.sharer)
    trial = _trial(case, options)
    rows, questions = _rows(case, options, receiver.text_tokenizer), _questions()
    alignment = trial.fuser.token_alignment
    train, asked = (_encoded(receiver, sharer, some, alignment) for some in (rows, questions))
    with tempfile.TemporaryDirectory() as folder:
        store = PromptCacheStore(Path(folder))
        data = TrainingData(
            train=rows,
            train_prompts=_stored(store, receiver, sharer, train),
            validation=questions,
            validation_prompts=_stored(store, receiver, sharer, asked),
        )
        pair = C2CModel(receiver, sharer, None)
        release_memory()
        before = resident()
        # On the CPU once for the resident set, then under the profiler, whose records take memory.
        grown = peak_memory(lambda: _train(trial, pair, data), pair.device)
        release_memory()
        if pair.device.type == "cuda":
            measured = torch.cuda.max_memory_allocated(pair.device)
        else:
            still = model_bytes(receiver.model) + model_bytes(sharer.model)
            measured = still + _counted(lambda: _train(trial, pair, data))
    rehearsal, dtype = Rehearsal(pair.device), receiver.model.dtype
    bare = [rehearsal.model(resolve(each), dtype) for each in (options.receiver, options.sharer)]
    predicted = rehearsal.trial(trial, *bare, Rows(rows, questions))
    return {
        **asdict(case),
        "prompt_tokens": sum(len(prompt.receiver_ids) for prompt in train) / len(train),
        "predicted": {**asdict(predicted), "total": predicted.total},
        "measured": measured,
        "resident": {"empty": empty, "before": before, "peak": before + grown},
        "device": str(pair.device),
    }


def _train(trial: TrialConfig, pair: C2CModel, data: TrainingData) -> None:
    """A trial as the worker runs it, in a folder of its own."""
    torch.manual_seed(trial.seed)
    shape = cache_shape(pair.receiver, adapted=trial.fuser.lora_rank > 0)
    model = with_fuser(pair, Fuser(trial.fuser, shape, cache_shape(pair.sharer)))
    calibrate(model, data.train_prompts, trial.seed)
    with tempfile.TemporaryDirectory() as folder:
        silent = {"emit": lambda _: None, "go_on": lambda: False}
        FuserTraining(trial, model, data, Path(folder), **silent).run()


def _counted(run: Any) -> int:
    """The most bytes that torch's CPU allocator had given out during ``run``, from none on."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = profiler.profiler.kineto_results.events()
    changes = sorted(
        (event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"
    )
    return highest(change for _, change in changes)


def highest(changes: Iterable[int]) -> int:
    """The highest sum on the way, from 0."""
    now = most = 0
    for change in changes:
        now += change
        most = max(most, now)
    return most


def resident() -> int:
    """Bytes that the process has resident."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def _trial(case: Case, options: argparse.Namespace) -> TrialConfig:
    return TrialConfig(
        pair=PairSpec(receiver=options.receiver, sharer=options.sharer),
        fuser=FuserConfig.model_validate(FUSERS[case.fuser]),
        training=TrainingConfig(batch_size=case.batch, steps=_STEPS),
        data=DataConfig(),
        evaluation=EvaluationConfig(),
        seed=0,
    )


def _rows(case: Case, options: argparse.Namespace, tokenizer: Any) -> list[Row]:
    """What is trained on: of a file, the rows whose prompts come closest to the wished length."""
    if case.data == "quiz":
        return list(load_splits(DataConfig()).train)[:_ROWS]
    rows = read_files({"train": [case.data]})["train"][:2000]
    texts = [" ".join(message["content"] for message in row["messages"]) for row in rows]
    lengths = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    nearest = sorted(range(len(rows)), key=lambda row: abs(lengths[row] - options.tokens))
    return [rows[row] for row in nearest[:_ROWS]]


def _questions() -> list[Row]:
    """What is validated on: rows of a file need not have choices."""
    return list(load_splits(DataConfig()).validation)[:_QUESTIONS]


def _encoded(
    receiver: LoadedModel, sharer: LoadedModel, rows: Sequence[Row], alignment: str
) -> tuple[EncodedPrompt, ...]:
    tokenizers = receiver.text_tokenizer, sharer.text_tokenizer
    return encode_all([row["messages"] for row in rows], "plain", *tokenizers, alignment)


def _stored(
    store: PromptCacheStore,
    receiver: LoadedModel,
    sharer: LoadedModel,
    encoded: tuple[EncodedPrompt, ...],
) -> PairPrompts:
    return PairPrompts(
        encoded=encoded,
        receiver=store.get(receiver, [prompt.receiver_ids for prompt in encoded]),
        sharer=store.get(sharer, [prompt.sharer_ids for prompt in encoded]),
    )


def ratio(result: dict[str, Any]) -> float:
    """Predicted over measured."""
    return float(result["predicted"]["total"] / result["measured"])


def ratio_beside_models(result: dict[str, Any]) -> float:
    """The same without both models' weights, which are the same in both."""
    models = result["predicted"]["models"]
    return float((result["predicted"]["total"] - models) / (result["measured"] - models))


def line(result: dict[str, Any]) -> str:
    """A case as a line of the table, in megabytes."""
    name = f"{result['fuser']}, batch {result['batch']}, {result['prompt_tokens']:.0f} tokens"
    numbers = [*result["predicted"].values(), result["measured"]]
    numbers += [result["resident"]["peak"] - result["resident"]["empty"]]
    columns = "".join(f"{number / 1e6:12,.0f}" for number in numbers)
    return f"{name:48}{columns}{ratio(result):8.2f}{ratio_beside_models(result):8.2f}"


def report(results: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print what the table says in all."""
    summary: dict[str, Any] = {
        "pair": f"{options.receiver} <- {options.sharer}",
        "cases": results,
        "ratios": [ratio(result) for result in results],
        "ratios_beside_models": [ratio_beside_models(result) for result in results],
        "machine": machine.describe(),
    }
    if options.json:
        print(json.dumps(summary, indent=2))
        return
    print(f"{summary['pair']}, on {machine.in_words(summary['machine'])}")
    empty = results[0]["resident"]["empty"] / 1e6
    print(f"an empty worker has {empty:,.0f} MB resident")
    for name, ratios in (("in all", ratio), ("beside models", ratio_beside_models)):
        found = [ratios(result) for result in results]
        print(f"predicted / measured, {name}: {min(found):.3f} to {max(found):.3f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--receiver", default="pypi:smollm2-135m-instruct")
    parser.add_argument("--sharer", default="pypi:gemma-3-270m")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32], help="examples a step")
    parser.add_argument("--fusers", nargs="+", choices=FUSERS, default=list(FUSERS))
    parser.add_argument("--data", type=Path, help="JSONL rows for longer prompts")
    parser.add_argument("--tokens", type=int, default=200, help="of a prompt taken from --data")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
