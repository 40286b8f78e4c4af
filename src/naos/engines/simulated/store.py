"""The simulated world's state: one SQLite file outside the process, so that it outlives a controller that was killed.

Several processes may have it open; every call of a port is one transaction that holds the writer's lock.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "world.db"
BUSY_SECONDS = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS engines (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, powered INTEGER NOT NULL DEFAULT 1, reachable INTEGER NOT NULL DEFAULT 1,
    memory INTEGER NOT NULL DEFAULT 0, cpus INTEGER NOT NULL DEFAULT 0, address TEXT NOT NULL DEFAULT '', detached INTEGER NOT NULL DEFAULT 0,
    boots INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS luns (
    id TEXT PRIMARY KEY, array TEXT NOT NULL, address TEXT NOT NULL, capacity INTEGER NOT NULL, iops INTEGER, bandwidth INTEGER,
    port INTEGER NOT NULL, daemon INTEGER NOT NULL DEFAULT 0, ballast INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS aside (lun TEXT NOT NULL, holder TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (lun, holder));
CREATE TABLE IF NOT EXISTS templates (
    lun TEXT NOT NULL, id TEXT NOT NULL, size INTEGER NOT NULL, allocated INTEGER NOT NULL, PRIMARY KEY (lun, id)
);
CREATE TABLE IF NOT EXISTS disks (
    id TEXT NOT NULL, lun TEXT NOT NULL, size INTEGER NOT NULL, allocated INTEGER NOT NULL, reserved INTEGER NOT NULL,
    backing TEXT, flattened INTEGER, PRIMARY KEY (lun, id)
);
CREATE TABLE IF NOT EXISTS copies (
    lun TEXT NOT NULL, disk TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL,
    PRIMARY KEY (lun, disk)
);
CREATE TABLE IF NOT EXISTS mirrors (
    blade TEXT NOT NULL, domain TEXT NOT NULL, disk TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (blade, domain, disk)
);
CREATE TABLE IF NOT EXISTS snapshots (
    id TEXT NOT NULL, disk TEXT NOT NULL, size INTEGER NOT NULL, allocated INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (disk, id)
);
CREATE TABLE IF NOT EXISTS silent_agents (domain TEXT PRIMARY KEY, obeys INTEGER NOT NULL, stuck INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS scratches (disk TEXT PRIMARY KEY, lun TEXT NOT NULL, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS exports (
    disk TEXT NOT NULL, lun TEXT NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (lun, disk)
);
CREATE TABLE IF NOT EXISTS domains (
    blade TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, xml TEXT NOT NULL, live TEXT, memory INTEGER NOT NULL DEFAULT 0,
    console TEXT NOT NULL DEFAULT '', moving INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (blade, id)
);
CREATE TABLE IF NOT EXISTS attachments (
    blade TEXT NOT NULL, domain TEXT NOT NULL, disk TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, name TEXT NOT NULL,
    write_operations INTEGER NOT NULL DEFAULT 0, write_bytes INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (blade, domain, disk)
);
CREATE INDEX IF NOT EXISTS attachments_of_disk ON attachments (disk);
CREATE TABLE IF NOT EXISTS ports (
    blade TEXT NOT NULL, domain TEXT NOT NULL, nic TEXT NOT NULL, mac TEXT NOT NULL, bridge TEXT NOT NULL,
    connected INTEGER NOT NULL, PRIMARY KEY (blade, domain, nic)
);
CREATE INDEX IF NOT EXISTS ports_of_bridge ON ports (bridge);
CREATE TABLE IF NOT EXISTS vlans (blade TEXT NOT NULL, tag INTEGER NOT NULL, peers TEXT NOT NULL, PRIMARY KEY (blade, tag));
CREATE TABLE IF NOT EXISTS processors (blade TEXT PRIMARY KEY, features TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS gpus (blade TEXT NOT NULL, address TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (blade, address));
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, blade TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS points (
    number INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL, set_id TEXT NOT NULL, id TEXT NOT NULL, disks TEXT NOT NULL,
    complete INTEGER NOT NULL DEFAULT 0, instant TEXT
);
CREATE TABLE IF NOT EXISTS readers (
    place TEXT NOT NULL, set_id TEXT NOT NULL, reader TEXT NOT NULL, point TEXT NOT NULL, PRIMARY KEY (place, set_id, reader)
);
CREATE TABLE IF NOT EXISTS doors (
    lun TEXT NOT NULL, base TEXT NOT NULL, door_key TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (lun, base)
);
CREATE TABLE IF NOT EXISTS damages (
    place TEXT NOT NULL, set_id TEXT NOT NULL, point TEXT NOT NULL, disk TEXT NOT NULL, offset INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS outgoing (
    lun TEXT NOT NULL, disk TEXT NOT NULL, set_id TEXT NOT NULL, point TEXT NOT NULL, done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL, instant TEXT NOT NULL, yielding INTEGER NOT NULL, PRIMARY KEY (lun, disk, point)
);
CREATE TABLE IF NOT EXISTS known (
    lun TEXT NOT NULL, disk TEXT NOT NULL, set_id TEXT NOT NULL, point TEXT NOT NULL, written INTEGER NOT NULL,
    PRIMARY KEY (lun, disk, set_id, point)
);
CREATE TABLE IF NOT EXISTS faults (
    number INTEGER PRIMARY KEY AUTOINCREMENT, method TEXT NOT NULL, engine TEXT, error TEXT NOT NULL, late INTEGER NOT NULL
);
"""

Db = sqlite3.Connection


class Store:
    """The state in `folder`. One connection a process: its threads take turns, other processes wait for the writer's lock."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            folder / FILE, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        self._db.row_factory = sqlite3.Row
        # a killed process loses nothing with synchronous=OFF; only a machine that loses its power would
        for pragma in ("journal_mode=WAL", "synchronous=OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        with self.transaction() as db:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Db]:
        """All of the block's changes, or none; nobody else's in between."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._db.close()
