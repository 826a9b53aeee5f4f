from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.exam import sitting
from c2c_search.exam.examine import examine
from c2c_search.exam.request import Request
from c2c_search.report.evaluation import markdown
from c2c_search.report.evaluation import render
from tests.exam.conftest import rows
from tests.exam.conftest import write_rows


@pytest.fixture
def ask(trial, trained_root, tmp_path: Path):
    """Evaluates the tiny trial: ``ask(tasks=("test",))``."""

    def ask(**options):
        options = {"target": trial.hash(), "root": trained_root, "to": tmp_path / "out", **options}
        return examine(Request(**options), console=Console(file=io.StringIO()))

    return ask


def test_every_system_answers_every_task_and_all_is_kept(ask, tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    write_rows(folder / "train.jsonl", rows("exemplar", range(8)))
    write_rows(folder / "test.jsonl", rows("item", range(7)))
    examined = ask(tasks=("test", f"arc_easy={folder}"), systems=("all",))
    record = examined.record
    own, colours = record.tasks
    assert (own.items, colours.items) == (10, 7)
    assert record.skipped == {}
    names = {scored.system for scored in own.scores}
    assert names >= {"receiver", "no_sharer", "lora", "ridge", "oracle", "routing", "c2c"}
    assert own.score("shut").unequal == 0
    assert own.score("c2c").against is None
    assert 0 <= own.score("lora").against.p_holm <= 1
    assert own.analysis is not None
    stored = EvaluationRecord.model_validate_json(
        (examined.folder / "evaluation.json").read_text()
    )
    assert stored == record
    assert (examined.folder / "evaluation.md").read_text() == markdown(record)
    answers = json.loads((examined.folder / "items" / "arc_easy" / "c2c.json").read_text())
    assert len(answers["data"]) == 7
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(render(record))
    assert "C2C" in drawn.getvalue()


def test_the_same_request_answers_nothing_again(ask, monkeypatch) -> None:
    first = ask(tasks=("test",)).record

    def refuse(*arguments, **options):
        raise AssertionError("answered again")

    monkeypatch.setattr(sitting, "answer_questions", refuse)
    again = ask(tasks=("test",)).record
    assert again.tasks == first.tasks


def test_an_interrupted_evaluation_goes_on_with_the_same_result(
    ask, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(sitting, "_CHUNK_ITEMS", 3)
    whole = ask(tasks=("test",), to=tmp_path / "whole").record
    answered = 0
    answer = sitting.answer_questions

    def stop(*arguments, **options):
        nonlocal answered
        answered += 1
        if answered == 6:
            raise KeyboardInterrupt
        return answer(*arguments, **options)

    monkeypatch.setattr(sitting, "answer_questions", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(tasks=("test",))
    monkeypatch.setattr(sitting, "answer_questions", answer)
    assert ask(tasks=("test",)).record.tasks == whole.tasks


def test_items_that_the_fuser_was_trained_on_are_left_out_or_refused(ask, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "seen.jsonl", [*rows("train", range(2)), *rows("new", range(5))])
    task = ask(tasks=(str(path),)).record.tasks[0]
    assert task.items == 5
    assert len(task.contamination.sets[task.task].exact) == 2
    with pytest.raises(DataError):
        ask(tasks=(str(path),), contamination="refuse")
    assert ask(tasks=(str(path),), contamination="report").record.tasks[0].items == 7


def test_models_alone_are_evaluated_without_a_fuser(ask, trial, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", rows("item", range(6)))
    record = ask(target=trial.pair.receiver, tasks=(str(path),)).record
    assert [scored.system for scored in record.tasks[0].scores] == ["receiver"]
    pair = ask(target=trial.pair.receiver, sharer=trial.pair.sharer, tasks=(str(path),)).record
    assert {scored.system for scored in pair.tasks[0].scores} == {"receiver", "sharer", "routing"}


def test_several_seeds_are_trained_and_averaged(ask) -> None:
    record = ask(tasks=("test",), systems=("receiver", "c2c", "no_sharer"), seeds=2).record
    seeds = {scored.system: scored.seeds for scored in record.tasks[0].scores}
    assert seeds == {"receiver": 1, "c2c": 2, "no_sharer": 2}


def test_written_answers_are_graded(ask, tmp_path: Path) -> None:
    content = [{"id": f"w{n}", "prompt": f"say {n}", "answer": str(n)} for n in range(4)]
    path = write_rows(tmp_path / "open.jsonl", content)
    task = ask(tasks=(str(path),), max_new_tokens=3).record.tasks[0]
    assert task.method == "generate"
    assert task.length_normalised is None


def test_a_task_is_needed(ask, trial) -> None:
    with pytest.raises(ConfigError, match="needs a task"):
        ask(target=trial.pair.receiver)
