"""Whether the audit log is what was written: finds the first entry that was changed, removed, moved or inserted."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.audit import chain, keys
from naos.audit.errors import AuditKeyUnusable
from naos.audit.journal import entries_table, heads_table
from naos.database import Database

BATCH = 1000


@dataclass(frozen=True)
class Verification:
    """sound: nothing was found. checked: how many entries were looked at; first, last: their sequences.

    began: the time of the first entry that is left. bad: the sequence at which the log is not what was written, with the
    `reason`; None for a fault of the head alone.
    """

    sound: bool
    checked: int
    first: int | None
    last: int | None
    began: datetime | None
    bad: int | None
    reason: str


class _Broken(Exception):
    def __init__(self, reason: str, sequence: int | None) -> None:
        super().__init__(reason)
        self.reason, self.sequence = reason, sequence


class _Keys:
    """The keys of a folder, each read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, bytes | None] = {}

    def of_head(self, key_id: str) -> bytes:
        try:
            return keys.read(self.folder, key_id)
        except AuditKeyUnusable as error:
            raise _Broken(f"the head names a key that cannot be used here: {error.reason}", None) from error

    def of_entry(self, key_id: str) -> bytes | None:
        """None for a key that was lost and replaced: what it sealed is held by the hashes of the entries after."""
        if key_id not in self._read:
            try:
                self._read[key_id] = keys.read(self.folder, key_id)
            except AuditKeyUnusable:
                self._read[key_id] = None
        return self._read[key_id]


class _Walk:
    """One pass over the entries, which remembers how far it came."""

    def __init__(self, found: _Keys, start: int, previous: str) -> None:
        self.keys, self.sequence, self.hash = found, start, previous
        self.checked = 0
        self.first: int | None = None
        self.began: datetime | None = None

    def step(self, row: dict[str, Any]) -> None:
        sequence = row["sequence"]
        if sequence != self.sequence + 1:
            missing = self.sequence + 1
            if sequence < missing:
                raise _Broken("it was removed by the retention and is there again", sequence)
            raise _Broken(f"entries {missing} to {sequence - 1} are missing", missing)
        if not chain.same(chain.entry_hash(row, self.hash), str(row["hash"])):
            raise _Broken("its content, or the entry before it, is not what was written", sequence)
        key = self.keys.of_entry(row["key_id"])
        if key is not None and not chain.same(chain.entry_seal(key, row["hash"]), str(row["seal"])):
            raise _Broken("it was not sealed by a controller", sequence)
        self.sequence, self.hash = sequence, row["hash"]
        self.first = self.first or sequence
        self.began = self.began or row["at"]
        self.checked += 1


def verify(database: Database, key_folder: Path) -> Verification:
    """Look at every entry, as they are at one moment."""
    with database.read() as session:
        if not database.is_sqlite:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        walk = _Walk(_Keys(key_folder), 0, "")
        try:
            _check(session, walk)
        except _Broken as broken:
            return _report(walk, broken)
        return _report(walk, None)


def _report(walk: _Walk, broken: _Broken | None) -> Verification:
    return Verification(
        sound=broken is None,
        checked=walk.checked,
        first=walk.first,
        last=walk.sequence if walk.checked else None,
        began=walk.began,
        bad=broken.sequence if broken else None,
        reason=broken.reason if broken else "",
    )


def _check(session: Session, walk: _Walk) -> None:
    heads = [dict(row) for row in session.execute(sa.select(heads_table)).mappings()]
    if len(heads) != 1:
        raise _Broken(f"the log has {len(heads)} heads and needs one", None)
    head = heads[0]
    key = walk.keys.of_head(head["key_id"])
    if not chain.same(chain.head_seal(key, head), str(head["seal"])):
        raise _Broken("the head was not sealed by a controller", _first_bad(session, walk, head))
    walk.sequence, walk.hash = head["purged_sequence"], head["purged_hash"]
    for row in _rows(session):
        walk.step(row)
        if walk.sequence > head["sequence"]:
            raise _Broken("it comes after the end that the head names", walk.sequence)
    if walk.sequence < head["sequence"]:
        missing = walk.sequence + 1
        raise _Broken(f"entries {missing} to {head['sequence']} are missing at the end", missing)
    if walk.hash != head["hash"]:
        raise _Broken("the head names another entry as the last", walk.sequence)
    _check_seen(session, walk, head)


def _first_bad(session: Session, walk: _Walk, head: dict[str, Any]) -> int | None:
    """Where the entries themselves go wrong, when the head cannot be trusted; None when they do not."""
    rows = _rows(session)
    first = next(rows, None)
    if first is None:
        return None
    walk.sequence = first["sequence"] - 1
    walk.hash = head["purged_hash"] if head["purged_sequence"] == walk.sequence else ""
    try:
        walk.step(first)
        for row in rows:
            walk.step(row)
    except _Broken as broken:
        return broken.sequence
    return None


def _check_seen(session: Session, walk: _Walk, head: dict[str, Any]) -> None:
    """The controller of this key folder has seen an entry that must be there, unless the retention has passed it."""
    seen = keys.read_seen(walk.keys.folder, head["key_id"])
    if seen is None or seen.sequence <= head["purged_sequence"]:
        return
    if seen.sequence > walk.sequence:
        missing = walk.sequence + 1
        raise _Broken(
            f"entries {missing} to {seen.sequence} are missing at the end: an older log was put back", missing
        )
    query = sa.select(entries_table.c.hash).where(entries_table.c.sequence == seen.sequence)
    if session.scalar(query) != seen.hash:
        raise _Broken("it is another one than the controller wrote: an older log was put back", seen.sequence)


def _rows(session: Session) -> Iterator[dict[str, Any]]:
    query = sa.select(entries_table).order_by(entries_table.c.sequence).execution_options(yield_per=BATCH)
    for row in session.execute(query).mappings():
        yield dict(row)
