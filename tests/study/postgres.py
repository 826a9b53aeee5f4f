"""A PostgreSQL server of this machine's own binaries, on a socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path


def binaries() -> Path | None:
    """Where ``initdb`` and ``postgres`` are; None if they are not here, or nobody can run them."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    usable = [each for each in folders if (each / "createdb").exists()]
    if not usable or find_spec("psycopg") is None or (os.getuid() == 0 and _user() is None):
        return None
    return usable[-1]


class Server:
    """A server with the databases ``optuna`` and ``mlflow``, which may be killed and go on.

    Args:
        bin: As `binaries` returns it.
    """

    def __init__(self, bin: Path) -> None:
        self._bin = bin
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if (user := _user()) is not None and os.getuid() == 0:
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._as_user("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "me", "-N")
        self.start()
        for name in ("optuna", "mlflow"):
            self.make(name)

    def start(self) -> None:
        """Start it, also after it was killed."""
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        data, log = str(self.folder / "data"), str(self.folder / "log")
        self._as_user("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "start")

    def make(self, database: str) -> None:
        """Make a database."""
        self._as_user("createdb", "-h", str(self.folder), "-U", "me", database)

    @property
    def pid(self) -> int:
        """Process that all its others are children of."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def kill(self) -> None:
        """End all its processes as a machine's loss would: without a word."""
        self._as_user("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")

    def close(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        """Of a database, with a password that nothing may show."""
        return f"postgresql://me:s3cret@/{database}?host={self.folder}"

    def _as_user(self, program: str, *arguments: str) -> None:
        user = _user() if os.getuid() == 0 else None
        subprocess.run(
            [self._bin / program, *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
        )


def _user() -> pwd.struct_passwd | None:
    """Somebody else than root, whom PostgreSQL refuses."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None
