"""Tables of backup: what a policy says beyond the wire's schedules, its runs, restore points, restores and quotas."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


def _now() -> datetime:
    return datetime.now(UTC)


class BackupPlan(Base):
    """cron: in place of the policy's schedules, None: these. keep_*: see `retention.Keep`. immutable_days: for so long nobody
    deletes a point. window: wall times between which runs begin, `22:00-06:00`, "" for always. quiesce: auto, required or off.
    speed: bytes a second that a copy takes, 0 for no limit. verify_days: every how many days each point is read and checked, 0
    for never; boot_days: the same for a boot of each machine's newest point. in_clear: disks of encrypted volumes are copied too, and
    lie in the vault in clear. handled_until: the instants up to here are decided.
    overruns: how many found a run still under way."""

    __tablename__ = "backup_plans"
    policy_id: Mapped[str] = mapped_column(sa.ForeignKey("backup_policies.id"), primary_key=True)
    time_zone: Mapped[str] = mapped_column(sa.String(63))
    cron: Mapped[str | None] = mapped_column(sa.String(128))
    keep_days: Mapped[int]
    keep_weeks: Mapped[int]
    keep_months: Mapped[int]
    keep_years: Mapped[int]
    immutable_days: Mapped[int] = mapped_column(default=0)
    window: Mapped[str] = mapped_column(sa.String(11), default="")
    quiesce: Mapped[str] = mapped_column(sa.String(8), default="auto")
    speed: Mapped[int] = mapped_column(default=0)
    verify_days: Mapped[int] = mapped_column(default=30)
    boot_days: Mapped[int] = mapped_column(default=0)
    in_clear: Mapped[bool] = mapped_column(default=False)
    handled_until: Mapped[datetime]
    overruns: Mapped[int] = mapped_column(default=0)
    overran_at: Mapped[datetime | None]


class PolicyRun(Base):
    """What a run of a policy's job is for. due_at: the instant that was due, None when somebody asked for it: then the same
    instant never has two runs, whoever leads and whatever clocks do. overruns: instants that became due while it was under way,
    the last of them seen at overran_at."""

    __tablename__ = "backup_policy_runs"
    __table_args__ = (sa.UniqueConstraint("policy_id", "due_at"),)
    run_number: Mapped[int] = mapped_column(sa.ForeignKey("backup_runs.number"), primary_key=True)
    policy_id: Mapped[str] = mapped_column(sa.ForeignKey("backup_policies.id"))
    due_at: Mapped[datetime | None]
    overruns: Mapped[int] = mapped_column(default=0)
    overran_at: Mapped[datetime | None]


class BackupTask(Base):
    """A machine of a run. status: WAITING, RUNNING, COMPLETED, FAILED or SKIPPED; reason: of the last two, and what a completed one
    has to say. copied: bytes that were read and sent."""

    __tablename__ = "backup_tasks"
    run_number: Mapped[int] = mapped_column(sa.ForeignKey("backup_runs.number"), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True, index=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    status: Mapped[str] = mapped_column(sa.String(16), index=True)
    reason: Mapped[str] = mapped_column(sa.Text, default="")
    activity_id: Mapped[str | None] = mapped_column(sa.String(36))
    copied: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RestorePoint(Identified, Base):
    """A machine, or some of its disks, at one instant. It outlives the machine and the policy: their ids lead nowhere then.

    set_id: of the copy engine's set that it is in. state: copying, good, damaged or deleting. consistency: quiesced (the guest's
    file systems were at rest), crash, or stopped. note: why it is not better than that, or what is damaged. machine: what is needed
    to make the machine again. size: bytes of the disks; stored: bytes that it alone takes in the vault; copied: bytes that were
    sent for it. booted_at: when a machine of it was last booted apart; boot_note: how it did, beginning with `alive`, `console` or
    `failed`.
    """

    __tablename__ = "restore_points"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_name: Mapped[str] = mapped_column(sa.String(255))
    policy_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    policy_name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str] = mapped_column(sa.String(63))
    vault: Mapped[str] = mapped_column(sa.String(63))
    set_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    taken_at: Mapped[datetime] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(sa.String(10))
    consistency: Mapped[str] = mapped_column(sa.String(10), default="")
    note: Mapped[str] = mapped_column(sa.Text, default="")
    machine: Mapped[dict[str, Any]]
    size: Mapped[int] = mapped_column(default=0)
    stored: Mapped[int] = mapped_column(default=0)
    copied: Mapped[int] = mapped_column(default=0)
    immutable_until: Mapped[datetime | None]
    verified_at: Mapped[datetime | None]
    booted_at: Mapped[datetime | None]
    boot_note: Mapped[str] = mapped_column(sa.Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=_now)


class PointDisk(Base):
    """A disk of a point. stored: bytes of its own part."""

    __tablename__ = "restore_point_disks"
    point_id: Mapped[str] = mapped_column(sa.ForeignKey("restore_points.id", ondelete="CASCADE"), primary_key=True)
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    unit: Mapped[int]
    size: Mapped[int]
    stored: Mapped[int] = mapped_column(default=0)


class Restore(Identified, Base):
    """A machine that came from a point, and what is still to be decided about it.

    mode: test, clone or production. state: restoring, test (may be converted or cleaned up), replaced (its old disks are kept until
    somebody confirms), done. vlan_id: the isolated network of a test. old_disks: ids of the disks that were replaced.
    """

    __tablename__ = "restores"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    point_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    machine_name: Mapped[str] = mapped_column(sa.String(255))
    mode: Mapped[str] = mapped_column(sa.String(10))
    state: Mapped[str] = mapped_column(sa.String(10))
    vlan_id: Mapped[str | None] = mapped_column(sa.String(36))
    old_disks: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=_now)
    ended_at: Mapped[datetime | None]


class BackupQuota(Base):
    """The bytes that a tenant may have stored in vaults; no row: no limit. alarm: "", warning or critical."""

    __tablename__ = "backup_quotas"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    size: Mapped[int]
    alarm: Mapped[str] = mapped_column(sa.String(8), default="")
    alarm_since: Mapped[datetime | None]


class BackupSpace(Base):
    """Bytes that a tenant had stored in vaults on a day, as counted last."""

    __tablename__ = "backup_space"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    used: Mapped[int]
