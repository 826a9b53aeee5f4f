"""Optuna's store under the root, and who may drive a study in it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from filelock import FileLock
from filelock import Timeout

from c2c_search.config.trial import canonical_hash
from c2c_search.errors import C2CError
from c2c_search.errors import StoreError
from c2c_search.host import process
from c2c_search.host.files import write_text
from c2c_search.host.urls import without_password
from c2c_search.space.objectives import direction
from c2c_search.study.drivers import DRIVER
from c2c_search.study.drivers import SOLE
from c2c_search.study.drivers import Drivers
from c2c_search.study.drivers import SharedDrivers
from c2c_search.study.drivers import deciding
from c2c_search.study.layout import StudyFiles
from c2c_search.tracking.mlflow_store import sqlite_url
from c2c_search.tracking.mlflow_store import with_driver


if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy import Engine

DATABASE = "optuna.db"
URL_VARIABLE = "C2C_SEARCH_OPTUNA_URL"
BUSY_SECONDS = 60

SPACE = "space"  # user attributes of the study
SPACE_HASH = "space_hash"
TRIALS = "trials"  # in all, as its last start was told
BOUNDS = "bounds"  # of measures, as its last start was told
BUDGETS = "budgets"  # beside its trials, by name, as its last start was told

_EMPTY = "{}"


def open_storage(root: Path, url: str | None = None, *, make: bool = True) -> RDBStorage:
    """Open ``ROOT/optuna.db``, or the database that ``url`` or C2C_SEARCH_OPTUNA_URL names.

    SQLite runs with a write-ahead log, and every transaction takes the write lock at its start:
    with Optuna's own transactions two processes can claim one waiting trial.

    Args:
        root: Folder of all stores.
        url: Of the database, in place of the file.
        make: Whether to make what is missing, the root too.

    Raises:
        StoreError: The store cannot be opened, or is not there and not to be made.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = with_driver(url or os.environ.get(URL_VARIABLE) or "") or sqlite_url(
        root.resolve() / DATABASE
    )
    local = url.startswith("sqlite")
    engine: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 2}
    if local:
        engine = {"connect_args": {"timeout": BUSY_SECONDS}}
    try:
        if make:
            root.mkdir(parents=True, exist_ok=True)
        elif not _has_studies(url):
            raise StoreError(
                "There must be studies in the store.",
                value=without_password(url),
                hint="Name what `c2c-search study` was given: its --storage, or its --root.",
            )
        # Two processes that make the tables at once would stumble over each other.
        with (
            FileLock(root / ".optuna.lock") if make else nullcontext(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(url, engine_kwargs=engine)
        if local:
            _write_immediately(storage.engine)
    except (SQLAlchemyError, OSError, ImportError, RuntimeError) as error:
        raise StoreError(
            f"Optuna's store must be readable and writable: {without_password(url)}.",
            value=without_password(str(error).strip().split("\n")[0]),
            hint="PostgreSQL needs its driver: pip install 'c2c-search[postgres]'."
            if isinstance(error, ImportError)
            else "",
        ) from error
    return storage


def _has_studies(url: str) -> bool:
    """Whether a database has Optuna's tables; asking makes no file."""
    from sqlalchemy import create_engine
    from sqlalchemy import inspect
    from sqlalchemy.engine import make_url

    file = make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).is_file():
        return False
    engine = create_engine(url)
    try:
        return inspect(engine).has_table("studies")
    finally:
        engine.dispose()


def open_study(storage: RDBStorage, name: str, space: Mapping[str, Any]) -> optuna.Study:
    """Open a study, or make it and bind it to its space.

    Args:
        storage: As `open_storage` returns it.
        name: The study's name.
        space: Identity of the space, which differs as soon as trials would not compare; its hash
            says which version of a study is its own (`versions.version_of`), and it is kept so
            that a difference can be shown. What was bound to another one has no trials.
    """
    import optuna

    directions = [direction(each) for each in space.get("objectives", ("accuracy",))]

    def opened() -> optuna.Study:
        return optuna.create_study(
            study_name=name, storage=storage, directions=directions, load_if_exists=True
        )

    study = opened()
    known = [each.name.lower() for each in study.directions]
    if known != directions and not study.get_trials(deepcopy=False):
        optuna.delete_study(study_name=name, storage=storage)
        study = opened()
    if study.user_attrs.get(SPACE_HASH) != (space_hash := canonical_hash(space)):
        study.set_user_attr(SPACE, json.dumps(space))
        study.set_user_attr(SPACE_HASH, space_hash)
    return study


@contextmanager
def one_at_a_time(root: Path, storage: RDBStorage) -> Iterator[None]:
    """Be the only process that decides which version of a study its space is.

    Args:
        root: Folder of all stores; where they are files, its own lock tells.
        storage: As `open_storage` returns it.
    """
    if is_shared(storage):
        with deciding(storage.engine):
            yield
        return
    with FileLock(root / ".optuna.lock"):
        yield


@contextmanager
def sole_driver(root: Path, study: str, storage: RDBStorage) -> Iterator[None]:
    """Hold a study, so that no second process drives it.

    As long as it is held, a trial in state running without this process running it is a remnant.
    The kernel, or PostgreSQL, lets go of it when the process dies, however it dies.

    Raises:
        StoreError: Another process drives the study; the message says which one.
    """
    if is_shared(storage):
        with shared_drivers(root, study, storage) as drivers:
            if not drivers.lead():
                raise _busy(study, None)
            yield
        return
    note = root / "trials" / study / DRIVER
    with _file_lock(note, study):
        write_text(note, process.this_process() + "\n")
        try:
            yield
        finally:
            note.unlink(missing_ok=True)


@contextmanager
def open_drivers(root: Path, study: str, storage: RDBStorage) -> Iterator[Drivers]:
    """Be a driver of a study: one of several on PostgreSQL, else the only one.

    Raises:
        StoreError: There can be one only, and another process drives the study; or its import was
            cut short.
    """
    if StudyFiles(root, study).importing.exists():
        raise StoreError(
            "A study is gone on with when all of it is there; its import was cut short.",
            value=study,
            hint="Repeat `c2c-search study import`, or remove what is there with `c2c-search "
            "study rm`.",
        )
    if is_shared(storage):
        with shared_drivers(root, study, storage) as drivers:
            yield drivers
        return
    with sole_driver(root, study, storage):
        yield SOLE


def database_of(study: optuna.Study) -> RDBStorage:
    """The store that a study was opened in, behind what Optuna remembers of it."""
    kept: Any = study._storage
    behind: RDBStorage = getattr(kept, "_backend", kept)
    return behind


def set_attributes(trial: optuna.Trial, values: Mapping[str, Any]) -> None:
    """Set user attributes of a trial that runs, one after the other.

    Args:
        trial: The trial.
        values: By name, as JSON can hold them.
    """
    for name, value in values.items():
        trial.set_user_attr(name, value)


def is_shared(storage: RDBStorage) -> bool:
    """Whether several drivers may share the store."""
    return storage.engine.dialect.name == "postgresql"


def shared_drivers(root: Path, study: str, storage: RDBStorage) -> SharedDrivers:
    """This process among the drivers of a study on PostgreSQL."""
    return SharedDrivers(storage.engine, study, root / "trials" / study)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for every value that two nested mappings do not share, by dotted name."""
    old, new = _flat(before), _flat(after)
    names = sorted(old.keys() | new.keys())
    lines = []
    for name in names:
        if _EMPTY in (old.get(name), new.get(name)) and _has_parts(name, names):
            # What it now has, or no longer has, is named instead.
            continue
        if name not in new:
            lines.append(f"{name}: was {old[name]}, is gone")
        elif name not in old:
            lines.append(f"{name}: is new, {new[name]}")
        elif old[name] != new[name]:
            lines.append(f"{name}: was {old[name]}, is {new[name]}")
    return lines


def _has_parts(name: str, names: list[str]) -> bool:
    return any(other.startswith(f"{name}.") for other in names)


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        parts = (
            _flat(inner, f"{prefix}.{name}" if prefix else name) for name, inner in value.items()
        )
        return {name: text for part in parts for name, text in part.items()}
    return {prefix: json.dumps(value)}


def _write_immediately(engine: Engine) -> None:
    from sqlalchemy import event

    def on_connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # We emit BEGIN ourselves.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()


@contextmanager
def _file_lock(note: Path, study: str) -> Iterator[None]:
    note.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(note.with_name(f"{DRIVER}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _busy(study, note.read_text().strip() if note.exists() else None) from None
    with lock:
        yield


def _busy(study: str, process: str | None) -> C2CError:
    host, _, pid, *_ = [*(process or "").split("/"), "", "", ""]
    who = f"process {pid} on {host}" if pid else "another process"
    return StoreError(
        f"A study has one driver at a time; {who} drives {study!r} now.",
        hint="Wait until it is done, or stop it with Ctrl-C and run the same command again.",
    )
