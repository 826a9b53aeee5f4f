from __future__ import annotations

import io
from datetime import UTC
from datetime import datetime

import pytest
from rich.console import Console

from c2c_search.evaluation.analysis import analyse
from c2c_search.evaluation.comparison import compare
from c2c_search.evaluation.record import EvaluationRecord
from c2c_search.evaluation.record import TaskRecord
from c2c_search.report.evaluation import markdown
from c2c_search.report.evaluation import render
from tests.evaluation.answers import chosen


@pytest.fixture
def record() -> EvaluationRecord:
    results = {
        "receiver": [chosen([True] * 4 + [False] * 8)],
        "sharer": [chosen([False] * 6 + [True] * 6)],
        "c2c": [chosen([True] * 11 + [False])],
        "shut": [chosen([True] * 4 + [False] * 8)],
    }
    task = TaskRecord(
        task="colours",
        reference="a paper",
        source="colours.jsonl",
        split="test",
        sha256="0" * 64,
        items=12,
        clusters=12,
        method="cloze",
        metric="accuracy",
        length_normalised=False,
        subject="c2c",
        level=0.05,
        scores=compare(results, "c2c", level=0.05),
        analysis=analyse(results["receiver"][0], results["sharer"][0], results["c2c"][0]),
        notes=("12 items are few.",),
    )
    return EvaluationRecord(
        subject="demo",
        receiver="path:a",
        sharer="path:b",
        parameters=3_000_000,
        command="c2c-search eval demo",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        versions={"torch": "2"},
        machine="two cores",
        tasks=(task,),
        skipped={"oracle": "no worked examples"},
    )


def test_one_table_with_intervals_and_what_a_reader_must_know(record: EvaluationRecord) -> None:
    file = io.StringIO()
    Console(file=file, width=110).print(render(record))
    drawn = file.getvalue()
    for part in ("colours: 12 items (cloze, whole text, accuracy)", "91.7 [", "+58.3 ["):
        assert part in drawn
    assert "equals the receiver" in drawn
    assert "12 items are few." in drawn
    assert "Oracle was left out: no worked examples" in drawn


def test_the_markdown_has_table_analysis_and_provenance(record: EvaluationRecord) -> None:
    text = markdown(record)
    assert "| **C2C** | **91.7 [" in text
    assert "transfer rate" in text
    assert "`c2c-search eval demo`" in text
    assert "two cores" in text


def test_the_record_survives_json(record: EvaluationRecord) -> None:
    assert EvaluationRecord.model_validate_json(record.model_dump_json()) == record
