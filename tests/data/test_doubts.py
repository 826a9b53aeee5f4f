"""Rows that are read as they stand, and are most likely not what was meant, are told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import SplitFiles
from c2c_search.data.sources import place_of
from c2c_search.data.sources import read_files
from c2c_search.data.splits import load_splits


def write(path: Path, *rows: Any) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def told(*files: str) -> list[str]:
    sentences: list[str] = []
    read_files({"train": files}, notify=sentences.append)
    return sentences


def choice(question: str, choices: list[str], answer: Any, **more: Any) -> dict[str, Any]:
    return {"question": question, "choices": choices, "answer": answer, **more}


def test_a_key_twice_is_told_with_its_line(tmp_path: Path) -> None:
    twice = '{"question": "Which?", "choices": ["a", "b"], "answer": 0, "answer": 1}'
    rows = [twice.replace("Which", f"Which {number}") for number in range(5)]
    path = write(tmp_path / "a.jsonl", choice("What?", ["a", "b"], 0), *rows)
    (sentence,) = told(path)
    assert sentence.startswith("Rows that have a key twice, of which the last counts: 5, at ")
    assert f"{path}:2 (answer), {path}:3 (answer), {path}:4 (answer) and 2 more." in sentence


def test_two_answers_to_a_question_are_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        choice("Capital of France?", ["Paris", "Rome"], 0),
        choice("capital of  france", ["Rome", "Paris"], 0),
        choice("Which is true?", ["a", "b"], 0),
        choice("Which is true?", ["c", "d"], 0),
        choice("Capital of Italy?", ["Paris", "Rome"], 1),
        choice("Capital of Italy?", ["Rome", "Paris"], "A"),
    )
    (sentence,) = told(path)
    assert sentence == (
        "Rows that ask what another row asks, and have another right answer: 1, at "
        f"{path}:2 (and {path}:1)."
    )


def test_answers_counted_from_one_are_told(tmp_path: Path) -> None:
    rows = [choice(f"{n}?", ["a", "b", "c", "d"], 1 + n % 3) for n in range(12)]
    path = write(tmp_path / "a.jsonl", *rows)
    (sentence,) = told(path)
    assert sentence.startswith(f"None of 12 answers by number in {path} is 0")
    assert told(write(tmp_path / "b.jsonl", *rows, choice("Zero?", ["a", "b"], 0))) == []
    assert told(write(tmp_path / "few.jsonl", *rows[:9])) == []
    letters = [{**row, "answer": "BCD"[number % 3]} for number, row in enumerate(rows)]
    assert told(write(tmp_path / "c.jsonl", *letters)) == []


def test_splits_tell_it_too(tmp_path: Path) -> None:
    rows = [choice(f"Number {n}?", [f"{n}a", f"{n}b"], 1) for n in range(40)]
    files = SplitFiles(train=write(tmp_path / "a.jsonl", *rows))
    sentences: list[str] = []
    load_splits(DataConfig(source="jsonl", files=files), notify=sentences.append)
    assert len(sentences) == 1


def test_a_row_is_found_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "", choice("Which?", ["a", "b"], 0, id="q7"))
    assert place_of(SplitFiles(train=path), "q7") == f"{path}:2"
    assert place_of(SplitFiles(), "quiz/7") == "quiz/7"


def test_a_key_that_nothing_reads_and_that_is_nearly_one_of_ours_is_told(tmp_path: Path) -> None:
    near = {"sharer_contxt": "x", "clusters": 1, "context": "x", "difficulty": 3, "idx": 4}
    rows = [choice(f"{n}?", ["a", "b"], 0, **{key: near[key]}) for n, key in enumerate(near)]
    path = write(tmp_path / "a.jsonl", *rows)
    assert told(path) == [
        f"Rows that have a key that nothing reads: 3, at {path}:1 (`sharer_contxt`; did you mean "
        f"`sharer_context`?), {path}:2 (`clusters`; did you mean `cluster`?), {path}:3 "
        "(`context`; did you mean `sharer_context`?)."
    ]


def test_what_the_sharer_reads_may_have_other_texts_beside_it(tmp_path: Path) -> None:
    row = choice("Who?", ["a", "b"], 0, sharer_context="x", context="y")
    assert told(write(tmp_path / "a.jsonl", row)) == []
