"""The local MLflow store, made once, opened by many, moved with its project.

Layout: ``ROOT/mlflow.db`` (SQLite, WAL) and ``ROOT/artifacts/EXPERIMENT``. A shared store (an
MLflow server or PostgreSQL) is named by its URI and used as it is.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import cast
from urllib.parse import unquote
from urllib.parse import urlparse

from filelock import FileLock

from c2c_search.errors import StoreError
from c2c_search.host.files import is_full
from c2c_search.host.files import replacing
from c2c_search.host.home import expanded
from c2c_search.host.names import fit
from c2c_search.tracking import environment


if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "artifacts"
LOCK = ".mlflow.lock"
BUSY_SECONDS = 60

# A scheme of MLflow's or of a plug-in's; folders are what it records in no more.
_URI = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://.|databricks$")
_DELETED = "must be in the 'active' state"

# Every column in which MLflow keeps an absolute artifact location.
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


def with_driver(url: str) -> str:
    """A PostgreSQL URL that names the driver that we install, unless it names one."""
    scheme, colon, rest = url.partition("://")
    return f"postgresql+psycopg{colon}{rest}" if scheme in ("postgres", "postgresql") else url


def is_database(uri: str) -> bool:
    """Whether a tracking URI is of a database, which keeps no artifacts."""
    scheme = uri.partition("://")[0].partition("+")[0]
    return scheme in ("postgres", "postgresql", "mysql", "mssql", "sqlite")


def open_store(root: Path, *, uri: str | None = None) -> str:
    """Open the store under ``root``, making it first if there is none.

    The first opening by several processes at once would corrupt the file (every one of them
    would run the migrations), so it is made under a lock, beside its place, and renamed. A store
    that was moved with its project is pointed at its new place, with a message.

    Args:
        root: Folder of the local store, e.g. ``mlruns``.
        uri: Tracking URI of a shared store; returned as it is, nothing local is made.

    Returns:
        The tracking URI.

    Raises:
        StoreError: The store cannot be made, read or written, or is not MLflow's.
    """
    if uri is not None:
        return with_driver(uri)
    root = expanded(root).resolve()
    database = root / DATABASE
    with store_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / LOCK):
            if not database.exists():
                _create(database)
            else:
                _check(database)
                if (old := _moved_from(root)) is not None:
                    _say_relocated(old, root, _rewrite(root, old))
    return local_uri(root)


def check_uri(uri: str | None) -> None:
    """Refuse an address that MLflow could not record at; None is the store under the root.

    Raises:
        StoreError: It is neither a server's nor a database's.
    """
    if uri is not None and not _URI.match(uri):
        raise StoreError(
            "MLflow records in a server or in a database.",
            value=_without_password(uri),
            hint="For example http://127.0.0.1:5000 or sqlite:///mlflow.db.",
        )


def connect(uri: str) -> MlflowClient:
    """A client bound to one store, tracking and registry alike; no global state is touched.

    What the store raises in any of its calls comes as a `StoreError`.

    Args:
        uri: Tracking URI, as `open_store` returns it.

    Raises:
        StoreError: The store cannot be opened.
    """
    environment.prepare()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    where = _without_password(uri)
    check_uri(uri)
    try:
        with store_errors(where):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:  # of a scheme that neither it nor a plug-in knows
        raise _store_error(where, error) from error
    return cast(MlflowClient, _Guarded(client, where))


class _Guarded:
    def __init__(self, client: MlflowClient, where: str) -> None:
        self._client = client
        self._where = where

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return store_errors(self._where)(value) if callable(value) else value


def _without_password(uri: str) -> str:
    if uri.startswith("sqlite"):
        from sqlalchemy.engine import make_url

        return make_url(uri).database or uri
    return re.sub(r"(?<=://)[^/@]*@", "", uri).partition("?")[0]


def local_uri(root: Path) -> str:
    """Tracking URI of the local store under ``root``, whether it exists or not."""
    return sqlite_url(expanded(root).resolve() / DATABASE, timeout=BUSY_SECONDS)


def sqlite_url(database: Path, **options: int) -> str:
    """URL of an SQLite file for SQLAlchemy, whatever characters its path has.

    Args:
        database: The file, absolute.
        options: Of the connection, e.g. ``timeout`` in seconds.
    """
    from sqlalchemy.engine import URL

    query = {name: str(value) for name, value in options.items()}
    # With its driver: of what follows a plain sqlite:/// MLflow makes a folder, quoted as it is.
    url = URL.create("sqlite+pysqlite", database=str(database), query=query)
    return url.render_as_string()


def artifact_location(root: Path, experiment: str) -> str:
    """``file:`` URI of the folder that keeps an experiment's artifacts."""
    return (expanded(root).resolve() / ARTIFACTS / fit(experiment)).as_uri()


def relocate(root: Path) -> int:
    """Point every artifact location of a moved or copied store at ``root``.

    Args:
        root: The folder in which ``mlflow.db`` lies now.

    Returns:
        Number of rows changed; 0 when nothing had to move.

    Raises:
        StoreError: There is no store, it cannot be written, or its rows point at several roots.
    """
    root = expanded(root).resolve()
    with store_errors(root):
        _check(root / DATABASE)
        with FileLock(root / LOCK):
            roots = _roots(root)
            if roots <= {root}:
                return 0
            if len(roots) > 1:
                raise StoreError(
                    "Only a store whose artifacts lie under one folder can be relocated.",
                    value=sorted(map(str, roots)),
                )
            return _rewrite(root, roots.pop())


