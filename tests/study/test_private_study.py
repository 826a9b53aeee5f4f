"""Studies on what only the sharer has read, from the space file to a champion that is asked.

Random models prove nothing, so the gate is opened by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from c2c_search import C2CModel
from c2c_search.models.pair import PairSpec
from c2c_search.study import finalists
from c2c_search.study.driver import Outcome
from c2c_search.study.driver import run_study
from c2c_search.testing.tokenizers import family


SPACE = """\
study: private
pipeline: pipeline.yaml
pairs:
  there: {receiver: "path:a", sharer: "path:b"}
  back: {receiver: "path:b", sharer: "path:a"}
search: {trials: 1, sampler: random, pruner: none}
fixed: {fuser.injection: append, fuser.initialisation: ridge}
dimensions:
  pair: {choices: [there, back]}
  fuser.projector: {choices: [linear]}
"""
PIPELINE = """\
name: private
data: DATA
training: {steps: 2, batch_size: 4, log_every: 1, rungs: [0.5, 1.0]}
caches: {dtype: float32}
champion: {finalists: 1, level: 0.5, resamples: 20, controls: CONTROLS}
"""
CONTROLS = "[routing, text_relay, zeroed, noise, self, ridge, cartridge]"
PRIVATE_QUIZ = (
    "{source: private_quiz, private_quiz: {passages: {train: 16, validation: 6, test: 6}}}"
)
CONTEXTS = "{source: jsonl, files: {train: rows.jsonl}}"


def rows(count: int) -> str:
    """Rows with a ``sharer_context`` that says the answer."""
    found = [
        {
            "question": f"What is number {i}?",
            "choices": [f"{letter}{i}" for letter in "wxyz"],
            "answer": i % 4,
            "sharer_context": f"Number {i} is {'wxyz'[i % 4]}{i}.\nQuestion: What is number {i}?",
        }
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in found)


def open_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    real = finalists.judge
    monkeypatch.setattr(
        finalists, "judge", lambda *a, **k: real(*a, **k).model_copy(update={"passed": True})
    )


def study(folder: Path, tiny_pair: PairSpec, data: str, monkeypatch) -> Outcome:
    for name, source in zip("ab", (tiny_pair.receiver, tiny_pair.sharer), strict=True):
        shutil.copytree(source.removeprefix("path:"), folder / name)
    # As Llama 2's: a text that is tokenized apart gets a space that stands nowhere.
    tokenizer = family("llama")
    receiver = LlamaForCausalLM.from_pretrained(folder / "a")
    receiver.resize_token_embeddings(len(tokenizer))
    receiver.save_pretrained(folder / "a")
    tokenizer.save_pretrained(folder / "a")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "pipeline.yaml").write_text(
        PIPELINE.replace("DATA", data).replace("CONTROLS", CONTROLS)
    )
    (folder / "rows.jsonl").write_text(rows(40))
    open_the_gate(monkeypatch)
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(folder / "cache"))
    return run_study(folder / "space.yaml", root=folder / "mlruns")


@pytest.mark.parametrize("data", [PRIVATE_QUIZ, CONTEXTS])
def test_a_study_on_what_only_the_sharer_has_read_ends_with_a_champion(
    tiny_pair: PairSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    outcome = study(tmp_path, tiny_pair, data, monkeypatch)
    (verdict,) = outcome.final.verdicts
    assert {one.control for one in verdict.comparisons} == {
        "a alone",
        "b alone",
        "a reading the context",
        "b reading the context",
        "trial-000 twin",
        "trial-000 routing",
        "trial-000 text relay",
        "trial-000 zeroed",
        "trial-000 noise",
        "trial-000 self",
        "trial-000 ridge",
        "trial-000 cartridge",
    }
    twin = outcome.final.finalists[0].config.fuser.without_sharer()
    assert (twin.injection, twin.sharer) == ("append", "blank")
    model = C2CModel.from_pretrained(outcome.champion.folder)
    context = "The capital of Brun is Kass."
    question = "What is the capital of Brun?"
    told = model.generate_batch([question], [f"{context}\nQuestion: {question}"])
    assert len(told) == 1
