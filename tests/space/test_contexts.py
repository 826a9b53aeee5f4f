"""Rows that only an appending fuser can read are told before a study begins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.space import validate_file


SPACE = """\
study: s
pipeline: p.yaml
pairs: {one: {receiver: "path:a", sharer: "path:b"}}
search: {trials: 2, pruner: none}
dimensions:
  training.learning_rate: {float: [0.001, 0.01]}
"""
ROW = {"question": "Which?", "choices": ["one", "two"], "answer": 1}


def problems(tmp_path: Path, more: str, *rows: dict[str, object]) -> list[str]:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    data = "name: p\ndata: {source: jsonl, files: {train: rows.jsonl}}\n"
    (tmp_path / "p.yaml").write_text(data, encoding="utf-8")
    space = tmp_path / "s.yaml"
    space.write_text(SPACE + more, encoding="utf-8")
    return [str(problem).replace(f"{tmp_path}/", "") for problem in validate_file(space)]


CONTEXT = ROW | {"sharer_context": "It is two."}
CHOICES = "  fuser.injection: {choices: [append, replace]}\n"
SOMETIMES = "  fuser.injection: {choices: [append], when: {fuser.keys: unrotated}}\n"
SOMETIMES += "  fuser.keys: {choices: [rotated, unrotated]}\n"
PRESETS = "  fuser.preset: {choices: [draft-kv, ridge]}\n"


@pytest.mark.parametrize(
    ("more", "where", "others"),
    [
        ("", "s.yaml:1:1 fixed.fuser.injection", "['residual']"),
        ("fixed: {fuser.injection: replace}\n", "s.yaml:7:9 fixed.fuser.injection", "['replace']"),
        (CHOICES, "s.yaml:7:3 dimensions.fuser.injection", "['replace']"),
        (SOMETIMES, "s.yaml:7:3 dimensions.fuser.injection", "['residual']"),
        ("fixed: {fuser.preset: ridge}\n", "s.yaml:7:9 fixed.fuser.preset", "['replace']"),
        (PRESETS, "s.yaml:7:3 dimensions.fuser.preset", "['replace']"),
    ],
)
def test_rows_with_a_context_of_the_sharer_s_need_append_in_every_trial(
    tmp_path: Path, more: str, where: str, others: str
) -> None:
    (problem,) = problems(tmp_path, more, ROW, CONTEXT)
    needed = "need fuser.injection append or side in every trial."
    rule = f"Rows with a sharer_context (rows.jsonl:2) {needed}"
    assert problem.startswith(f"{where}: {rule} Got {others}.")


APPEND = "fixed: {fuser.injection: append, fuser.gate.granularity: none}\n"


def test_what_stands_beside_and_rows_without_a_context_are_no_problem(tmp_path: Path) -> None:
    assert not problems(tmp_path, "", ROW, ROW | {"sharer_context": None})
    preset = "fixed: {fuser.preset: draft-kv}\n"
    for fixed in (APPEND, "fixed: {fuser.injection: side}\n", preset):
        told = problems(tmp_path, fixed, CONTEXT)
        assert not [each for each in told if "sharer_context" in each]


def test_the_private_quiz_is_made_of_such_rows(tmp_path: Path) -> None:
    problems(tmp_path, "", ROW)
    (tmp_path / "p.yaml").write_text("name: p\ndata: {source: private_quiz}\n")
    (problem,) = validate_file(tmp_path / "s.yaml")
    assert "(source private_quiz) need fuser.injection append" in str(problem)


def test_lines_that_cannot_be_read_are_told_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    assert not problems(tmp_path, "", ROW)
    lines = '{"sharer_context": \n[["sharer_context"]]\n'
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    assert not [each for each in validate_file(tmp_path / "s.yaml") if "context" in str(each)]
