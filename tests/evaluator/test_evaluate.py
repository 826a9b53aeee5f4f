from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from c2c_search.data.schema import SplitFiles
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluator import answers
from c2c_search.evaluator.evaluate import evaluate
from c2c_search.evaluator.output import EXPERIMENT
from c2c_search.evaluator.request import Request
from c2c_search.report.evaluation import markdown
from c2c_search.report.evaluation import render
from c2c_search.tracking import Tracker
from tests.evaluator.conftest import STUDY
from tests.evaluator.conftest import rows
from tests.evaluator.conftest import write_rows


@pytest.fixture
def ask(trial, trained_root, trained_here, tmp_path: Path):
    """Evaluates the tiny trial: ``ask(tasks=("test",))``."""

    def ask(**options):
        options = {"target": trial.hash(), "root": trained_root, "to": tmp_path / "out", **options}
        return evaluate(Request(**options), console=Console(file=io.StringIO()))

    return ask


def test_every_system_answers_every_task_and_all_is_kept(ask, tmp_path: Path) -> None:
    folder = tmp_path / "colours"
    write_rows(folder / "train.jsonl", rows("exemplar", range(8)))
    write_rows(folder / "test.jsonl", rows("item", range(7)))
    evaluated = ask(tasks=("test", f"arc_easy={folder}"), systems=("all",))
    record = evaluated.record
    own, colours = record.tasks
    assert (own.items, colours.items) == (10, 7)
    assert record.skipped == {}
    names = {scored.system for scored in own.scores}
    assert names >= {"receiver", "no_sharer", "lora", "ridge", "oracle", "routing", "c2c"}
    assert own.score("shut").unequal == 0
    assert own.score("c2c").against is None
    assert 0 <= own.score("lora").against.p_holm <= 1
    assert own.analysis is not None
    assert own.pairing is not None
    assert own.pairing.matched == own.score("c2c").score
    assert own.pairing.deranged == own.score("deranged").score
    assert own.pairing.pairing_gain == own.score("deranged").against.difference
    assert own.pairing.gain == own.score("receiver").against.difference
    assert len(own.pairing.derangements) == 3
    assert own.score("deranged").other is not None
    stored = EvaluationRecord.model_validate_json(
        (evaluated.folder / "evaluation.json").read_text()
    )
    assert stored == record
    assert (evaluated.folder / "evaluation.md").read_text() == markdown(record)
    answers = json.loads((evaluated.folder / "items" / "arc_easy" / "c2c.json").read_text())
    assert len(answers["data"]) == 7
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(render(record))
    assert "C2C" in drawn.getvalue()
    assert "does the message matter?" in drawn.getvalue()
    assert LEGEND in markdown(record)


def test_the_same_request_answers_nothing_again(ask, monkeypatch) -> None:
    first = ask(tasks=("test",)).record

    def refuse(*arguments, **options):
        raise AssertionError("answered again")

    monkeypatch.setattr(answers, "answer_questions", refuse)
    again = ask(tasks=("test",)).record
    assert again.tasks == first.tasks


