"""Passages of any length are the private quiz's own, as a JSONL file has them."""

from __future__ import annotations

from c2c_search.config.pipeline import load_pipeline
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.sources import read_files


def test_rows_come_back_as_the_quiz_has_them(program, tmp_path, monkeypatch):
    passages = program("passages")
    path = tmp_path / "passages.jsonl"
    words = f"passages.py --sentences 12 --questions 3 --to {path}"
    monkeypatch.setattr("sys.argv", words.split())
    passages.main()
    read = read_files({"test": [str(path)]})["test"]
    known = load_pipeline(passages.PIPELINE).data.private_quiz
    quiz = private_rows(known.model_copy(update={"sentences": 12}), "test")[:3]
    same = ("id", "cluster", "group", "messages", "sharer_messages", "choices", "answer")
    assert [[row[name] for name in same] for row in read] == [
        [row[name] for name in same] for row in quiz
    ]
    assert all(row["sharer_messages"][0]["content"].count(". ") == 11 for row in read)
