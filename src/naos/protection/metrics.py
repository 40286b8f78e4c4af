"""Counts of what is protected: each one statement over the tables, so that no number is kept that could be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.protection.backup.models import BackupTask, RestorePoint
from naos.protection.backup.points import PointState
from naos.protection.backup.runs import TaskStatus
from naos.protection.models import BackupJob, BackupPolicy, BackupRun, KnownMachine, MachinePolicy
from naos.protection.rules import RunStatus


@dataclass(frozen=True)
class History:
    """Runs of protection jobs, which make copies; inventories are none."""

    total: int
    success: int
    warning: int
    failed: int
    running: int

    @property
    def percent(self) -> float:
        """Of the runs that have ended; 0 when there is none."""
        ended = self.success + self.warning + self.failed
        return round(100 * self.success / ended, 2) if ended else 0.0


def history(session: Session, tenant_id: str, days: int) -> History:
    """The runs that began within the last `days` days."""
    since = datetime.now(UTC) - timedelta(days=days)
    rows = session.execute(
        sa.select(BackupRun.status, sa.func.count())
        .join(BackupJob, BackupJob.number == BackupRun.job_number)
        .where(BackupRun.tenant_id == tenant_id, BackupJob.type == "protection", BackupRun.started_at >= since)
        .group_by(BackupRun.status)
    )
    counts: dict[str, int] = {str(status): int(count) for status, count in rows}
    return History(
        total=sum(counts.values()),
        success=counts.get(RunStatus.COMPLETED, 0),
        warning=counts.get(RunStatus.PARTIAL, 0),
        failed=counts.get(RunStatus.FAILED, 0),
        running=counts.get(RunStatus.RUNNING, 0),
    )


@dataclass(frozen=True)
class Coverage:
    """machines: all of the tenant. known: those that the inventory has seen. covered: with a policy that makes copies. copied: of
    which there is a good restore point. failed: whose latest copy failed."""

    machines: int
    known: int
    covered: int
    copied: int
    failed: int


def coverage(session: Session, tenant_id: str) -> Coverage:
    def count(query: sa.Select[int]) -> int:
        return session.scalar(query) or 0

    mine = VirtualMachine.tenant_id == tenant_id
    covered = (
        sa.select(sa.func.count(sa.distinct(MachinePolicy.machine_id)))
        .join(BackupPolicy, BackupPolicy.id == MachinePolicy.policy_id)
        .where(BackupPolicy.tenant_id == tenant_id, BackupPolicy.zone.is_not(None))
    )
    copied = (
        sa.select(sa.func.count(sa.distinct(RestorePoint.machine_id)))
        .join(VirtualMachine, VirtualMachine.id == RestorePoint.machine_id)
        .where(mine, RestorePoint.state == PointState.GOOD)
    )
    latest = (
        sa.select(BackupTask.machine_id, sa.func.max(BackupTask.run_number).label("run"))
        .join(VirtualMachine, VirtualMachine.id == BackupTask.machine_id)
        .where(mine, BackupTask.status.in_((TaskStatus.COMPLETED, TaskStatus.FAILED)))
        .group_by(BackupTask.machine_id)
        .subquery()
    )
    failed = (
        sa.select(sa.func.count())
        .select_from(BackupTask)
        .join(latest, sa.and_(latest.c.machine_id == BackupTask.machine_id, latest.c.run == BackupTask.run_number))
        .where(BackupTask.status == TaskStatus.FAILED)
    )
    return Coverage(
        copied=count(copied),
        failed=count(failed),
        machines=count(sa.select(sa.func.count()).select_from(VirtualMachine).where(mine)),
        known=count(sa.select(sa.func.count()).select_from(KnownMachine).where(KnownMachine.tenant_id == tenant_id)),
        covered=count(covered),
    )


def members_by_policy(session: Session, tenant_id: str) -> Mapping[str, int]:
    """How many machines have each policy; one that none has is left out."""
    rows = session.execute(
        sa.select(MachinePolicy.policy_id, sa.func.count())
        .join(BackupPolicy, BackupPolicy.id == MachinePolicy.policy_id)
        .where(BackupPolicy.tenant_id == tenant_id)
        .group_by(MachinePolicy.policy_id)
    )
    return {str(policy_id): int(count) for policy_id, count in rows}
