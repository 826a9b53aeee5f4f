"""Studies on what only the sharer has read, from the space file to a champion that is asked.

Random models prove nothing, so the gate is opened by hand.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from c2c_search import C2CModel
from c2c_search.cli import main
from c2c_search.inference.manifest import read_manifest
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
XQUAD = Path(__file__).parents[3] / "shared" / "data" / "private_xquad"
REAL_SPACE = """\
study: paragraphs
pipeline: pipeline.yaml
pairs:
  gemma-to-smollm: {receiver: "pypi:smollm2-135m-instruct", sharer: "pypi:gemma-3-270m"}
search: {trials: 1, sampler: random, pruner: none}
fixed: {fuser.injection: append, fuser.initialisation: ridge}
dimensions:
  fuser.projector: {choices: [linear]}
"""
REAL_PIPELINE = f"""\
name: paragraphs
data:
  source: jsonl
  files: {{train: "{XQUAD}/train.jsonl", validation: "{XQUAD}/dev.jsonl"}}
  limit: {{train: 8, validation: 8, test: 8}}
training: {{steps: 2, batch_size: 4, log_every: 1, rungs: [0.5, 1.0]}}
champion: {{finalists: 1, level: 0.5, resamples: 20, controls: [routing]}}
"""


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


def hand_over(
    champion: Path,
    question: str,
    document: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> str:
    """What ``c2c-search ask`` says of a document, on one line."""
    (champion.parent / "document.txt").write_text(document, encoding="utf-8")
    told = ["--context", str(champion.parent / "document.txt"), "--tokens", "3"]
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["c2c-search", "ask", str(champion), question, *told])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("data", [PRIVATE_QUIZ, CONTEXTS])
def test_a_study_on_what_only_the_sharer_has_read_ends_with_a_champion(
    tiny_pair: PairSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: str,
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
    manifest = read_manifest(outcome.champion.folder)
    assert manifest.questions
    for each in manifest.questions:
        assert each.sharer_context.endswith(f"\nQuestion: {each.question}")
    model = C2CModel.from_pretrained(outcome.champion.folder)
    first = manifest.questions[0]
    again = model.generate_batch(
        [first.question], [first.sharer_context], max_new_tokens=first.max_new_tokens
    )
    assert again == [first.answer]
    document = first.sharer_context.removesuffix(f"\nQuestion: {first.question}")
    answer, asked = C2CModel.generate, []

    def listen(self, question=None, *, sharer_contexts=None, **options):
        asked.append((question, sharer_contexts))
        return answer(self, question, sharer_contexts=sharer_contexts, **options)

    monkeypatch.setattr(C2CModel, "generate", listen)
    said = hand_over(outcome.champion.folder, first.question, document, monkeypatch, capsys)
    assert f"sharer {manifest.pair.sharer.source}, with the document" in said
    # Word for word what training had: fused, the receiver alone, and the sharer alone.
    question, context = first.question, first.sharer_context
    assert asked == [([question], [context]), (question, None), (context, None)]


@pytest.mark.slow
@pytest.mark.skipif(not XQUAD.is_dir(), reason="the real paragraphs are not at hand")
def test_a_study_of_the_real_pair_on_real_paragraphs_ends_with_a_champion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So few steps say nothing, but that every stage is reached, and the user's door opens."""
    (tmp_path / "space.yaml").write_text(REAL_SPACE)
    (tmp_path / "pipeline.yaml").write_text(REAL_PIPELINE)
    open_the_gate(monkeypatch)
    outcome = run_study(tmp_path / "space.yaml", root=tmp_path / "mlruns")
    (verdict,) = outcome.final.verdicts
    assert (verdict.split, verdict.items) == ("test", 8)
    controls = {one.control for one in verdict.comparisons}
    assert {"gemma-3-270m reading the context", "trial-000 routing"} <= controls
    folder = outcome.champion.folder
    first = read_manifest(folder).questions[0]
    assert first.sharer_context.endswith(f"\nQuestion: {first.question}")
    document = "The mill was built in 1820 by Ann Reed, who came from Hull."
    said = hand_over(folder, "Who built the mill?", document, monkeypatch, capsys)
    assert "sharer pypi:gemma-3-270m, with the document" in said