@contextmanager
def store_errors(where: Path | str) -> Iterator[None]:
    """Turn what SQLite, MLflow and the disk raise into a `StoreError`; works as a decorator too.

    A rejected argument is our mistake, not the user's, and passes unchanged.

    Args:
        where: The store, named in the message.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _store_error(where, error) from error
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        known = isinstance(error, MlflowException | SQLAlchemyError)
        ours = getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"
        if not known or (ours and _DELETED not in str(error)):
            raise
        raise _store_error(where, error) from error


def _store_error(where: Path | str, error: Exception) -> StoreError:
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    if is_full(error):
        return StoreError(
            f"The tracking store {where} needs space on its disk, and there is none left.",
            hint="Free some space and run the same command again; it goes on where it was.",
        )
    if "out-of-date database schema" in text:
        import mlflow

        return StoreError(
            f"The tracking store {where} must have the schema of the installed MLflow, "
            f"{mlflow.__version__}; another MLflow version wrote it.",
            hint="Install the version that wrote it; or, if that one was older, back the store up "
            "and run `mlflow db upgrade sqlite:///PATH`.",
        )
    if isinstance(error, PermissionError) or "readonly database" in text:
        return StoreError(f"The tracking store {where} must be writable.", value=first)
    if "not a database" in text or "malformed" in text:
        return StoreError(
            f"The tracking store {where} must be an intact SQLite file.",
            value=first,
            hint="Restore it from a backup, or move it away to start a new one.",
        )
    if _DELETED in text or getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
        return StoreError(
            f"What is being written to the tracking store {where} must not be deleted meanwhile.",
            value=first,
            hint="Run the same command again; it makes anew what is missing.",
        )
    if "database is locked" in text:
        return StoreError(
            f"The tracking store {where} was held by another process for {BUSY_SECONDS} seconds.",
            hint="Run the same command again when that process is done.",
        )
    return StoreError(f"The tracking store {where} must be readable and writable.", value=first)


def _create(database: Path) -> None:
    environment.prepare()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with replacing(database) as partial:
        with _unsynced(partial):
            store = SqlAlchemyStore(sqlite_url(partial), (database.parent / ARTIFACTS).as_uri())
            store.engine.dispose()
        with closing(sqlite3.connect(partial)) as connection:
            # Persists in the file; writes cost a third of the default journal's.
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def _unsynced(database: Path) -> Iterator[None]:
    """Let SQLAlchemy write one file without waiting for the disk.

    MLflow's migrations are hundreds of small transactions, each of which would wait, in all up to
    minutes on a busy disk; the file is worth nothing before the last one, and is synced then.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def unsync(connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            names = {name for _, _, name in connection.execute("PRAGMA database_list")}
            if str(database) in names:
                connection.execute("PRAGMA synchronous=OFF")
                connection.execute("PRAGMA journal_mode=MEMORY")

    event.listen(Engine, "connect", unsync)
    try:
        yield
    finally:
        event.remove(Engine, "connect", unsync)


def _check(database: Path) -> None:
    """Refuse a file that is not MLflow's before MLflow would write its tables into it."""
    if not database.is_file():
        raise StoreError(
            "A tracking store must exist.",
            value=str(database),
            hint="`c2c-search study` makes it.",
        )
    with _connect(database) as connection:
        tables = {
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        }
    if not {"experiments", "runs", "alembic_version"} <= tables:
        raise StoreError(
            "The tracking store must be an MLflow database.",
            value=str(database),
            hint="Move the file away, and a new store is made.",
        )


@contextmanager
def _connect(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection, connection:
        yield connection


def _roots(root: Path) -> set[Path]:
    """The folders in which experiments of this store expect ``artifacts/``."""
    with _connect(root / DATABASE) as connection:
        rows = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    roots = set()
    for (location,) in rows:
        path = _local_path(location or "")
        if path is not None and path.parent.name == ARTIFACTS:
            roots.add(path.parent.parent)
    return roots


def _local_path(location: str) -> Path | None:
    parsed = urlparse(location)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(location) if not parsed.scheme and location else None


def _moved_from(root: Path) -> Path | None:
    """The one folder that this store was made in, if it is not there any more.

    A copy (the old folder stands, and ``root`` has artifacts of its own) counts as moved: the
    copy must never write into the original.
    """
    roots = _roots(root)
    if len(roots) != 1 or root in roots:
        return None
    old = roots.pop()
    if not old.exists():
        return old
    copied = (root / ARTIFACTS).is_dir() and not old.samefile(root)
    return old if copied else None


def _rewrite(root: Path, old: Path) -> int:
    changed = 0
    with _connect(root / DATABASE) as connection:
        for table, column in _LOCATIONS:
            for prefix, new in ((old.as_uri(), root.as_uri()), (str(old), str(root))):
                cursor = connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (f"{new}/", len(prefix) + 2, len(prefix) + 1, f"{prefix}/"),
                )
                changed += cursor.rowcount
    return changed


def _say_relocated(old: Path, new: Path, rows: int) -> None:
    from c2c_search.host.terminal import Console

    Console(stderr=True).print(
        f"The tracking store was moved from {old} to {new}; {rows} artifact locations follow.",
        highlight=False,
    )
