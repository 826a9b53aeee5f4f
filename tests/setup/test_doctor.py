from __future__ import annotations

import sqlite3
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from c2c_search.setup import doctor


@pytest.fixture(autouse=True)
def no_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DeepSpeed takes seconds to load, in a process of its own."""
    done = SimpleNamespace(returncode=0, stdout="0.19.8\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    monkeypatch.setenv("C2C_SEARCH_CACHE", str(tmp_path / "cache"))


def _by_name(root: Path) -> dict[str, doctor.Finding]:
    return {each.name: each for each in doctor.diagnose(root).findings}


def test_a_machine_that_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C2C_SEARCH_FREE_GB", "0")
    found = doctor.diagnose(tmp_path / "mlruns")
    assert found.ready
    assert {each.name for each in found.findings} >= {
        *("Python", "packages", "extras", "DeepSpeed", "threads", "memory"),
        *("disk of studies", "disk of caches", "prompt caches", "models"),
        *("Optuna's store", "MLflow's store"),
    }
    assert not (tmp_path / "mlruns").exists()
    assert not (tmp_path / "cache").exists()


def test_too_little_room_and_a_damaged_store_are_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2C_SEARCH_FREE_GB", "1000000")
    (tmp_path / "optuna.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("CREATE TABLE a (b)")
    found = _by_name(tmp_path)
    assert found["disk of studies"].state == found["disk of caches"].state == "fault"
    assert "C2C_SEARCH_FREE_GB" in found["disk of caches"].advice
    assert found["Optuna's store"].state == "fault"
    assert found["MLflow's store"].state == "ok"
    assert not doctor.diagnose(tmp_path).ready


def test_a_package_of_the_wrong_version_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["rich>=999", "nosuchthing>=1"])
    found = _by_name(tmp_path)
    assert found["rich"].state == "fault"
    assert found["rich"].advice == "pip install 'rich>=999'"
    assert found["nosuchthing"].found == "absent, but nosuchthing>=1 is needed"


def test_deepspeed_that_does_not_load_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = SimpleNamespace(returncode=1, stdout="", stderr="Traceback\nImportError: no torch\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert _by_name(tmp_path)["DeepSpeed"].found == "does not load: ImportError: no torch"


def test_a_variable_that_cannot_be_read_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C2C_SEARCH_FREE_GB", "lots")
    assert "must be a number of gigabytes" in _by_name(tmp_path)["disk"].found
