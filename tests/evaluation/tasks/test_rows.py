"""Local files in a hub's columns are read like the hub's own, whatever their format."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from c2c_search.errors import DataError
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.loading import load_task
from tests.evaluation.hub_samples import SAMPLES
from tests.evaluation.hub_samples import write


CHOICE = {"question": "Which?", "choices": ["one", "two", "three"], "answer": 1}


def words(items: tuple[Item, ...]) -> list[str]:
    return [item.messages[-1]["content"] for item in items]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    write(path, *rows)


def _json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows), encoding="utf-8")


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    datasets.Dataset.from_list(rows).to_parquet(path)


@pytest.mark.parametrize("writer", [_jsonl, _json, _parquet])
@pytest.mark.parametrize("name", ["arc_easy", "truthfulqa_mc", "boolq"])
def test_every_format_gives_the_same_items(
    name: str, writer: Callable[[Path, list[dict[str, Any]]], None], tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{writer.__name__[1:]}"
    writer(path, SAMPLES[name])
    loaded = load_task(f"{name}={path}")
    assert len(loaded.items) == len(SAMPLES[name])
    assert (loaded.name, loaded.source, loaded.split) == (name, str(path), "rows")
    assert loaded.exemplars == ()
    same = write(tmp_path / "again" / "rows.jsonl", *SAMPLES[name])
    assert load_task(f"{name}={same}").sha256 == loaded.sha256


@pytest.mark.parametrize("name", ["gpqa", "winogrande", "boolq", "ceval"])
def test_csv_holds_flat_columns(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SAMPLES[name][0])
        writer.writeheader()
        writer.writerows(SAMPLES[name])
    copy = write(tmp_path / "rows.jsonl", *SAMPLES[name])
    assert load_task(f"{name}={path}").items == load_task(f"{name}={copy}").items


def test_the_hub_s_columns_win_over_the_workbench_s_own(tmp_path: Path) -> None:
    own = {"question": "is ice water?", "choices": ["no", "yes"], "answer": 1}
    closed = load_task(f"boolq={write(tmp_path / 'closed.jsonl', own)}")
    opened = load_task(f"boolq={write(tmp_path / 'open.jsonl', SAMPLES['boolq'][0])}")
    assert words(closed.items) == ["is ice water?"]
    assert words(opened.items) == ["Ice is frozen water.\nis ice water?"]


def test_bad_rows_are_named_with_their_lines_all_together(tmp_path: Path) -> None:
    good = SAMPLES["arc_easy"][0]
    unkeyed = {key: value for key, value in good.items() if key != "answerKey"}
    path = write(tmp_path / "rows.jsonl", good, unkeyed, good | {"id": "x", "answerKey": "E"})
    with pytest.raises(DataError, match="2 rows do not fit") as error:
        load_task(f"arc_easy={path}")
    assert f"{path}:2: The column 'answerKey' is missing." in str(error.value)
    assert f"{path}:3: The answer must be one of A, B, C, D, not 'E'." in str(error.value)


def test_ids_given_twice_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", SAMPLES["arc_easy"][0], SAMPLES["arc_easy"][0])
    with pytest.raises(DataError, match=r"rows.jsonl:2: An id must be unique; .*:1 has it too"):
        load_task(f"arc_easy={path}")


def test_another_file_than_jsonl_must_have_the_hub_s_columns(tmp_path: Path) -> None:
    _json(tmp_path / "rows.json", [CHOICE])
    with pytest.raises(DataError, match=r"columns answerKey, choices, question.*\.jsonl"):
        load_task(f"arc_easy={tmp_path / 'rows.json'}")


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("rows.json", "{}", "one list of rows"),
        ("rows.json", "[1]", "must have the columns"),
        ("rows.json", "[", "readable as json"),
        ("rows.parquet", "no parquet", "readable as parquet"),
        ("rows.xlsx", "", "one of .jsonl, .json, .parquet, .csv"),
        ("rows.jsonl", "", "at least one item"),
        ("rows.jsonl", '{"question": "Which?"', "rows.jsonl:1: .*one JSON object"),
    ],
)
def test_files_that_are_no_data_are_told(name: str, text: str, rule: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rule):
        load_task(f"arc_easy={tmp_path / name}")


def test_a_copy_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must exist.*nowhere.*Relative paths start at"):
        load_task(f"arc_easy={tmp_path / 'nowhere'}")
