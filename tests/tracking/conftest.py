"""One store made per session and copied per test: making one runs MLflow's whole migrations."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from c2c_search.tracking import Tracker
from c2c_search.tracking import open_store
from c2c_search.tracking import relocate


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    def unsync(connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", unsync)
    yield
    event.remove(Engine, "connect", unsync)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One place for the whole session: tests/champion opens the same one.
    root = tmp_path_factory.getbasetemp() / "mlruns-template"
    open_store(root)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    root = tmp_path / "mlruns"
    root.mkdir()
    shutil.copy(template / "mlflow.db", root)
    relocate(root)
    return root


@pytest.fixture
def tracker(root: Path) -> Tracker:
    return Tracker.open(root, "demo")
