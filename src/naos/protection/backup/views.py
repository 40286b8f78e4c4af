"""Rows of backup as clients see them; each function a fixed number of statements."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.protection import policies
from naos.protection.backup import points, quotas, retention, terms
from naos.protection.backup.models import BackupPlan, BackupQuota, BackupTask, Restore, RestorePoint
from naos.protection.backup.points import PointState
from naos.protection.backup.reports import Lacking
from naos.protection.backup.restore_wire import Mode, RestoreWire
from naos.protection.backup.retention import Kept
from naos.protection.backup.wire import (
    KeepWire,
    MissingWire,
    PointDiskWire,
    PointWire,
    QuotaWire,
    TaskWire,
    TermsWire,
)
from naos.protection.models import BackupPolicy


def milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)


def shown_terms(session: Session, policy: BackupPolicy, now: datetime) -> TermsWire:
    row = session.get(BackupPlan, policy.id)
    found = terms.read(session, policy)
    upcoming = None if policy.held else found.next_due(row.handled_until if row is not None else now)
    return TermsWire(
        time_zone=str(found.zone),
        cron=(row.cron if row is not None else None) or "",
        keep=KeepWire(days=found.keep.days, weeks=found.keep.weeks, months=found.keep.months, years=found.keep.years),
        immutable_days=found.immutable_days,
        window=row.window if row is not None else "",
        quiesce=found.quiesce,
        speed=found.speed or 0,
        verify_days=found.verify_days,
        boot_days=found.boot_days,
        in_clear=found.in_clear,
        next_run=milliseconds(upcoming),
        overruns=row.overruns if row is not None else 0,
        overran_at=milliseconds(row.overran_at if row is not None else None),
    )


def shown_points(session: Session, found: Sequence[RestorePoint]) -> list[PointWire]:
    disks = points.disks_of(session, [point.id for point in found])
    kept = _kept_for(session, {point.set_id for point in found})
    return [
        PointWire(
            id=point.id,
            virtual_machine_id=point.machine_id,
            name=point.machine_name,
            policy_id=point.policy_id,
            policy_name=point.policy_name,
            site=point.zone,
            storage=point.vault,
            taken_at=milliseconds(point.taken_at) or 0,
            state=point.state,
            consistency=point.consistency,
            note=point.note,
            size=point.size,
            stored=point.stored,
            copied=point.copied,
            immutable_until=milliseconds(point.immutable_until),
            verified_at=milliseconds(point.verified_at),
            booted_at=milliseconds(point.booted_at),
            boot_note=point.boot_note,
            kept_for=kept.get(point.id, []),
            disks=[
                PointDiskWire(id=disk.disk_id, name=disk.name, unit=disk.unit, size=disk.size, stored=disk.stored)
                for disk in disks[point.id]
            ],
        )
        for point in found
    ]


def _kept_for(session: Session, set_ids: Iterable[str]) -> dict[str, list[str]]:
    """By point, what its policy keeps it for."""
    rows = session.scalars(
        sa.select(RestorePoint).where(
            RestorePoint.set_id.in_(list(set_ids)), RestorePoint.state.in_((PointState.GOOD, PointState.DAMAGED))
        )
    )
    by_set: dict[str, list[RestorePoint]] = {}
    for row in rows:
        by_set.setdefault(row.set_id, []).append(row)
    wanted = {entry[0].policy_id for entry in by_set.values()}
    query = sa.select(BackupPolicy).where(BackupPolicy.id.in_(wanted), BackupPolicy.zone.is_not(None))
    present = {policy.id: policy for policy in session.scalars(query)}
    schedules = policies.schedules_of(session, present)
    plans = {
        row.policy_id: row for row in session.scalars(sa.select(BackupPlan).where(BackupPlan.policy_id.in_(wanted)))
    }
    found: dict[str, list[str]] = {}
    for entry in by_set.values():
        policy_id = entry[0].policy_id
        if policy_id in present and policy_id in plans:
            said = terms.of(plans[policy_id], terms.schedules_of(schedules[policy_id]))
            complete = [Kept(row.id, row.taken_at, row.state == PointState.GOOD) for row in entry]
            found |= retention.reasons(complete, said.keep, said.zone)
    return found


def shown_tasks(found: Iterable[BackupTask]) -> list[TaskWire]:
    return [
        TaskWire(
            virtual_machine_id=task.machine_id,
            name=task.name,
            status=task.status,
            reason=task.reason,
            activity_id=task.activity_id,
            copied=task.copied,
            start=milliseconds(task.started_at),
            end=milliseconds(task.ended_at),
        )
        for task in found
    ]


def shown_lacking(found: Iterable[Lacking]) -> list[MissingWire]:
    return [
        MissingWire(
            virtual_machine_id=row.machine_id,
            name=row.name,
            policies=list(row.policies),
            latest=milliseconds(row.latest),
            reason=row.reason,
        )
        for row in found
    ]


def shown_restores(found: Iterable[Restore]) -> list[RestoreWire]:
    return [
        RestoreWire(
            id=restore.id,
            restore_point_id=restore.point_id,
            virtual_machine_id=restore.machine_id,
            name=restore.machine_name,
            mode=Mode(restore.mode),
            state=restore.state,
            old_disks=list(restore.old_disks),
            created_at=milliseconds(restore.created_at) or 0,
            ended_at=milliseconds(restore.ended_at),
        )
        for restore in found
    ]


def shown_quota(session: Session, tenant_id: str) -> QuotaWire:
    row = session.get(BackupQuota, tenant_id)
    return QuotaWire(
        used=points.used(session, tenant_id),
        size=row.size if row is not None else None,
        alarm=row.alarm if row is not None else "",
        alarm_since=milliseconds(row.alarm_since if row is not None else None),
        days_left=quotas.days_left(session, tenant_id),
    )
