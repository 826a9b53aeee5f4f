from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.config.pipeline import load_pipeline
from c2c_search.config.pipeline import read_pipeline
from c2c_search.errors import ConfigError


def _write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_name_is_all_a_pipeline_needs(tmp_path: Path) -> None:
    assert load_pipeline(_write(tmp_path, "name: x")).training.steps > 0


def test_data_files_are_relative_to_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").touch()
    text = "name: x\ndata: {source: jsonl, files: {train: ./train.jsonl}}"
    files = load_pipeline(_write(tmp_path, text)).data.files
    assert files.train == (str(tmp_path / "train.jsonl"),)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    text = """\
name: x
data:
  source: jsonl
  files:
    train: no.jsonl
training:
  steps: many
  zero_stage: 3
champion: {level: 2}
"""
    pipeline, problems = read_pipeline(_write(tmp_path, text))
    assert pipeline is None
    assert [str(problem).split(": ")[0].split("/")[-1] for problem in problems] == [
        "p.yaml:5 data.files.train",
        "p.yaml:7 training.steps",
        "p.yaml:8 training.zero_stage",
        "p.yaml:9 champion.level",
    ]


def test_a_quiz_group_that_is_not_there(tmp_path: Path) -> None:
    text = "name: x\ndata:\n  groups:\n    train: [country/zh]\n    test: [country/zz, contry/*]\n"
    with pytest.raises(ConfigError) as caught:
        load_pipeline(_write(tmp_path, text))
    assert "p.yaml:5 data.groups.test: A pattern must match a group" in str(caught.value)
    assert "Got 'country/zz'. Did you mean `country/" in str(caught.value)
    assert "Got 'contry/*'." in str(caught.value)


def test_a_pipeline_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_pipeline(tmp_path / "no.yaml")
