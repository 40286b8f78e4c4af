"""Tables of notices: whom a tenant wants told, and what is on its way to them."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


def _now() -> datetime:
    return datetime.now(UTC)


class NoticeTarget(Identified, Base):
    """kind: webhook or mail. settings: of that kind, without its secret. secret: the key of a webhook's signatures, or the
    mail server's password, sealed (see `login.sealing`); "" for none. events: which it is told of. digest_at: `HH:MM` on the
    clock of time_zone; digest_until: the digests up to here were written. failures: deliveries in a row that were given up."""

    __tablename__ = "notice_targets"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    kind: Mapped[str] = mapped_column(sa.String(8))
    settings: Mapped[dict[str, Any]]
    secret: Mapped[str] = mapped_column(sa.Text, default="")
    events: Mapped[list[str]]
    enabled: Mapped[bool] = mapped_column(default=True)
    digest_at: Mapped[str] = mapped_column(sa.String(5))
    time_zone: Mapped[str] = mapped_column(sa.String(63))
    digest_until: Mapped[datetime] = mapped_column(default=_now)
    failures: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class Notice(Identified, Base):
    """One message for one target, written in the transaction in which its cause was. state: waiting, delivered or given_up.
    next_at: it is tried then. reason: why the last attempt failed."""

    __tablename__ = "notices"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    target_id: Mapped[str] = mapped_column(sa.ForeignKey("notice_targets.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(sa.String(32))
    subject: Mapped[str] = mapped_column(sa.String(300))
    text: Mapped[str] = mapped_column(sa.Text)
    details: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(sa.String(10))
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(index=True)
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(index=True)
    delivered_at: Mapped[datetime | None]
