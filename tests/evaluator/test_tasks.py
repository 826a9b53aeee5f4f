from __future__ import annotations

import sys
from pathlib import Path

import pytest

from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.errors import ConfigError
from c2c_search.evaluator.request import Request
from c2c_search.evaluator.target import Target
from c2c_search.evaluator.tasks import choose
from tests.evaluator.conftest import rows
from tests.evaluator.conftest import write_rows


def test_of_training_rows_only_those_with_choices_are_shown(
    trial: TrialConfig, tmp_path: Path
) -> None:
    written = [{"id": f"w{n}", "prompt": f"say {n}", "answer": str(n)} for n in range(5)]
    train = write_rows(tmp_path / "train.jsonl", [*written, *rows("train", range(6))])
    files = trial.data.files.model_dump() | {"train": (str(train),)}
    data = trial.data.model_copy(update={"files": SplitFiles(**files)})
    mixed = trial.model_copy(update={"data": data})
    (own,) = choose(Request(target=""), Target("mixed", "path:a", "path:b", trial=mixed))
    assert own.exemplars
    assert all(item.choices for item in own.exemplars)


def test_a_grader_that_is_not_installed_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    content = [{"id": "w", "prompt": "Translate: two", "answer": "deux"}]
    path = write_rows(tmp_path / "test.jsonl", content)
    request = Request(target="", tasks=(f"translation={path}",))
    with pytest.raises(ConfigError, match="pip install 'sacrebleu'"):
        choose(request, Target("model", "path:a"))
