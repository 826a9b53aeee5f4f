"""What `verify` checks of a champion's folder, and says that it checked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from c2c_search.champion import inspection
from c2c_search.champion.inspection import inspect_champion
from c2c_search.errors import IntegrityError
from c2c_search.inference.sums import check_sums


CHAMPION = Path(__file__).parents[1] / "assets" / "champion_before_the_move" / "champion"


def test_it_says_what_it_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def ask(folder: Path) -> tuple[str, ...]:
        check_sums(folder)
        assert os.path.samefile(folder / "manifest.json", CHAMPION / "manifest.json")
        seen.append(sorted(each.name for each in folder.iterdir()))
        return ("one", "two")

    monkeypatch.setattr(inspection, "verify", ask)
    found = dict(inspect_champion(CHAMPION))
    assert list(found) == ["sums", "schema", "signature", "questions"]
    assert found["signature"] == "none"
    assert found["questions"] == "2 of 2 answered again, to the character"
    # Code of this version's own answers: the folder has none, and it would not be run.
    assert "runtime" in seen[0]
    assert dict(inspect_champion(CHAMPION, ask=False))["questions"] == "not asked"


def test_a_damaged_file_is_named_before_anything_is_asked(tmp_path: Path) -> None:
    copy = shutil.copytree(CHAMPION, tmp_path / "champion")
    (copy / "fuser_config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"fuser_config\.json: expected"):
        next(inspect_champion(copy))
