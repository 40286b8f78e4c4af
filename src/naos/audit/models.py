"""The tables of the audit log. Triggers of the database itself refuse to change or remove what is written there."""

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.audit import guards
from naos.database import Base


class Event(StrEnum):
    """What an entry says.

    WRITE: a write begins; the entry is there before anything is done. ANSWER: how it was answered, under the same request id.
    REFUSAL: a write by somebody who may not. LOGIN: somebody logged in, or tried to. CONSOLE: a machine's console was
    asked for. RETENTION: entries that were kept for long enough were removed. KEY: from here on another key seals.
    """

    WRITE = "write"
    ANSWER = "answer"
    REFUSAL = "refusal"
    LOGIN = "login"
    CONSOLE = "console"
    RETENTION = "retention"
    KEY = "key"


class AuditEntry(Base):
    """One line of the log, numbered from 1 without a gap.

    user_name: as it was then. path: the address with the names of its parameters. objects, permissions: JSON lists.
    request: JSON of query and body, without secrets. digest: HMAC of the body as it came. status: of the HTTP answer.
    code: of the error. hash: over everything before it and the hash of the entry before; seal: HMAC of it under `key_id`.
    """

    __tablename__ = "audit_entries"
    __table_args__ = (sa.Index("ix_audit_entries_tenant", "tenant_id", "sequence"),)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(index=True)
    event: Mapped[str] = mapped_column(sa.String(16))
    request_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    tenant_id: Mapped[str | None] = mapped_column(sa.String(36))
    organisation_id: Mapped[str | None] = mapped_column(sa.String(36))
    user_id: Mapped[str | None] = mapped_column(sa.String(36))
    user_name: Mapped[str | None] = mapped_column(sa.String(255))
    token_id: Mapped[str | None] = mapped_column(sa.String(36))
    address: Mapped[str | None] = mapped_column(sa.String(64))
    method: Mapped[str] = mapped_column(sa.String(16))
    path: Mapped[str] = mapped_column(sa.Text)
    objects: Mapped[str] = mapped_column(sa.Text)
    permissions: Mapped[str] = mapped_column(sa.Text)
    request: Mapped[str] = mapped_column(sa.Text)
    digest: Mapped[str | None] = mapped_column(sa.String(64))
    status: Mapped[int | None]
    activity_id: Mapped[str | None] = mapped_column(sa.String(36))
    code: Mapped[str | None] = mapped_column(sa.String(100))
    key_id: Mapped[str] = mapped_column(sa.String(16))
    hash: Mapped[str] = mapped_column(sa.String(64))
    seal: Mapped[str] = mapped_column(sa.String(64))


class AuditHead(Base):
    """The one row that says where the log ends and what was removed at its beginning, sealed with the key.

    sequence, hash: of the last entry (0 and "" for none). purged_sequence, purged_hash: of the last one removed.
    """

    __tablename__ = "audit_heads"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    hash: Mapped[str] = mapped_column(sa.String(64))
    purged_sequence: Mapped[int]
    purged_hash: Mapped[str] = mapped_column(sa.String(64))
    key_id: Mapped[str] = mapped_column(sa.String(16))
    seal: Mapped[str] = mapped_column(sa.String(64))


for dialect, statements in guards.STATEMENTS.items():
    for statement in statements:
        sa.event.listen(AuditHead.__table__, "after_create", sa.DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]
