from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy.engine import make_url

from c2c_search.errors import StoreError
from c2c_search.tracking import Tracker
from c2c_search.tracking import mlflow_store
from c2c_search.tracking import open_store
from c2c_search.tracking import relocate


def query(database: Path, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(sql).fetchall()


def finished_run(root: Path) -> str:
    tracker = Tracker.open(root, "demo")
    run = tracker.study("s").trial("trial-000")
    run.text("trial.yaml", "seed: 1\n")
    run.finish("FINISHED")
    return run.run_id


def artifacts_of(root: Path, run_id: str) -> list[str]:
    client = mlflow_store.connect(open_store(root))
    return [file.path for file in client.list_artifacts(run_id)]


def test_a_new_store_is_whole_and_in_wal_mode(template: Path) -> None:
    assert query(template / "mlflow.db", "PRAGMA journal_mode") == [("wal",)]
    assert not list(template.glob("*.partial*"))
    ((location,),) = query(template / "mlflow.db", "SELECT artifact_location FROM experiments")
    assert location == f"{template.as_uri()}/artifacts/0"


def test_an_existing_store_is_not_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "_create", lambda database: pytest.fail("made again"))
    assert open_store(root) == f"sqlite+pysqlite:///{root}/mlflow.db?timeout=60"


def test_the_first_opening_waits_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = []

    def create(database: Path) -> None:
        locked.append(FileLock(database.parent / mlflow_store.LOCK, is_singleton=False))
        with pytest.raises(TimeoutError):
            locked[0].acquire(timeout=0)

    monkeypatch.setattr(mlflow_store, "_create", create)
    open_store(tmp_path / "mlruns")
    assert locked


def test_a_shared_store_is_used_as_it_is(tmp_path: Path) -> None:
    uri = "postgresql+psycopg://me:secret@host/mlflow"
    assert open_store(tmp_path / "mlruns", uri=uri) == uri
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("uri", ["", "foo", "./mlruns", "file:///tmp/mlruns", "/tmp/x", "foo://x"])
def test_mlflow_records_in_a_server_or_a_database(uri: str) -> None:
    with pytest.raises(StoreError, match=re.escape("foo" if uri == "foo://x" else "a server or")):
        mlflow_store.connect(uri)


def test_a_password_is_never_shown() -> None:
    shown = mlflow_store._without_password("postgresql://me:secret@host/mlflow")
    assert shown == "postgresql://host/mlflow"


@pytest.mark.parametrize("name", ["why? #1 it's", "50% ü", "50%3F", "a:b@c/d", "{x} $Y"])
def test_a_url_names_its_file_whatever_the_path_has(tmp_path: Path, name: str) -> None:
    database = tmp_path / name / "mlflow.db"
    url = mlflow_store.sqlite_url(database, timeout=60)
    assert make_url(url).database == str(database)
    assert make_url(url).query == {"timeout": "60"}
    assert mlflow_store._without_password(url) == str(database)


