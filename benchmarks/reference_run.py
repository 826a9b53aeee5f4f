"""One trial as the published code runs it, in a process of its own: `study.py` starts it.

Both models are loaded, the data is made, and the fuser of a trial is trained on the same examples
in the same order as the workbench would, but with reference-style steps (see `reference`). Then
every option of every validation question is scored by itself, its whole prompt read again.

    python benchmarks/reference_run.py trial.yaml    # prints JSON
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import torch
from reference import LayerLoopFuser
from reference import ReferenceStyle
from reference import ReferenceTraining

from c2c_search.config.trial import TrialConfig
from c2c_search.data.splits import load_splits
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.tokenization.continuations import response_ids
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.training.order import Order
from c2c_search.training.process import keep_freed_memory


if TYPE_CHECKING:
    from c2c_search.data.schema import Row
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.token_alignment import EncodedPrompt


def main() -> None:
    """Run the trial and print what came of it."""
    keep_freed_memory()  # as our worker does: it would be unfair not to
    config = TrialConfig.from_yaml(Path(sys.argv[1]).read_text(encoding="utf-8"))
    begun = time.perf_counter()
    receiver, sharer = load(config.pair.receiver), load(config.pair.sharer)
    splits = load_splits(config.data)
    loaded = time.perf_counter()
    found = run(config, receiver, sharer, list(splits.train), list(splits.validation))
    found["seconds"]["load"] = loaded - begun
    print(json.dumps(found))


def run(
    config: TrialConfig,
    receiver: LoadedModel,
    sharer: LoadedModel,
    train: Sequence[Row],
    validation: Sequence[Row],
) -> dict[str, Any]:
    """Train and validate; losses of all steps, accuracy, and the seconds of both."""
    begun = time.perf_counter()
    pair = C2CModel(receiver, sharer, None, template=config.data.template)
    torch.manual_seed(config.seed)
    fuser = Fuser(config.fuser, cache_shape(receiver), cache_shape(sharer))
    style = ReferenceStyle(receiver.model, sharer.model, LayerLoopFuser(fuser))
    training = ReferenceTraining(style, config.training)
    prompts = _encoded(pair, train)
    end = receiver.text_tokenizer.eos_token_id
    texts = [[row["response"]] for row in train]
    tokenizer = receiver.text_tokenizer
    known = response_ids(
        [p.receiver_text for p in prompts], texts, pair.receiver_template, tokenizer
    )
    responses = [[*ids, end] for (ids,) in known]
    losses = []
    order = Order(config.seed, len(train), config.training.batch_size)
    for step in range(config.training.steps):
        rows = order.rows(step)
        loss = training.step([prompts[row] for row in rows], [responses[row] for row in rows])
        losses.append(float(loss))
    trained = time.perf_counter()
    accuracy = validate(pair, style, validation, config)
    return {
        "losses": losses,
        "accuracy": accuracy,
        "seconds": {"train": trained - begun, "evaluate": time.perf_counter() - trained},
    }


def validate(
    pair: C2CModel, style: ReferenceStyle, rows: Sequence[Row], config: TrialConfig
) -> float:
    """Share of the questions whose likeliest option is the answer."""
    style.fuser.eval()
    right = 0
    for row, prompt in zip(rows, _encoded(pair, rows), strict=True):
        scores = []
        tokenizer = pair.receiver.text_tokenizer
        (options,) = response_ids(
            [prompt.receiver_text], [row["choices"]], pair.receiver_template, tokenizer
        )
        for ids in options:
            length = len(ids) if config.evaluation.length_normalised else 1
            scores.append(style.score(prompt, ids) / length)
        right += max(range(len(scores)), key=scores.__getitem__) == row["answer"]
    return right / len(rows)


def _encoded(pair: C2CModel, rows: Sequence[Row]) -> tuple[EncodedPrompt, ...]:
    return encode_all(
        [row["messages"] for row in rows],
        pair.template,
        pair.receiver.text_tokenizer,
        pair.sharer.text_tokenizer,
    )


if __name__ == "__main__":
    main()
