"""The study on real text: files that fit its pipeline, and no document in two splits."""

from __future__ import annotations

import json

import pytest

from c2c_search.data.sources import document_of
from c2c_search.data.sources import read_files
from c2c_search.space.schema import Space


PASSAGE = " ".join(f"word{n}" for n in range(40))


@pytest.fixture(scope="module")
def make(program):
    return program("real_text.make")


@pytest.fixture
def written(make, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make, "PASSAGES", 6)
    dolly = [
        {"instruction": "Which is first?", "context": PASSAGE, "response": "word0"},
        {"instruction": "Summarise it.", "context": PASSAGE.upper(), "response": "Words."},
        {"instruction": "Which is second?", "context": "Too short.", "response": "short"},
        {"instruction": "Tell of the sea.", "context": "", "response": PASSAGE},
        {"instruction": "Name a colour.", "context": "", "response": "Red"},
    ]
    asked = [
        {
            "question": f"Which is word {n % 3} of text {n // 3}?",
            "choices": ["one", "two", "three"],
            "answer": n % 3,
            "sharer_context": f"Text {n // 3}.\nQuestion: Which is word {n % 3} of text {n // 3}?",
        }
        for n in range(60)
    ]
    for name, rows in {"dolly": dolly, "rows": asked[:57], "test": asked[57:]}.items():
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text)
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("dolly", "rows", "test")]
    command = [paths[0], "--rows", paths[1], "--test", paths[2], "--to", str(tmp_path / "to")]
    monkeypatch.setattr("sys.argv", ["make.py", *command])
    make.main()
    capsys.readouterr()
    return tmp_path / "to"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts_are_those_of_which_nothing_is_asked_and_documents_learned_from(written):
    found = [line["text"] for line in lines(written / "texts.jsonl")]
    assert sorted(found[:3]) == sorted([PASSAGE, PASSAGE.upper(), PASSAGE])
    assert len(set(found[3:])) == 17  # nine tenths of 19 documents
    assert all(text.startswith("Text ") for text in found[3:])


def test_short_questions_about_a_passage_are_asked_of_the_receiver_alone(written):
    ((asked),) = lines(written / "asked.jsonl")
    assert asked["prompt"] == "Which is first?"
    assert asked["answer"] == "word0"
    assert asked["sharer_context"] == f"{PASSAGE}\nQuestion: Which is first?"


def test_its_files_fit_its_pipeline_and_share_no_document(written):
    space = Space.load(written / "space.yaml")
    files = space.pipeline.data.files
    rows = read_files({name: getattr(files, name) for name in ("train", "validation", "test")})
    own = [row for row in rows["train"] if "Which is word" in row["messages"][-1]["content"]]
    documents = [
        {document_of(row) for row in each} for each in (own, rows["validation"], rows["test"])
    ]
    assert [len(each) for each in documents] == [17, 2, 1]
    assert len(set.union(*documents)) == 20
    assert len(lines(written / "invented.jsonl")) == 6


def test_a_folder_that_is_there_is_left_alone(written, make):
    with pytest.raises(FileExistsError):
        make.main()
