from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.setup import data_check
from c2c_search.setup.data_check import DataReport
from c2c_search.setup.data_check import Lengths
from c2c_search.setup.data_check import check_data
from c2c_search.setup.data_check import files_of


def _check(*files: Path, **options) -> DataReport:
    return check_data(files_of([str(file) for file in files], [], []), **options)


def _write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_what_multiple_choice_rows_hold(own_data: Path) -> None:
    found = _check(own_data)
    assert (found.rows, found.kinds) == (60, {"multiple choice": 60})
    assert found.chance == 0.25
    assert found.positions == {0: 15, 1: 15, 2: 15, 3: 15}
    assert found.splits == {"train": 42, "validation": 6, "test": 12}
    assert (found.repeated, found.tied, found.problems) == (0, 0, ())
    assert found.answer == Lengths(least=3, median=4, high=6, most=6)
    assert any(notice.startswith("test: The split is too small") for notice in found.notices)


def test_repeated_questions_ties_and_lopsided_answers_are_told(tmp_path: Path) -> None:
    rows = [
        {"question": f"Is it {n // 2}?", "choices": ["certainly so", "no"], "answer": 0}
        for n in range(80)
    ]
    tied = {"question": "Which?", "choices": ["same", "same", "other"], "answer": 2}
    found = _check(_write(tmp_path / "rows.jsonl", *rows, tied))
    assert (found.repeated, found.tied) == (40, 1)
    assert found.longest_right == pytest.approx(81 / 81)
    assert "length alone gives answers away" in " ".join(found.notices)
    assert found.clusters == 41


def test_open_rows_alone_cannot_be_studied(tmp_path: Path) -> None:
    found = _check(_write(tmp_path / "open.jsonl", {"prompt": "Say", "answer": "so"}))
    assert found.kinds == {"open": 1}
    assert found.chance is None
    assert "The validation split must have at least one example" in found.problems[0]


def test_rows_that_do_not_fit_are_refused_together(tmp_path: Path) -> None:
    path = _write(tmp_path / "bad.jsonl", {"question": "x"}, {"nothing": 1})
    with pytest.raises(DataError, match="2 rows do not fit"):
        _check(path)
    with pytest.raises(ConfigError, match="at least one file"):
        files_of([], [], [])


def test_tokenizers_tell_options_of_the_same_tokens(own_data: Path, tiny_model) -> None:
    model = tiny_model("llama")
    found = _check(
        own_data,
        tokenized=lambda rows: [data_check._tokenized("receiver", model, rows, "plain", "")],
    )
    (read,) = found.tokenized
    assert read.source == model.identity.source
    # Byte by byte: "Question: " and "\nAnswer:" stand around each question.
    assert read.prompt.most > 40
    assert (read.answer.least, read.answer.most) == (4, 7)
    assert (read.ties, read.unknown) == ((), 0)
