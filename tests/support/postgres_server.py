"""A PostgreSQL server of the tests' own: a cluster in a folder, reached over a unix socket in it, ended by its pid."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

BINARIES = Path("/usr/lib/postgresql/15/bin")
SAFE_ENOUGH = ("fsync=off", "listen_addresses=", "max_connections=300")


@dataclass(frozen=True)
class Server:
    folder: Path

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def create(self, database: str, template: str = "template1") -> str:
        """A new database, empty or a copy of another that nobody uses; its URL."""
        self._execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def drop(self, database: str) -> None:
        self._execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()


@contextmanager
def server() -> Iterator[Server]:
    """Made and started in a folder of its own, and gone at the end.

    PostgreSQL refuses to run as root, so it runs as its own user; pytest closes its folders to other users.
    """
    user = pwd.getpwnam("postgres")
    folder = Path(tempfile.mkdtemp(prefix="naos-postgres-", dir="/var/tmp"))
    data = folder / "data"
    os.chown(folder, user.pw_uid, user.pw_gid)
    as_user = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--")
    initialise = (BINARIES / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
    subprocess.run([*as_user, *initialise], check=True, capture_output=True, cwd="/")
    options = " ".join(f"-c {option}" for option in (*SAFE_ENOUGH, f"unix_socket_directories={folder}"))
    control = (*as_user, BINARIES / "pg_ctl", "-D", data, "-l", folder / "log", "-w")
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True, cwd="/")
    try:
        yield Server(folder)
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd="/")
        shutil.rmtree(folder)
