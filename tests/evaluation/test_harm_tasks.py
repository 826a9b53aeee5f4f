"""Tasks of ``champion.harmless_on`` are known, chosen among options and read by both models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.harm_tasks import check_harm_task
from c2c_search.evaluation.harm_tasks import choosing
from c2c_search.evaluation.harm_tasks import load_harm_task
from c2c_search.evaluation.harm_tasks import task_name


def copy(folder: Path, **more: str) -> str:
    rows = [
        {"id": f"q{n}", "question": f"which {n}?", "choices": ["a", "b"], "answer": n % 2, **more}
        for n in range(6)
    ]
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"arc_easy={folder}"


def test_a_local_copy_is_read_up_to_the_limit(tmp_path: Path) -> None:
    spec = copy(tmp_path)
    loaded = load_harm_task(spec, limit=4)
    assert (loaded.name, len(loaded.items)) == ("arc_easy", 4)
    assert task_name(spec) == task_name("arc_easy") == "arc_easy"
    assert choosing("arc_easy") == "cloze"
    assert choosing("mmlu_redux") == "letter"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("arc_easi", "must be known"),
        ("gsm8k", "answered by choosing"),
        ("qasc", "both models read"),
    ],
)
def test_a_name_is_checked_without_the_hub(spec: str, message: str) -> None:
    check_harm_task("arc_easy", limit=10)
    with pytest.raises(ConfigError, match=message):
        check_harm_task(spec, limit=10)


def test_what_is_wrong_with_a_copy_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must exist"):
        check_harm_task(f"arc_easy={tmp_path / 'nowhere'}", limit=10)
    with pytest.raises(ConfigError, match="both models read"):
        check_harm_task(copy(tmp_path, sharer_context="what only it has read"), limit=10)
