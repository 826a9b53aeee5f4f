"""docs/architecture.md draws what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
DRAWN = sorted(set(re.findall(r'[\w/]+(?:\.py|/)(?=["`, <])', TEXT)))


def test_there_are_three_pictures() -> None:
    assert TEXT.count("```mermaid") == 3
    assert len(DRAWN) > 40


@pytest.mark.parametrize("path", DRAWN)
def test_every_box_is_there(path: str) -> None:
    assert any((ROOT / folder / path).exists() for folder in ("", "c2c_search")), path
