"""Writing the audit log: entries are chained, sealed and committed before whoever wrote them goes on.

Writers who come while others are being committed are taken together by the next one, in one transaction. So the log costs a
busy controller few transactions, and needs no thread of its own. Several controllers take turns by the row of the head.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import locks
from naos.audit import chain, keys, retention
from naos.audit.errors import AuditHeadMissing, AuditUnavailable
from naos.audit.models import AuditEntry, AuditHead, Event
from naos.database import Database

log = structlog.get_logger()
HEAD = 1
SEEN_EVERY_SECONDS = 1.0
PURGE_EVERY_SECONDS = 3600.0
entries_table = cast(sa.Table, AuditEntry.__table__)
heads_table = cast(sa.Table, AuditHead.__table__)


@dataclass(frozen=True)
class Entry:
    """What an entry says; see `models.AuditEntry`. `at`: None is the moment of writing."""

    event: Event
    request_id: str
    at: datetime | None = None
    tenant_id: str | None = None
    organisation_id: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    token_id: str | None = None
    address: str | None = None
    method: str = ""
    path: str = ""
    objects: str = "[]"
    permissions: str = "[]"
    request: str = "{}"
    digest: str | None = None
    status: int | None = None
    activity_id: str | None = None
    code: str | None = None


@dataclass
class _Waiting:
    entry: Entry
    sequence: int = 0
    failure: Exception | None = None

    @property
    def done(self) -> bool:
        return self.sequence > 0 or self.failure is not None


class Journal:
    """The log of one database, as one controller writes it.

    key_folder: see `keys`. months: how long entries are kept. now: the wall clock; ticks: monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        key_folder: Path,
        *,
        months: int,
        now: Callable[[], datetime],
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database, self.key_folder, self.months = database, key_folder, months
        self._now, self._ticks = now, ticks
        self._key = b""
        self._arriving, self._turn = threading.Lock(), threading.Lock()
        self._queue: list[_Waiting] = []
        self._seen_at = self._purged_at = float("-inf")

    def open(self) -> None:
        """Begin the log of a new database, or make sure that this controller can go on with it.

        Raises AuditKeyUnusable, AuditHeadMissing.
        """
        with self.database.write() as session:
            locks.serialise(session)
            head = session.scalar(sa.select(AuditHead))
            if head is not None:
                self._key = keys.read(self.key_folder, head.key_id)
            else:
                present = session.scalar(sa.select(sa.func.count()).select_from(AuditEntry)) or 0
                if present:
                    raise AuditHeadMissing(present)
                self._key = keys.make(self.key_folder)
                first: dict[str, Any] = {
                    "id": HEAD,
                    "sequence": 0,
                    "hash": "",
                    "purged_sequence": 0,
                    "purged_hash": "",
                    "key_id": chain.key_id(self._key),
                }
                session.execute(sa.insert(heads_table), first | {"seal": chain.head_seal(self._key, first)})
        self._purge_when_due()

    @property
    def key(self) -> bytes:
        return self._key

    def append(self, entry: Entry) -> int:
        """The sequence of the entry, which is committed. Raises AuditUnavailable, and then nothing is written."""
        mine = _Waiting(entry)
        with self._arriving:
            self._queue.append(mine)
        with self._turn:
            if not mine.done:
                self._commit_all()
        if mine.failure is not None:
            raise AuditUnavailable(type(mine.failure).__name__) from mine.failure
        return mine.sequence

    def renew_key(self) -> str:
        """Seal with a new key from here on, also when the present one is lost; the new key's id. Controllers that share the
        key folder follow with their next entry."""
        with self._turn, self.database.write() as session:
            locks.serialise(session)
            head = dict(session.execute(sa.select(heads_table).with_for_update()).mappings().one())
            self._key = keys.make(self.key_folder)
            made = chain.key_id(self._key)
            said = chain.canonical({"before": head["key_id"], "now": made})
            self._write(session, head | {"key_id": made}, [Entry(Event.KEY, str(uuid.uuid4()), request=said)])
        return made

    def purge(self) -> int:
        """Remove what has been kept for long enough; how many entries that were."""
        with self._turn:
            return self._purge()

    # ------------------------------------------------------------------------------------------------------- inside

    def _commit_all(self) -> None:
        with self._arriving:
            batch, self._queue = self._queue, []
        try:
            with self.database.write() as session:
                head = self._head(session)
                sequence = head["sequence"]
                newest = self._write(session, head, [waiting.entry for waiting in batch])
        except Exception as error:
            log.critical("the audit log cannot be written", entries=len(batch), reason=str(error))
            for waiting in batch:
                waiting.failure = error
            return
        for waiting in batch:
            sequence += 1
            waiting.sequence = sequence
        self._note(newest)
        self._purge_when_due()

    def _head(self, session: Session) -> dict[str, Any]:
        """The head, held against other controllers until the transaction ends, and its key."""
        head = dict(session.execute(sa.select(heads_table).with_for_update()).mappings().one())
        if head["key_id"] != chain.key_id(self._key):
            self._key = keys.read(self.key_folder, head["key_id"])
        return head

    def _write(self, session: Session, head: dict[str, Any], entries: Sequence[Entry]) -> keys.Seen:
        """Chain the entries after the head, and move it to the last."""
        rows = []
        sequence, previous = head["sequence"], head["hash"]
        for entry in entries:
            sequence += 1
            row = vars(entry) | {"at": entry.at or self._now(), "sequence": sequence, "key_id": head["key_id"]}
            previous = chain.entry_hash(row, previous)
            rows.append(row | {"hash": previous, "seal": chain.entry_seal(self._key, previous)})
        session.execute(sa.insert(entries_table), rows)
        self._move_head(session, head | {"sequence": sequence, "hash": previous})
        return keys.Seen(sequence, previous)

    def _move_head(self, session: Session, head: dict[str, Any]) -> None:
        head = head | {"seal": chain.head_seal(self._key, head)}
        session.execute(sa.update(heads_table).where(heads_table.c.id == HEAD), head)

    def _note(self, newest: keys.Seen) -> None:
        """A file a second: a log that is cut off by more than a second's entries is found whatever its head says."""
        if self._ticks() - self._seen_at >= SEEN_EVERY_SECONDS:
            self._seen_at = self._ticks()
            keys.note_seen(self.key_folder, chain.key_id(self._key), newest)

    def _purge_when_due(self) -> None:
        if self._ticks() - self._purged_at >= PURGE_EVERY_SECONDS:
            self._purged_at = self._ticks()
            try:
                self._purge()
            except Exception:
                log.exception("old entries of the audit log stay for another hour")

    def _purge(self) -> int:
        cutoff = retention.cutoff(self._now(), self.months)
        with self.database.read() as session:
            head = dict(session.execute(sa.select(heads_table)).mappings().one())
            last, _ = retention.expired(session, head["purged_sequence"], cutoff)
        if last == head["purged_sequence"]:
            return 0
        removed, batch = 0, 1
        while batch > 0:
            with self.database.write() as session:
                batch = retention.remove(session, self._head(session), cutoff, self._move_head)
            removed += batch
        with self.database.write() as session:
            head = self._head(session)
            said = {"before": cutoff, "removed": removed, "through": head["purged_sequence"]}
            self._write(session, head, [Entry(Event.RETENTION, str(uuid.uuid4()), request=chain.canonical(said))])
        return removed
