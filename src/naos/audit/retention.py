"""How old entries leave the log so that the rest can still be verified: from the beginning on, and the sealed head says where
the rest begins and what hash came before it."""

import calendar
from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.audit.models import AuditEntry

AT_ONCE = 1000
"""How many entries one transaction removes, so that writers are not kept waiting."""


def cutoff(now: datetime, months: int) -> datetime:
    """The same moment so many months ago; the month's last day where that day does not exist."""
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return now.replace(year=year, month=month + 1, day=min(now.day, last))


def expired(session: Session, after: int, before: datetime) -> tuple[int, str]:
    """Sequence and hash of the last of at most `AT_ONCE` entries after `after` that can go: they, and all before them, are
    older than `before`. `(after, "")` when none can."""
    kept = sa.select(sa.func.min(AuditEntry.sequence)).where(AuditEntry.at >= before).scalar_subquery()
    query = (
        sa.select(AuditEntry.sequence, AuditEntry.hash)
        .where(
            AuditEntry.sequence > after,
            AuditEntry.sequence <= after + AT_ONCE,
            sa.or_(kept.is_(None), AuditEntry.sequence < kept),
        )
        .order_by(AuditEntry.sequence.desc())
        .limit(1)
    )
    found = session.execute(query).first()
    return (found.sequence, found.hash) if found else (after, "")


def remove(
    session: Session, head: dict[str, Any], before: datetime, move_head: Callable[[Session, dict[str, Any]], None]
) -> int:
    """Remove at most `AT_ONCE` entries in a transaction that holds the head; how many were removed."""
    last, its_hash = expired(session, head["purged_sequence"], before)
    if last == head["purged_sequence"]:
        return 0
    move_head(session, head | {"purged_sequence": last, "purged_hash": its_hash})
    session.execute(sa.delete(AuditEntry).where(AuditEntry.sequence <= last))
    return last - head["purged_sequence"]  # type: ignore[no-any-return]