def test_an_interrupted_evaluation_goes_on_with_the_same_result(
    ask, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(answers, "_CHUNK_ITEMS", 3)
    whole = ask(tasks=("test",), to=tmp_path / "whole").record
    answered = 0
    answer = answers.answer_questions

    def stop(*arguments, **options):
        nonlocal answered
        answered += 1
        if answered == 6:
            raise KeyboardInterrupt
        return answer(*arguments, **options)

    monkeypatch.setattr(answers, "answer_questions", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(tasks=("test",))
    monkeypatch.setattr(answers, "answer_questions", answer)
    assert ask(tasks=("test",)).record.tasks == whole.tasks


def test_a_deranged_sharer_reads_the_same_however_a_task_is_cut(
    ask, monkeypatch, tmp_path
) -> None:
    def scores(folder: str) -> list[float]:
        evaluated = ask(tasks=("test",), systems=("deranged",), to=tmp_path / folder)
        table = json.loads(
            (evaluated.folder / "items" / "jsonl-test" / "deranged.json").read_text()
        )
        column = table["columns"].index("repeats")
        times = [each for row in table["data"] for each in row[column]]
        assert len(times) == 3 * len(table["data"])
        return [score for each in times for score in each["scores"]]

    whole = scores("whole")
    for items in (1, 3):
        monkeypatch.setattr(answers, "_CHUNK_ITEMS", items)
        assert scores(f"by {items}") == pytest.approx(whole, abs=1e-3)


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


def test_timing_needs_a_task_before_anything_is_answered(ask, trial) -> None:
    with pytest.raises(ConfigError, match="Timing needs questions"):
        ask(target=trial.pair.receiver, latency=True)


def test_a_model_alone_is_timed_alone(ask, trial, tmp_path: Path, monkeypatch) -> None:
    timed = {}
    monkeypatch.setattr(
        "c2c_search.evaluator.evaluate.measure",
        lambda model, asked, **options: timed.update(options),
    )
    path = write_rows(tmp_path / "mine.jsonl", rows("item", range(2)))
    ask(target=trial.pair.receiver, tasks=(str(path),), latency=True)
    assert timed["systems"] == ["receiver"]


def test_a_task_that_no_system_can_answer_is_refused(ask, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "mine.jsonl", rows("item", range(3)))
    with pytest.raises(ConfigError, match="must be able to answer mine"):
        ask(tasks=(str(path),), systems=("few_shot", "oracle"))


def test_of_a_single_question_no_sharer_is_deranged(ask) -> None:
    record = ask(tasks=("test",), limit=1).record
    assert record.tasks[0].score("deranged") is None
    assert "no other beside it" in record.skipped["deranged"]


def test_the_run_has_the_answers_of_its_own_evaluation_alone(
    ask, trained_root, tmp_path: Path
) -> None:
    mine = write_rows(tmp_path / "mine.jsonl", rows("item", range(3)))
    ask(tasks=(str(mine),), systems=("receiver",))
    evaluated = ask(tasks=("test",), systems=("receiver",))
    assert (evaluated.folder / "items" / "mine").is_dir()
    tracker = Tracker.open(trained_root, EXPERIMENT)
    newest = tracker.client.search_runs([tracker.experiment_id])[0].info.run_id
    found = tracker.client.list_artifacts(newest, "items")
    assert [folder.path for folder in found] == ["items/jsonl-test"]


def test_a_run_that_could_not_be_recorded_is_not_left_running(
    ask, trained_root, monkeypatch
) -> None:
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("c2c_search.tracking.recorded_run.RecordedRun.note", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(tasks=("test",), systems=("receiver",))
    tracker = Tracker.open(trained_root, EXPERIMENT)
    assert tracker.client.search_runs([tracker.experiment_id])[0].info.status == "FAILED"


def test_a_task_may_have_any_name(ask, tmp_path: Path) -> None:
    folder = tmp_path / "only, train (small)"
    write_rows(folder / "train.jsonl", rows("item", range(6)))
    write_rows(tmp_path / "a, b (c).jsonl", rows("item", range(3)))
    tasks = (f"arc_easy={folder}", str(tmp_path / "a, b (c).jsonl"))
    record = ask(tasks=tasks, systems=("receiver",)).record
    assert [task.task for task in record.tasks] == ["arc_easy", "a, b (c)"]
    assert record.tasks[0].split == "train, held out"


def test_without_its_training_data_a_fuser_is_evaluated_where_that_is_asked_for(
    ask, trial, trained_root, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "mine.jsonl", rows("item", range(3)))
    gone = {"train": ("gone.jsonl",)}
    data = trial.data.model_copy(update={"files": SplitFiles(**gone)})
    folder = tmp_path / "trial"
    shutil.copytree(trained_root / "trials" / STUDY / trial.hash(), folder)
    (folder / "trial.yaml").write_text(trial.model_copy(update={"data": data}).to_yaml())
    with pytest.raises(DataError, match="--contamination report"):
        ask(target=str(folder), tasks=(str(path),))
    record = ask(target=str(folder), tasks=(str(path),), contamination="report").record
    assert any("is not here" in note for note in record.tasks[0].notes)


def test_questions_longer_than_a_model_was_made_for_are_told(ask, trial, tmp_path: Path) -> None:
    config = Path(trial.pair.receiver.removeprefix("path:")) / "config.json"
    most = json.loads(config.read_text())["max_position_embeddings"]
    short, long = rows("item", range(2))
    # A byte-level tokenizer: a letter is a token.
    long["question"] = "x" * (most + 1)
    path = write_rows(tmp_path / "mine.jsonl", [short, long])
    notes = ask(target=trial.pair.receiver, tasks=(str(path),)).record.tasks[0].notes
    assert notes[0].startswith(f"1 of 2 questions have more tokens than the {most}")


def test_another_model_in_the_same_place_answers_anew(ask, trial, tmp_path, monkeypatch) -> None:
    path = write_rows(tmp_path / "mine.jsonl", rows("item", range(3)))
    source = tmp_path / "model"
    shutil.copytree(trial.pair.receiver.removeprefix("path:"), source)
    ask(target=f"path:{source}", tasks=(str(path),))
    shutil.rmtree(source)
    shutil.copytree(trial.pair.sharer.removeprefix("path:"), source)
    answered = []
    answer = answers.answer_questions
    monkeypatch.setattr(
        answers,
        "answer_questions",
        lambda *arguments, **options: answered.append(1) or answer(*arguments, **options),
    )
    ask(target=f"path:{source}", tasks=(str(path),))
    assert answered == [1]
