"""Texts to reconstruct: what a row's text is, and what must not be among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from c2c_search.data.reconstruction import INSTRUCTION
from c2c_search.data.reconstruction import of_examples
from c2c_search.data.reconstruction import read_texts
from c2c_search.data.reconstruction import unseen
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import DataConfig
from c2c_search.data.splits import load_splits
from c2c_search.errors import DataError


SMALL = {split: ["capital/of", "country/th"] for split in SPLITS}
PASSAGE = " ".join(f"word{number}" for number in range(20))


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _file(folder: Path, rows: list[dict[str, Any]], name: str = "texts") -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"text": "a text", "question": "?"}, "a text"),
        ({"sharer_context": "read this", "prompt": "p", "answer": "a"}, "read this"),
        ({"instruction": "do", "context": "of this", "response": "r"}, "of this"),
        ({"instruction": "do", "context": "", "response": "r"}, "do"),
        ({"passage": "long", "question": "q", "choices": ["a", "b"], "answer": 0}, "long"),
        ({"question": "q", "answer": "open"}, "q"),
        ({"messages": [_turn("user", "u\n\np"), _turn("assistant", "a")]}, "u\n\np"),
        ({"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]}, "h"),
    ],
)
def test_a_rows_text(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    (found,) = read_texts([_file(tmp_path, [row])])
    assert found["response"] == text
    assert found["sharer_messages"] == [_turn("user", text)]
    assert found["messages"] == [_turn("user", INSTRUCTION)]
    assert (found["choices"], found["answer"]) == ([], -1)
    assert found["id"] == "texts/texts:1"


def test_rows_without_a_text_are_told_together(tmp_path: Path) -> None:
    rows = [{"text": 3}, {"other": "x"}, {"text": "good", "id": "a"}, {"text": "again", "id": "a"}]
    with pytest.raises(DataError, match="3 rows do not fit") as caught:
        read_texts([_file(tmp_path, rows)])
    said = str(caught.value)
    assert "text must be a non-empty string" in said
    assert "must have a text, a sharer_context, a passage" in said
    assert "An id must be unique" in said


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Every data file must exist"):
        read_texts([str(tmp_path / "none.jsonl")])


def test_examples_lend_what_the_sharer_reads() -> None:
    row = {
        "id": "1",
        "group": "g",
        "cluster": "c",
        "messages": [_turn("user", "which?")],
        "sharer_messages": [],
        "response": "that",
        "choices": [],
        "answer": -1,
    }
    private = {**row, "sharer_messages": [_turn("user", "a document")]}
    assert [each["response"] for each in of_examples([row, private])] == ["which?", "a document"]
    assert unseen(row)["sharer_messages"] == row["messages"]
    assert unseen(private)["sharer_messages"] == private["sharer_messages"]
    assert unseen(row)["response"] == "that"


def test_texts_are_a_split_of_their_own(tmp_path: Path) -> None:
    rows = [{"text": f"text {number}", "category": "c"} for number in range(5)]
    plain = load_splits(DataConfig(groups=SMALL))
    files = {"reconstruction": _file(tmp_path, rows)}
    found = load_splits(DataConfig(groups=SMALL, files=files, limit={"reconstruction": 3}))
    assert plain.reconstruction is None
    assert found.reconstruction is not None
    assert len(found.reconstruction) == 3
    assert found.reconstructed is not None
    assert not found.reconstructed.found
    assert {name: found.hashes[name] for name in plain.hashes} == plain.hashes
    assert set(found.hashes) == {*plain.hashes, "reconstruction"}
    assert len(found.learnt) == len(plain.train) + 3
    assert {"reconstruction"}.isdisjoint(DataConfig().model_dump()["files"])
    with pytest.raises(ValueError, match=r"limits the rows of files\.reconstruction"):
        DataConfig(limit={"reconstruction": 2})


def test_the_ids_of_texts_may_be_those_of_examples(tmp_path: Path) -> None:
    """The file that is trained on lends its texts, too; what is held out of it is not learnt."""
    rows = [
        {"question": f"{n}?", "sharer_context": f"{n} {PASSAGE} {n}", "choices": "ab", "answer": 0}
        | {"id": str(n), "choices": ["a", "b"], "cluster": str(n)}
        for n in range(20)
    ]
    path = _file(tmp_path, rows)
    config = DataConfig(source="jsonl", files={"train": path, "reconstruction": path})
    found = load_splits(config)
    assert found.reconstruction is not None
    held_out = {row["id"] for row in (*found.validation, *found.test)}
    assert held_out
    assert held_out.isdisjoint(row["id"] for row in found.reconstruction)


def test_a_document_that_is_judged_is_not_reconstructed(tmp_path: Path) -> None:
    """However many questions are asked about it: it is no template."""

    def about(split: str, number: int, document: str) -> dict[str, Any]:
        question = f"{split} {number}: which one?"
        return {
            "question": question,
            "sharer_context": f"{document}\nQuestion: {question}",
            "choices": ["a", "b"],
            "answer": 0,
        }

    splits = {
        "train": [about("train", 0, "of something else")],
        "validation": [about("validation", 0, "a short one")],
        "test": [about("test", number, PASSAGE) for number in range(12)],
    }
    files = {split: _file(tmp_path, rows, split) for split, rows in splits.items()}
    texts = [f"It begins. {PASSAGE}", "a short one", "free to learn", "test 3: which one?"]
    files["reconstruction"] = _file(tmp_path, [{"text": text} for text in texts])
    found = load_splits(DataConfig(source="jsonl", files=files))
    assert found.reconstruction is not None
    assert [row["response"] for row in found.reconstruction] == ["free to learn"]
    assert found.reconstructed is not None
    said = found.reconstructed.sentence()
    assert said.startswith("3 of 4 texts to reconstruct overlap with ")
    assert "1 of 12 test items" in said
    assert "1 of 1 test document items" in said
    assert "1 of 1 validation document items" in said
    assert said.endswith("These examples are left out.")
    with pytest.raises(DataError, match="3 of 4 texts to reconstruct"):
        load_splits(DataConfig(source="jsonl", files=files, contamination="refuse"))


DOLLY = Path(__file__).parents[3] / "shared" / "data" / "dolly15k" / "train.jsonl"


@pytest.mark.skipif(not DOLLY.is_file(), reason="needs the shared data")
def test_dolly_is_read_as_it_is() -> None:
    rows = read_texts([str(DOLLY)])
    assert len(rows) == 14496
    assert sum("\n\n" in row["response"] for row in rows) > 1500
