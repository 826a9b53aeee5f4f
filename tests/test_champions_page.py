"""docs/champions.md: every block of it is run, on a champion of tiny models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c2c_search import C2CModel
from c2c_search.models.cache_dir import CACHE_VARIABLE


TINY = Path(__file__).parent / "assets" / "champion_before_the_move"
PAGE = (Path(__file__).parents[1] / "docs" / "champions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TINY)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    session: dict[str, object] = {}
    assert len(BLOCKS) == 9
    for block in BLOCKS:
        exec(compile(block, "champions.md", "exec"), session)
    assert isinstance(session["model"], C2CModel)
    assert (session["ids"] == session["same"]).all()  # type: ignore[attr-defined]
    assert capsys.readouterr().out.strip() == session["model"].generate(
        "Where is Timbuktu?", max_new_tokens=16
    )
