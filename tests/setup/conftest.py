"""A folder with data of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """Sixty multiple-choice rows, each about another thing."""
    path = tmp_path / "mine.jsonl"
    rows = [
        {
            "question": f"What colour is thing number {n} of the collection?",
            "choices": COLOURS,
            "answer": n * 7 % 4,
        }
        for n in range(60)
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path
