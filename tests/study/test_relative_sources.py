"""A study on relative paths, from the space file to a champion that answers elsewhere.

Random models prove nothing, so the gate is opened by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from c2c_search import C2CModel
from c2c_search.models.pair import PairSpec
from c2c_search.study import finalists
from c2c_search.study.driver import run_study


SPACE = """\
study: relative
pipeline: pipeline.yaml
pairs:
  only: {receiver: "path:../models/a", sharer: "path:../models/b"}
search: {trials: 1, sampler: random, pruner: none}
dimensions:
  fuser.projector: {choices: [linear]}
"""
PIPELINE = """\
name: relative
data: {source: jsonl, files: {train: data.jsonl}}
training: {steps: 2, batch_size: 4, log_every: 1, rungs: [1.0]}
caches: {dtype: float32}
champion: {finalists: 1, level: 0.5, resamples: 20, controls: []}
"""


def test_a_study_on_relative_paths_ends_with_a_champion(
    tiny_pair: PairSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in zip("ab", (tiny_pair.receiver, tiny_pair.sharer), strict=True):
        shutil.copytree(source.removeprefix("path:"), tmp_path / "models" / name)
    spaces, elsewhere = tmp_path / "spaces", tmp_path / "elsewhere"
    spaces.mkdir()
    elsewhere.mkdir()
    (spaces / "space.yaml").write_text(SPACE)
    (spaces / "pipeline.yaml").write_text(PIPELINE)
    rows = [
        {"question": f"{i} is which?", "choices": [f"{i} {c}" for c in "wxyz"], "answer": i % 4}
        for i in range(40)
    ]
    (spaces / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    real = finalists.judge
    monkeypatch.setattr(
        finalists, "judge", lambda *a, **k: real(*a, **k).model_copy(update={"passed": True})
    )
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(elsewhere)

    champion = run_study(Path("../spaces/space.yaml"), root=tmp_path / "mlruns").champion
    manifest = json.loads((champion.folder / "manifest.json").read_text())
    assert manifest["pair"]["receiver"]["source"] == f"path:{tmp_path}/models/a"
    (folder := tmp_path / "third").mkdir()
    monkeypatch.chdir(folder)
    (asked, *_) = manifest["questions"]
    model = C2CModel.from_pretrained(champion.folder)
    assert model.generate(asked["question"], max_new_tokens=16) == asked["answer"]
