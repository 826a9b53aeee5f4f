"""What stands beside a space is looked at before a study begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from c2c_search.errors import ConfigError
from c2c_search.study.driver import run_study
from c2c_search.study.surroundings import check_surroundings


def test_everything_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DTYPE", "SILENCE_SECONDS", "FREE_GB", "CACHE_BUDGET"):
        monkeypatch.setenv(f"C2C_SEARCH_{name}", "abc")
    root = tmp_path / "mlruns"
    with pytest.raises(ConfigError) as error:
        run_study(tmp_path / "space.yaml", root=root, tracking_uri="here")
    lines = str(error.value).splitlines()
    assert lines[0] == "5 problems:"
    told = ("DTYPE must", "SILENCE_SECONDS must", "FREE_GB must", "CACHE_BUDGET must", "MLflow re")
    assert all(one in line for one, line in zip(told, lines[1:], strict=True))
    assert not root.exists()


def test_one_problem_is_told_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    check_surroundings("http://127.0.0.1:5000")
    monkeypatch.setenv("C2C_SEARCH_FREE_GB", "-1")
    with pytest.raises(ConfigError, match=r"^C2C_SEARCH_FREE_GB must be a number of gigabytes"):
        check_surroundings()
