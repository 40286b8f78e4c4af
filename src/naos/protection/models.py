"""Tables of protection: policies, what they are assigned to, jobs and their runs, what the inventory has seen."""

import uuid
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.protection.backup import instant_models as _instant  # noqa: F401 - the same
from naos.protection.backup import models as _backup  # noqa: F401 - its tables
from naos.protection.notices import models as _notices  # noqa: F401 - the same
from naos.protection.recovery import models as _recovery  # noqa: F401 - the same
from naos.protection.replication import models as _replication  # noqa: F401 - its table
from naos.tenancy.models import Tenant

NO_BACKUP = "nobackup"
HYPERVISOR_INVENTORY = "Hypervisor Inventory"
STORAGE_INVENTORY = "Storage Server Inventory"


def _now() -> datetime:
    return datetime.now(UTC)


class BackupPolicy(Identified, Base):
    """Where copies go and how long they are kept. zone: the site's; null for `nobackup`, which every tenant has: it asks for no
    copy, on purpose. held: nothing runs or starts under it until it is released."""

    __tablename__ = "backup_policies"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str | None] = mapped_column(sa.String(63))
    held: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=_now)


class BackupSchedule(Base):
    """One rhythm of a policy. trigger: DAILY, WEEKLY or MONTHLY; frequency: every how many of them; retention: days."""

    __tablename__ = "backup_schedules"
    policy_id: Mapped[str] = mapped_column(sa.ForeignKey("backup_policies.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trigger: Mapped[str] = mapped_column(sa.String(16))
    frequency: Mapped[int]
    retention: Mapped[int]
    activate_at: Mapped[datetime]


class MachinePolicy(Base):
    """A policy of a machine; its disks inherit it unless they have their own set."""

    __tablename__ = "machine_policies"
    machine_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    policy_id: Mapped[str] = mapped_column(sa.ForeignKey("backup_policies.id"), primary_key=True, index=True)


class DiskChoice(Base):
    """A disk that has a set of its own, which may be empty: it inherits nothing."""

    __tablename__ = "disk_choices"
    disk_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)


class DiskPolicy(Base):
    """A policy of a disk's own set."""

    __tablename__ = "disk_policies"
    disk_id: Mapped[str] = mapped_column(sa.ForeignKey("disk_choices.disk_id"), primary_key=True)
    policy_id: Mapped[str] = mapped_column(sa.ForeignKey("backup_policies.id"), primary_key=True, index=True)


class BackupJob(Base):
    """What can be run, under a number. type: catalog (an inventory) or protection (a policy's)."""

    __tablename__ = "backup_jobs"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "type", "name"), {"sqlite_autoincrement": True})
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    type: Mapped[str] = mapped_column(sa.String(16))
    policy_id: Mapped[str | None] = mapped_column(sa.ForeignKey("backup_policies.id"), unique=True)


class BackupRun(Base):
    """A run of a job. status: RUNNING, COMPLETED, PARTIAL or FAILED; the counts are of what it looked at."""

    __tablename__ = "backup_runs"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own protocol
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    job_number: Mapped[int] = mapped_column(sa.ForeignKey("backup_jobs.number"), index=True)
    activity_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    status: Mapped[str] = mapped_column(sa.String(16))
    started_at: Mapped[datetime] = mapped_column(default=_now)
    ended_at: Mapped[datetime | None]
    total: Mapped[int] = mapped_column(default=0)
    success: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)


class KnownMachine(Base):
    """A machine as the inventory saw it last."""

    __tablename__ = "known_machines"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own protocol
    number: Mapped[int] = mapped_column(primary_key=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    zone: Mapped[str] = mapped_column(sa.String(63))
    seen_at: Mapped[datetime]


class KnownDisk(Base):
    """A disk as the inventory saw it last, on its volume. size: bytes; volume_class: its volume's IOPS class."""

    __tablename__ = "known_disks"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's own protocol
    number: Mapped[int] = mapped_column(primary_key=True)
    disk_id: Mapped[str] = mapped_column(sa.String(36), unique=True)
    machine_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    unit: Mapped[int]
    size: Mapped[int]
    volume_class: Mapped[str] = mapped_column(sa.String(32))
    seen_at: Mapped[datetime]


class VaultSample(Base):
    """What a vault's host last said of the space in its folder, in bytes; `measured_at` is null until it answered once."""

    __tablename__ = "vault_samples"
    vault: Mapped[str] = mapped_column(sa.String(63), primary_key=True)
    total: Mapped[int] = mapped_column(default=0)
    free: Mapped[int] = mapped_column(default=0)
    reachable: Mapped[bool] = mapped_column(default=False)
    measured_at: Mapped[datetime | None]


@sa.event.listens_for(Tenant, "after_insert")
def _furnish(_mapper: Any, connection: sa.Connection, tenant: Tenant) -> None:
    """Every tenant has the policy `nobackup` and the two inventory jobs from its first moment, whoever makes it."""
    if not sa.inspect(connection).has_table(BackupPolicy.__tablename__):
        return
    policy = {"id": str(uuid.uuid4()), "tenant_id": tenant.id, "name": NO_BACKUP, "held": False, "created_at": _now()}
    connection.execute(sa.insert(BackupPolicy), policy)
    for name in (HYPERVISOR_INVENTORY, STORAGE_INVENTORY):
        connection.execute(sa.insert(BackupJob), {"tenant_id": tenant.id, "name": name, "type": "catalog"})
