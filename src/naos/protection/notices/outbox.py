"""What is on its way: written where its cause is written, tried by `postman`, and kept for a while afterwards."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.errors import Unknown
from naos.protection.notices import rules
from naos.protection.notices.models import Notice, NoticeTarget
from naos.protection.notices.rules import Event, State

LONGEST_SUBJECT = 300


def tell(session: Session, tenant_id: str, event: Event, subject: str, text: str, **details: Any) -> None:
    """A notice for each of the tenant's targets that is told of the event; they go out when the transaction is committed."""
    query = sa.select(NoticeTarget).where(NoticeTarget.tenant_id == tenant_id, NoticeTarget.enabled.is_(True))
    for target in session.scalars(query):
        if event in target.events:
            write(session, target, event, subject, text, details)


def write(
    session: Session, target: NoticeTarget, event: Event, subject: str, text: str, details: dict[str, Any]
) -> Notice:
    """A notice for one target."""
    now = datetime.now(UTC)
    made = Notice(
        tenant_id=target.tenant_id,
        target_id=target.id,
        event=event.value,
        subject=f"[naos] {subject}"[:LONGEST_SUBJECT],
        text=text,
        details=details,
        state=State.WAITING.value,
        next_at=now,
        created_at=now,
    )
    session.add(made)
    session.flush()
    return made


def due(session: Session, now: datetime, most: int, without: Sequence[str]) -> list[Notice]:
    """Of enabled targets, those waiting longest first. without: ids of targets that are being written to already."""
    query = (
        sa.select(Notice)
        .join(NoticeTarget, NoticeTarget.id == Notice.target_id)
        .where(Notice.state == State.WAITING, Notice.next_at <= now, NoticeTarget.enabled.is_(True))
        .where(Notice.target_id.not_in(list(without)))
    )
    return list(session.scalars(query.order_by(Notice.next_at, Notice.id).limit(most)))


def note(session: Session, notice_id: str, now: datetime, reason: str, *, lasting: bool = False) -> State | None:
    """What an attempt came to; "": it was delivered. None for a notice that went with its target meanwhile."""
    notice = session.get(Notice, notice_id)
    if notice is None:
        return None
    target = session.get_one(NoticeTarget, notice.target_id)
    notice.attempts += 1
    notice.reason = reason
    again = None if lasting else rules.next_try(notice.attempts, now)
    if not reason:
        notice.state, notice.delivered_at, target.failures = State.DELIVERED.value, now, 0
    elif again is not None:
        notice.next_at = again
    else:
        notice.state = State.GIVEN_UP.value
        target.failures += 1
    return State(notice.state)


def of_tenant(session: Session, tenant_id: str, *, target_id: str | None, limit: int) -> list[Notice]:
    """The newest first."""
    query = sa.select(Notice).where(Notice.tenant_id == tenant_id)
    if target_id is not None:
        query = query.where(Notice.target_id == target_id)
    return list(session.scalars(query.order_by(Notice.created_at.desc(), Notice.id).limit(limit)))


def find(session: Session, tenant_id: str, notice_id: str) -> Notice:
    """Raises Unknown."""
    found = session.get(Notice, notice_id)
    if found is None or found.tenant_id != tenant_id:
        raise Unknown("notice", notice_id)
    return found


def forget_old(session: Session, now: datetime) -> None:
    session.execute(sa.delete(Notice).where(Notice.state != State.WAITING, Notice.created_at < now - rules.KEPT))
