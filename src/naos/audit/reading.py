"""Reading the audit log: one reader's entries, the newest first, page by page."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from naos.audit.models import AuditEntry, Event
from naos.database import Database

PAGE = 500


class Outcome(StrEnum):
    """BEGUN: nobody answered; the controller ended, or is still at work. REFUSED: by a rule or a missing permission.
    FAILED: by a fault of naos."""

    BEGUN = "begun"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Reader:
    """Whose entries are read: the tenant's. organisation_id: also those of the organisation that belong to no tenant, such as
    log-ins with a browser; None for a reader who may not see the organisation's users."""

    tenant_id: str
    organisation_id: str | None = None

    def condition(self) -> sa.ColumnElement[bool]:
        if self.organisation_id is None:
            return AuditEntry.tenant_id == self.tenant_id
        nobody = sa.and_(AuditEntry.tenant_id.is_(None), AuditEntry.organisation_id == self.organisation_id)
        return sa.or_(AuditEntry.tenant_id == self.tenant_id, nobody)


@dataclass(frozen=True)
class Filters:
    """What is left out is not looked at. since, until: from and up to, but not at, a time. path: a part of the address."""

    since: datetime | None = None
    until: datetime | None = None
    user: str | None = None
    token: str | None = None
    address: str | None = None
    path: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Line:
    """An entry with the answer that belongs to it. request: of the answer where the body was read late."""

    entry: AuditEntry
    status: int | None
    activity_id: str | None
    code: str | None
    request: str
    digest: str | None

    @property
    def outcome(self) -> Outcome:
        return outcome_of(self.status)


def outcome_of(status: int | None) -> Outcome:
    if status is None:
        return Outcome.BEGUN
    if status < 400:
        return Outcome.ACCEPTED
    return Outcome.REFUSED if status < 500 else Outcome.FAILED


def page(session: Session, reader: Reader, filters: Filters, *, before: int | None, limit: int) -> list[Line]:
    """The newest `limit` entries of the reader with a sequence below `before`."""
    answer = aliased(AuditEntry)
    status: sa.ColumnElement[int] = sa.func.coalesce(answer.status, AuditEntry.status)
    query = (
        sa.select(AuditEntry, answer)
        .outerjoin(
            answer,
            sa.and_(
                answer.request_id == AuditEntry.request_id,
                answer.event == Event.ANSWER,
                AuditEntry.event.in_((Event.WRITE, Event.CONSOLE)),
            ),
        )
        .where(reader.condition(), AuditEntry.event != Event.ANSWER, *_conditions(filters, status))
        .order_by(AuditEntry.sequence.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(AuditEntry.sequence < before)
    return [_line(entry, found) for entry, found in session.execute(query)]


def every(database: Database, reader: Reader, filters: Filters) -> Iterator[Line]:
    """All of the reader's entries, the newest first, a page in memory at a time; no transaction stays open."""
    before: int | None = None
    while True:
        with database.read() as session:
            found = page(session, reader, filters, before=before, limit=PAGE)
        yield from found
        if len(found) < PAGE:
            return
        before = found[-1].entry.sequence


def _line(entry: AuditEntry, answer: AuditEntry | None) -> Line:
    if answer is None:
        return Line(entry, entry.status, entry.activity_id, entry.code, entry.request, entry.digest)
    late = answer.request != "{}"
    return Line(
        entry,
        answer.status,
        answer.activity_id,
        answer.code,
        answer.request if late else entry.request,
        answer.digest if late else entry.digest,
    )


def _conditions(filters: Filters, status: sa.ColumnElement[int]) -> list[sa.ColumnElement[bool]]:
    of_outcome = {
        Outcome.BEGUN: status.is_(None),
        Outcome.ACCEPTED: status < 400,
        Outcome.REFUSED: status.between(400, 499),
        Outcome.FAILED: status >= 500,
    }
    wanted: tuple[tuple[Any, Callable[[Any], sa.ColumnElement[bool]]], ...] = (
        (filters.since, lambda value: AuditEntry.at >= value),
        (filters.until, lambda value: AuditEntry.at < value),
        (filters.user, lambda value: AuditEntry.user_id == value),
        (filters.token, lambda value: AuditEntry.token_id == value),
        (filters.address, lambda value: AuditEntry.address == value),
        (filters.path, lambda value: AuditEntry.path.contains(value, autoescape=True)),
        (filters.outcome, of_outcome.__getitem__),
    )
    return [condition(value) for value, condition in wanted if value is not None]
