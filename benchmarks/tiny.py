"""A space over tiny random models on the disk: a real trial of it takes a second or two."""

from __future__ import annotations

import json
from pathlib import Path


PIPELINE = """\
name: tiny
data: {{source: jsonl, files: {{train: data.jsonl}}}}
training:
  steps: {steps}
  batch_size: 4
  log_every: {log_every}
  rungs: [0.5, 1.0]
  checkpoint_seconds: 0
caches: {{dtype: float32}}
champion: {{finalists: 1, level: 0.5, resamples: 20, controls: []}}
"""
SPACE = """\
study: tiny
pipeline: pipeline.yaml
pairs:
  only: {{receiver: "path:models/receiver", sharer: "path:models/sharer"}}
search: {{trials: {trials}, sampler: random, pruner: none, seed: 0}}
dimensions:
  fuser.projector: {{choices: [linear, c2c]}}
  fuser.width: {{int: [8, 32]}}
  training.learning_rate: {{float: [1.0e-3, 0.3], log: true}}
"""
_ROWS = 200


def write_space(folder: Path, *, trials: int, steps: int, log_every: int = 1) -> Path:
    """Write a space of so many trials, its pipeline, its data and its models."""
    import transformers

    from c2c_search.testing.tiny_models import random_model

    transformers.utils.logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.format(steps=steps, log_every=log_every))
    rows = [
        {"question": f"{i} is which?", "choices": [f"{i} {c}" for c in "wxyz"], "answer": i % 4}
        for i in range(_ROWS)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for role, layers in (("receiver", 2), ("sharer", 3)):
        loaded = random_model(layers=layers, seed=layers)
        loaded.model.save_pretrained(folder / "models" / role)
        loaded.tokenizer.save_pretrained(folder / "models" / role)
    path = folder / "space.yaml"
    path.write_text(SPACE.format(trials=trials))
    return path


def open_the_gate() -> None:
    """Let this process's study have a champion: between random models no fuser proves itself."""
    from c2c_search.study import finalists

    judge = finalists.judge
    finalists.judge = lambda *a, **k: judge(*a, **k).model_copy(update={"passed": True})