def test_a_store_lies_in_any_folder(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "why? #1 it's" / "50% ü"
    moved.parent.mkdir()
    shutil.move(root, moved)
    run_id = finished_run(moved)
    again = tmp_path / "again?"
    shutil.move(moved, again)
    assert artifacts_of(again, run_id) == ["trial.yaml"]
    assert {path.name for path in tmp_path.iterdir()} == {"why? #1 it's", "again?"}


def test_artifacts_of_an_experiment_lie_under_the_root(root: Path) -> None:
    Tracker.open(root, "Zwölf Länder / quiz")
    location = query(root / "mlflow.db", "SELECT artifact_location FROM experiments")[-1][0]
    assert location == (root / "artifacts" / "Zwölf-Länder-quiz-3dd299fa64").as_uri()


@pytest.mark.parametrize("content", [b"", b"this is not a database at all, and never was" * 99])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(StoreError, match="must be an"):
        open_store(tmp_path)
    assert (tmp_path / "mlflow.db").read_bytes() == content


def test_the_schema_of_another_mlflow_is_refused_with_the_way_out(root: Path) -> None:
    query(root / "mlflow.db", "UPDATE alembic_version SET version_num = 'abcdef123456'")
    with pytest.raises(StoreError, match="another MLflow version") as caught:
        Tracker.open(root, "demo")
    assert "mlflow db upgrade" in caught.value.hint


def test_a_full_disk_is_said_and_leaves_nothing_half_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    import mlflow.store.tracking.sqlalchemy_store as sqlalchemy_store

    class Engine:
        def dispose(self) -> None: ...

    class Store:
        def __init__(self, uri: str, artifacts: str) -> None:
            Path(make_url(uri).database).touch()
            self.engine = Engine()

    monkeypatch.setattr(sqlalchemy_store, "SqlAlchemyStore", Store)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="needs space") as caught:
        open_store(tmp_path / "mlruns")
    assert "Free some space" in caught.value.hint
    assert [file.name for file in (tmp_path / "mlruns").iterdir()] == [mlflow_store.LOCK]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("(sqlite3.OperationalError) database or disk is full\n[SQL: ...]", "needs space"),
        ("(sqlite3.OperationalError) attempt to write a readonly database", "must be writable"),
        ("(sqlite3.DatabaseError) database disk image is malformed", "intact"),
        ("(sqlite3.OperationalError) database is locked", "held by another process"),
        ("no route to host\nTraceback ...", "readable and writable"),
    ],
)
def test_what_mlflow_raises_becomes_a_store_error(message: str, shown: str) -> None:
    from mlflow.exceptions import MlflowException

    with (
        pytest.raises(StoreError, match=shown) as caught,
        mlflow_store.store_errors("here"),
    ):
        raise MlflowException(message)
    assert "Traceback" not in str(caught.value)


def test_our_own_mistakes_are_not_disguised(tracker: Tracker) -> None:
    from mlflow.exceptions import MlflowException

    run = tracker.study("s").trial("t")
    run.summary({"a,b = @": 1.0})
    with pytest.raises(MlflowException):
        run.flush()
    with pytest.raises(ZeroDivisionError), mlflow_store.store_errors("here"):
        _ = 1 / 0


def test_a_run_deleted_while_it_is_written_is_said(tracker: Tracker) -> None:
    run = tracker.study("s").trial("t")
    tracker.client.delete_run(run.run_id)
    run.objective(0.5)
    with pytest.raises(StoreError, match="must not be deleted"):
        run.flush()


def test_a_moved_project_keeps_its_artifacts(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = finished_run(root)
    moved = tmp_path / "elsewhere" / "my runs"
    moved.parent.mkdir()
    shutil.move(root, moved)
    assert artifacts_of(moved, run_id) == ["trial.yaml"]
    assert "was moved from" in capsys.readouterr().err
    assert artifacts_of(moved, run_id) == ["trial.yaml"]
    assert capsys.readouterr().err == ""


def test_a_copy_never_writes_into_the_original(root: Path, tmp_path: Path) -> None:
    finished_run(root)
    before = sorted(root.rglob("*"))
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    run_id = finished_run(copy)
    assert artifacts_of(copy, run_id) == ["trial.yaml"]
    assert sorted(root.rglob("*")) == before


def test_a_copied_database_alone_still_finds_its_artifacts(root: Path, tmp_path: Path) -> None:
    run_id = finished_run(root)
    query(root / "mlflow.db", "PRAGMA wal_checkpoint(TRUNCATE)")
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(root / "mlflow.db", copy)
    assert artifacts_of(copy, run_id) == ["trial.yaml"]


def test_relocating_twice_changes_nothing(root: Path, tmp_path: Path) -> None:
    finished_run(root)
    moved = tmp_path / "moved"
    shutil.move(root, moved)
    assert relocate(moved) > 0
    assert relocate(moved) == 0


def test_a_store_with_several_roots_is_not_guessed_at(root: Path, tmp_path: Path) -> None:
    finished_run(root)
    query(
        root / "mlflow.db",
        "UPDATE experiments SET artifact_location = 'file:///other/artifacts/demo' "
        "WHERE name = 'demo'",
    )
    with pytest.raises(StoreError, match="under one folder"):
        relocate(root)


def test_a_missing_store_is_not_relocated(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="must exist"):
        relocate(tmp_path)
