"""Tables of high availability: settings of cpools and machines, what became of blades, and recoveries."""

from datetime import UTC, datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified

RESTART_LIMIT = 5


class Priority(StrEnum):
    """In which order machines are started again; `disabled` is never."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    DISABLED = "disabled"


class Progress(StrEnum):
    """Where a recovery is. An unfinished one is in the first three."""

    ISOLATING = "isolating"
    WAITING = "waiting"
    STARTING = "starting"
    RECOVERED = "recovered"
    ABANDONED = "abandoned"


OPEN = (Progress.ISOLATING, Progress.WAITING, Progress.STARTING)


def _now() -> datetime:
    return datetime.now(UTC)


class PoolAvailability(Base):
    """Settings of a cpool; without a row it is off. tolerated: the loss of how many blades room is kept for, 0 for none; percent: how
    much of all blades' memory is kept free.
    frozen_after: seconds after which a blade whose network answers, but nothing else, counts as frozen; 0: never.
    blade_memory: bytes that each of its blades has."""

    __tablename__ = "pool_availability"
    cpool_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    enabled: Mapped[bool] = mapped_column(default=False)
    tolerated: Mapped[int] = mapped_column(default=0)
    percent: Mapped[int] = mapped_column(default=0, server_default="0")
    frozen_after: Mapped[int] = mapped_column(default=0)
    blade_memory: Mapped[int]


class MachineAvailability(Base):
    """Settings of a machine; without a row it has the defaults.

    best_effort: after all others, and one attempt. start_order: within a priority, lower first. start_delay: seconds after its
    turn came. restart_limit: starts in an hour. hung_after: seconds without an answer of the guest's agent after which the
    machine is reset; 0: never.
    """

    __tablename__ = "machine_availability"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    priority: Mapped[str] = mapped_column(sa.String(16), default=Priority.MEDIUM)
    best_effort: Mapped[bool] = mapped_column(default=False)
    start_order: Mapped[int] = mapped_column(default=0)
    start_delay: Mapped[int] = mapped_column(default=0)
    restart_limit: Mapped[int] = mapped_column(default=RESTART_LIMIT)
    hung_after: Mapped[int] = mapped_column(default=0)


class BladeCondition(Base):
    """What is known of a blade of a cpool with high availability; see `detection.Condition`. shaken: its hypervisor was silent
    a moment ago, so machines that are missing there now may have gone with it. seen: its array saw it at least once."""

    __tablename__ = "blade_conditions"
    blade: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    condition: Mapped[str] = mapped_column(sa.String(16))
    reason: Mapped[str] = mapped_column(sa.String(500), default="")
    shaken: Mapped[bool] = mapped_column(default=False)
    seen: Mapped[bool] = mapped_column(default=False)
    since: Mapped[datetime] = mapped_column(default=_now)


class Recovery(Identified, Base):
    """A machine that was lost, and how it comes back. blade: where it was lost; cause: dead, frozen, storage_lost, crashed or missing;
    reason: why it waits or was given up; activity_id: the latest of its activities; unwanted: somebody wants the machine to be off."""

    __tablename__ = "recoveries"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    cpool_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    blade: Mapped[str] = mapped_column(sa.String(63))
    cause: Mapped[str] = mapped_column(sa.String(16))
    progress: Mapped[str] = mapped_column(sa.String(16), index=True)
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    attempts: Mapped[int] = mapped_column(default=0)
    unwanted: Mapped[bool] = mapped_column(default=False)
    activity_id: Mapped[str | None] = mapped_column(sa.String(36))
    target: Mapped[str | None] = mapped_column(sa.String(63))
    created_at: Mapped[datetime] = mapped_column(default=_now)
    ended_at: Mapped[datetime | None]
