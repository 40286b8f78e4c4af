"""Tables of the activity engine."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


class State(StrEnum):
    """The life of an activity, as the wire names it."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.WAITING: (State.RUNNING,),
    State.RUNNING: (State.COMPLETED, State.FAILED, State.WAITING),  # waiting again: it gave its locks up
    State.COMPLETED: (),
    State.FAILED: (),
}
UNFINISHED = (State.WAITING, State.RUNNING)


class UndoState(StrEnum):
    """`void`: there was nothing to undo. `failed`: tried several times in vain; `retry_undo` tries again."""

    PENDING = "pending"
    DONE = "done"
    VOID = "void"
    FAILED = "failed"


def now() -> datetime:
    return datetime.now(UTC)


class Activity(Identified, Base):
    """A write of the API, and its whole story.

    sequence: place in the order in which locks are granted; a new one when a preemptible activity gives way.
    undoing: it has failed, and is taking back what it left; it never goes forward again.
    step: what it is doing; progression: share done, 0 to 1. Both lag by up to a second.
    attempt: the fencing token: one more each time that a controller takes it; writers name the one that they hold.
    deaths: how many controllers died while they ran it.
    round: one more each time that its work starts from the first step again.
    """

    __tablename__ = "activities"
    __table_args__ = (
        sa.Index("ix_activities_tenant", "tenant_id", "sequence"),
        sa.Index("ix_activities_made", "tenant_id", "created_at", "id"),
    )
    sequence: Mapped[int] = mapped_column(unique=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36))
    actor_id: Mapped[str] = mapped_column(sa.String(255))
    kind: Mapped[str] = mapped_column(sa.String(100))
    description: Mapped[str] = mapped_column(sa.Text)
    type: Mapped[str] = mapped_column(sa.String(50))
    operation_type: Mapped[str] = mapped_column(sa.String(10), default="write")
    tags: Mapped[list[str]]
    concerned: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON)
    arguments: Mapped[dict[str, Any]]
    locks: Mapped[list[dict[str, Any]]] = mapped_column(sa.JSON)
    preemptible: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(sa.String(10), index=True)
    undoing: Mapped[bool] = mapped_column(default=False)
    step: Mapped[str] = mapped_column(sa.Text, default="")
    progression: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None] = mapped_column(index=True)
    result: Mapped[str | None] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    undone: Mapped[list[str]] = mapped_column(default=list)
    retryable: Mapped[bool] = mapped_column(default=False)
    build: Mapped[str] = mapped_column(sa.String(80))
    controller_id: Mapped[str | None] = mapped_column(sa.String(36))
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0)
    round: Mapped[int] = mapped_column(default=0)

    @property
    def workflow_id(self) -> str:
        """Under what id DBOS remembers the steps of this round."""
        return self.id if self.round == 0 else f"{self.id}.{self.round}"


class ActivityLock(Base):
    """A lock that an unfinished activity holds or waits for; gone when it ends."""

    __tablename__ = "activity_locks"
    __table_args__ = (sa.Index("ix_activity_locks_resource", "resource", "sequence"),)
    activity_id: Mapped[str] = mapped_column(sa.ForeignKey("activities.id"), primary_key=True)
    resource: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    sequence: Mapped[int]
    shared: Mapped[bool]


class ActivityUndo(Base):
    """A compensation, written before the step that it would undo."""

    __tablename__ = "activity_undo"
    activity_id: Mapped[str] = mapped_column(sa.ForeignKey("activities.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.String(100))
    arguments: Mapped[dict[str, Any]]
    description: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[str] = mapped_column(sa.String(10), default=UndoState.PENDING)
    reason: Mapped[str | None] = mapped_column(sa.Text)


class IdempotencyKey(Base):
    """A request that was accepted under a key. Kept for ever: the activity is, too."""

    __tablename__ = "idempotency_keys"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(sa.Text)
    activity_id: Mapped[str] = mapped_column(sa.ForeignKey("activities.id"))


class Controller(Identified, Base):
    """A process that runs activities. `heartbeat_at` is the database's time, so that clocks need not agree."""

    __tablename__ = "controllers"
    host: Mapped[str] = mapped_column(sa.String(255))
    pid: Mapped[int]
    build: Mapped[str] = mapped_column(sa.String(80))
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
