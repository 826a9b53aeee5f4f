"""Everyday questions: two sets that share no row, and nats per token as the model scores."""

from __future__ import annotations

import json

import numpy
import pytest
import torch

from c2c_search.config.pipeline import load_pipeline
from c2c_search.data.private_quiz import private_rows
from c2c_search.data.sources import read_files
from c2c_search.evaluation.scoring import receiver_alone
from c2c_search.inference.model import C2CModel


@pytest.fixture(scope="module")
def everyday(program):
    return program("everyday")


def test_rows_are_picked_by_their_questions_and_shared_by_no_set(everyday, tmp_path, monkeypatch):
    monkeypatch.setattr(everyday, "GUARDED", 3)
    monkeypatch.setattr(everyday, "ASKED", 2)
    rows = [
        {"instruction": f"Question {n}?", "context": "", "response": f"A long enough answer {n}."}
        for n in range(8)
    ]
    rows += [rows[0], rows[1] | {"instruction": "x" * 220}, rows[2] | {"response": "Short."}]
    found = []
    for order in (rows, rows[::-1]):
        source = tmp_path / "dolly.jsonl"
        source.write_text("".join(f"{json.dumps(row)}\n" for row in order))
        everyday.pick([str(source)], tmp_path / "guard.jsonl", tmp_path / "everyday.jsonl")
        found.append([(tmp_path / name).read_text() for name in ("guard.jsonl", "everyday.jsonl")])
    assert found[0] == found[1]
    guard, asked = (set(text.splitlines()) for text in found[0])
    assert (len(guard), len(asked), len(guard & asked)) == (3, 2, 0)
    read = read_files({"guard": [str(tmp_path / "guard.jsonl")]})["guard"]
    assert all(row["response"].startswith("A long enough answer") for row in read)


def test_sharers_are_misled_by_passages_that_have_nothing_to_do_with_it(everyday, tmp_path):
    rows = [
        {"question": "Two and two?", "choices": ["3", "4"], "answer": 1},
        {
            "messages": [
                {"role": "user", "content": "Name a day."},
                {"role": "assistant", "content": "May"},
            ]
        },
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    pipeline = everyday.parse(["mislead", "rows.jsonl"]).pipeline
    everyday.mislead(tmp_path / "rows.jsonl", pipeline, tmp_path / "misled.jsonl")
    quiz = private_rows(load_pipeline(pipeline).data.private_quiz, "test")
    read = read_files({"test": [str(tmp_path / "misled.jsonl")]})["test"]
    for row, invented, question in zip(read, quiz, ["Two and two?", "Name a day."], strict=False):
        (said,) = row["sharer_messages"]
        document = said["content"].removesuffix(f"\nQuestion: {question}")
        assert invented["sharer_messages"][0]["content"].startswith(f"{document}\nQuestion: ")


def test_nats_are_those_of_the_whole_answer(everyday, tiny_model, tmp_path):
    loaded = tiny_model("llama", seed=1)
    model = C2CModel(loaded, loaded, None, cache_dtype=torch.float32)
    path = tmp_path / "rows.jsonl"
    row = {"messages": [{"role": "user", "content": "the cat"}]}
    said = {"role": "assistant", "content": "sat on the mat"}
    path.write_text(json.dumps({"messages": [*row["messages"], said]}) + "\n")
    rows = read_files({"test": [str(path)]})["test"]
    prompts = model.prompts([each["messages"] for each in rows])
    nats, tokens = everyday.nats(receiver_alone(model), prompts, rows)
    ((scores, lengths),) = model.score(model.batch(prompts), [["sat on the mat"]])
    assert nats[0] == pytest.approx(-float(scores[0]))
    assert tokens[0] == lengths[0]


def test_the_difference_is_told_with_its_interval(everyday):
    alone = numpy.array([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]])
    heard = numpy.array([[2.2, 4.4, 6.6], [1.0, 2.0, 3.0]])
    told = everyday.in_words(alone, heard + numpy.array([[0.001, 0, 0.0], [0, 0, 0]]))
    assert "receiver alone 2.000, C2C 2.200 nats per token: +10.0%" in told
