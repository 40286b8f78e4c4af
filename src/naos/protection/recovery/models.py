"""Tables of recovery: replicas of machines, recovery plans, their runs, and what a failover left on the old side."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


def _now() -> datetime:
    return datetime.now(UTC)


class Replica(Identified, Base):
    """A machine's copy in another zone, brought up to date every `interval` seconds; `keep` points are kept.

    lun_id: the volume that keeps the points; cpool_id: where it would run. set_id: of the copy engine; a new one whenever the direction
    changes. state: active, paused or failed_over. due_at: when the next point is due. Of the last complete point: point_id, the
    instant that it shows, sent (bytes that travelled), seconds (from its begin to its completion). failure: why the last attempt
    has made none. home_lun_id, home_cpool_id: after a failover, where the machine came from.
    """

    __tablename__ = "machine_replicas"
    __table_args__ = (sa.UniqueConstraint("machine_id"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36))
    cpool_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    lun_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    set_id: Mapped[str] = mapped_column(sa.String(36))
    interval: Mapped[int]
    keep: Mapped[int]
    state: Mapped[str] = mapped_column(sa.String(16), index=True)
    due_at: Mapped[datetime]
    point_id: Mapped[str | None] = mapped_column(sa.String(36))
    instant: Mapped[datetime | None]
    sent: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(sa.Float, default=0.0)
    failure: Mapped[str] = mapped_column(sa.Text, default="")
    home_lun_id: Mapped[str | None] = mapped_column(sa.String(36))
    home_cpool_id: Mapped[str | None] = mapped_column(sa.String(36))
    created_at: Mapped[datetime] = mapped_column(default=_now)


class ReplicaPoint(Base):
    """A complete point of a replica. sent: bytes that travelled for it."""

    __tablename__ = "replica_points"
    point_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    replica_id: Mapped[str] = mapped_column(sa.ForeignKey("machine_replicas.id", ondelete="CASCADE"), index=True)
    instant: Mapped[datetime]
    sent: Mapped[int]


class RecoveryPlan(Identified, Base):
    """Machines that come up together in another zone.

    home_cpool_id: where they are; cpool_id: where they would run. networks: VLAN id of home -> VLAN id there, for those that change.
    reserve: memory for them is kept free there. promise: seconds within which all shall run. state: ready or failed_over.
    """

    __tablename__ = "recovery_plans"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    home_cpool_id: Mapped[str] = mapped_column(sa.String(36))
    cpool_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    networks: Mapped[dict[str, Any]] = mapped_column(default=dict)
    reserve: Mapped[bool] = mapped_column(default=True)
    promise: Mapped[int]
    shutdown: Mapped[int]
    state: Mapped[str] = mapped_column(sa.String(16))
    created_at: Mapped[datetime] = mapped_column(default=_now)


class PlanMember(Base):
    """A machine of a plan. turn: lower ones are up before higher ones begin. delay: seconds that it waits in its turn.

    check: none, agent (the guest's agent answers) or line (`expects` appears on its console); patience: seconds for it.
    addresses: MAC -> {address, gateway} that its guest gets at the other side; home_addresses: what it had.
    """

    __tablename__ = "recovery_plan_members"
    plan_id: Mapped[str] = mapped_column(sa.ForeignKey("recovery_plans.id", ondelete="CASCADE"), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, index=True)
    turn: Mapped[int]
    delay: Mapped[int]
    check: Mapped[str] = mapped_column(sa.String(8))
    expects: Mapped[str] = mapped_column(sa.String(255), default="")
    patience: Mapped[int]
    addresses: Mapped[dict[str, Any]] = mapped_column(default=dict)
    home_addresses: Mapped[dict[str, Any]] = mapped_column(default=dict)


class RecoveryRun(Identified, Base):
    """One test or failover, of a plan or of one replica (`subject_id`). kind: test, planned, unplanned or failback. state: running,
    succeeded, failed. report: what is signed; hash, seal, key_id: how."""

    __tablename__ = "recovery_runs"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    subject_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    kind: Mapped[str] = mapped_column(sa.String(16))
    state: Mapped[str] = mapped_column(sa.String(16))
    promise: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(default=_now)
    ended_at: Mapped[datetime | None]
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    hash: Mapped[str] = mapped_column(sa.String(64), default="")
    seal: Mapped[str] = mapped_column(sa.String(64), default="")
    key_id: Mapped[str] = mapped_column(sa.String(16), default="")


class RecoveryStep(Base):
    """A step of a run, as it happened. outcome: "" while it goes on, ok, warning or failed."""

    __tablename__ = "recovery_steps"
    run_id: Mapped[str] = mapped_column(sa.ForeignKey("recovery_runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(sa.String(255))
    machine_id: Mapped[str | None] = mapped_column(sa.String(36))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(sa.String(8), default="")
    remark: Mapped[str] = mapped_column(sa.Text, default="")


class Remnant(Base):
    """A disk's file that a failover left on the volume that it came from. Nobody may use it: the disk is elsewhere.

    blade: on which its machine was, None once nothing of it is there any more. fenced: nothing can write to the file. Until then its exports
    are cut as soon as the array answers.
    """

    __tablename__ = "recovery_remnants"
    lun_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    blade: Mapped[str | None] = mapped_column(sa.String(63))
    fenced: Mapped[bool]
    since: Mapped[datetime] = mapped_column(default=_now)
