"""Several drivers of one study: who leads, whose turn it is to ask, and who has died.

PostgreSQL's advisory locks tell: each belongs to a connection, and is free again when its process
dies, however it dies. With a file as its store a study has one driver.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol

from c2c_search.errors import StoreError
from c2c_search.host import process
from c2c_search.host import signals
from c2c_search.host.files import write_text
from c2c_search.study import resume


if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection
    from sqlalchemy import Engine

DRIVER = ".driver"  # file of a study's folder that names the process which leads
DRIVEN_BY = "driver"  # user attribute of a trial
_LOOK_SECONDS = 1.0  # between looks at what others do
_TURN_SECONDS = 0.05  # between looks whether it is one's turn
_LONGEST_TURN_SECONDS = 600.0  # asking takes seconds: whoever takes longer was stopped in it


class Drivers(Protocol):
    """Those who drive a study, as one of them sees it."""

    def lead(self) -> bool:
        """Whether this one does what is done once, references and finale; it stays so."""
        ...

    def asking(self, study: Study) -> AbstractContextManager[None]:
        """Be the only one to ask, after what dead drivers trained is queued again."""
        ...

    def claim(self, trial: Trial) -> None:
        """Say that this driver trains a trial that it has asked for."""
        ...

    def recover(self, study: Study) -> list[int]:
        """Queue again what no living driver trains; this one trains nothing now."""
        ...

    def others(self, study: Study) -> bool:
        """Whether other drivers train; if so, it returns a second later."""
        ...

    def check(self) -> None:
        """Raise `StoreError` if the store has let go of this driver, and another may lead."""
        ...


class _Sole:
    """The only driver there can be: a lock on a file keeps others out."""

    def lead(self) -> bool:
        return True

    def asking(self, study: Study) -> AbstractContextManager[None]:
        return nullcontext()

    def claim(self, trial: Trial) -> None:
        """Nobody else would train it."""

    def recover(self, study: Study) -> list[int]:
        return resume.recover(study)

    def others(self, study: Study) -> bool:
        return False

    def check(self) -> None:
        """Its file's lock lasts as long as its process."""


SOLE: Drivers = _Sole()


class SharedDrivers:
    """Drivers on one PostgreSQL; a context manager, which lets go of all locks.

    Args:
        engine: Of Optuna's store.
        study: Name of the study.
        folder: Of the study; the leader's note is there.
    """

    def __init__(self, engine: Engine, study: str, folder: Path) -> None:
        # Not of the pool: what is given back to it would keep its locks.
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection.detach()
        self._backend = self._ask("SELECT pg_backend_pid()")
        self._study = study
        self._note = folder / DRIVER
        self._name = uuid.uuid4().hex
        self._leads = False
        self._try_lock(self._driver(self._name))
        self._ask("SELECT pg_advisory_lock_shared(:key)", key=_key(_taking_part(study)))

    def __enter__(self) -> SharedDrivers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._leads:
            self._note.unlink(missing_ok=True)
        self._connection.close()

    def lead(self) -> bool:
        """See `Drivers`."""
        if not self._leads and self._try_lock(_leading(self._study)):
            self._leads = True
            write_text(self._note, process.this_process() + "\n")
        return self._leads

    @contextmanager
    def asking(self, study: Study) -> Iterator[None]:
        """See `Drivers`."""
        self.check()
        with self._turn():
            resume.recover(study, lambda trial: self._is_mine(trial) or self._lives(trial))
            yield

    def claim(self, trial: Trial) -> None:
        """See `Drivers`."""
        trial.set_user_attr(DRIVEN_BY, self._name)

    def recover(self, study: Study) -> list[int]:
        """See `Drivers`."""
        with self._turn():
            return resume.recover(
                study, lambda trial: not self._is_mine(trial) and self._lives(trial)
            )

    def others(self, study: Study) -> bool:
        """See `Drivers`."""
        from optuna.trial import TrialState

        with self.asking(study):
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if others := any(not self._is_mine(trial) for trial in running):
            time.sleep(_LOOK_SECONDS)
        return others

    def check(self) -> None:
        """See `Drivers`."""
        if self._ask("SELECT pg_backend_pid()") != self._backend:
            raise self._gone("it was opened anew")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        lock = f"c2c-search/{self._study}/ask"
        until = time.monotonic() + _LONGEST_TURN_SECONDS
        while not self._try_lock(lock):
            signals.check()
            if time.monotonic() > until:
                raise StoreError(
                    "Drivers of a study take turns to ask, and another one keeps its turn.",
                    value=f"for {_LONGEST_TURN_SECONDS:.0f} s",
                    hint="It may be stopped, as by Ctrl-Z: end it and run the same command again.",
                )
            time.sleep(_TURN_SECONDS)
        try:
            yield
        finally:
            self._unlock(lock)

    def _is_mine(self, trial: FrozenTrial) -> bool:
        return trial.user_attrs.get(DRIVEN_BY) == self._name

    def _lives(self, trial: FrozenTrial) -> bool:
        """Whether its driver holds its own lock; one without a driver died before it said so."""
        name = trial.user_attrs.get(DRIVEN_BY)
        if name is None:
            return False
        if not self._try_lock(self._driver(name)):
            return True
        self._unlock(self._driver(name))
        return False

    def _driver(self, name: str) -> str:
        return f"c2c-search/{self._study}/driver/{name}"

    def _try_lock(self, name: str) -> bool:
        return bool(self._ask("SELECT pg_try_advisory_lock(:key)", key=_key(name)))

    def _unlock(self, name: str) -> None:
        self._ask("SELECT pg_advisory_unlock(:key)", key=_key(name))

    def _ask(self, query: str, **values: int) -> object:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self._connection.execute(text(query), values).scalar()
        except SQLAlchemyError as error:
            raise self._gone(str(error).strip().split("\n")[0]) from error

    def _gone(self, reason: str) -> StoreError:
        return StoreError(
            "The connection to PostgreSQL that holds a driver's locks must last.",
            value=reason,
            hint="Run the same command again; it goes on where it was.",
        )


@contextmanager
def deciding(engine: Engine) -> Iterator[None]:
    """Be the only process on a PostgreSQL that decides which version of a study is opened.

    Raises:
        SQLAlchemyError: The database does not answer.
    """
    from sqlalchemy import text

    key = {"key": _key("c2c-search/versions")}
    with engine.connect() as connection:
        # Of the transaction: it ends with the connection, however the process dies.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
        yield


def living_drivers(engine: Engine, study: str) -> tuple[bool, int]:
    """Whether a process leads a study on PostgreSQL, and how many take part in it now.

    Raises:
        SQLAlchemyError: The database does not answer.
    """
    with engine.connect() as connection:
        leading, taking_part = (
            _holders(connection, name) for name in (_leading(study), _taking_part(study))
        )
    return leading > 0, taking_part


def _holders(connection: Connection, name: str) -> int:
    """How many hold an advisory lock; whoever only looks takes none."""
    from sqlalchemy import text

    query = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_locks.database = pg_database.oid "
        "WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
        "AND datname = current_database() "
        "AND classid::bigint = :high AND objid::bigint = :low"
    )
    key = _key(name) % 2**64
    values = {"high": key >> 32, "low": key % 2**32}
    return int(connection.execute(text(query), values).scalar() or 0)


def _leading(study: str) -> str:
    return f"c2c-search/{study}"


def _taking_part(study: str) -> str:
    return f"c2c-search/{study}/drivers"


def _key(name: str) -> int:
    """Of an advisory lock: 64 bits of the name's sum."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
