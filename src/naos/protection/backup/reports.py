"""Reports: what ran when, by machine and day; machines without a policy, or without a copy of late."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.compute.models import VirtualMachine
from naos.errors import Unknown
from naos.protection.backup import members
from naos.protection.backup.models import BackupTask, PolicyRun, RestorePoint
from naos.protection.backup.points import PointState
from naos.protection.backup.runs import TaskStatus
from naos.protection.models import BackupPolicy, DiskPolicy, MachinePolicy
from naos.storage.models import Disk

_BEST = ("good", "damaged", "failed", "skipped", "")
"""Of several things that happened on one day the first of these is shown."""


@dataclass(frozen=True)
class Row:
    machine_id: str
    name: str
    days: Sequence[str]


@dataclass(frozen=True)
class Lacking:
    """latest: when the machine's last good point was taken."""

    machine_id: str
    name: str
    policies: Sequence[str]
    latest: datetime | None
    reason: str


def days_until(last: date, count: int) -> list[date]:
    return [last - timedelta(days=back) for back in reversed(range(count))]


def matrix(
    session: Session,
    tenant_id: str,
    days: Sequence[date],
    zone: ZoneInfo,
    policy_id: str | None = None,
    machine_id: str | None = None,
) -> list[Row]:
    """By machine (deleted ones too, while there is something of them), what happened on each day. `policy_id`: under it only;
    `machine_id`: to it only."""
    since = datetime.combine(days[0], time(0), zone).astimezone(UTC)
    until = datetime.combine(days[-1] + timedelta(days=1), time(0), zone).astimezone(UTC)
    found: dict[str, dict[date, str]] = {}
    names: dict[str, str] = {}

    def note(key: str, name: str, at: datetime, what: str) -> None:
        names.setdefault(key, name)
        cells = found.setdefault(key, {})
        day = at.astimezone(zone).date()
        cells[day] = min(cells.get(day, ""), what, key=_BEST.index)

    points = sa.select(RestorePoint).where(
        RestorePoint.tenant_id == tenant_id,
        RestorePoint.taken_at >= since,
        RestorePoint.taken_at < until,
        RestorePoint.state.in_((PointState.GOOD, PointState.DAMAGED)),
    )
    tasks = (
        sa.select(BackupTask)
        .join(PolicyRun, PolicyRun.run_number == BackupTask.run_number)
        .where(BackupTask.tenant_id == tenant_id, BackupTask.started_at >= since, BackupTask.started_at < until)
        .where(BackupTask.status.in_((TaskStatus.FAILED, TaskStatus.SKIPPED)))
    )
    if policy_id is not None:
        points = points.where(RestorePoint.policy_id == policy_id)
        tasks = tasks.where(PolicyRun.policy_id == policy_id)
    if machine_id is not None:
        points = points.where(RestorePoint.machine_id == machine_id)
        tasks = tasks.where(BackupTask.machine_id == machine_id)
    for point in session.scalars(points.order_by(RestorePoint.taken_at.desc())):
        note(point.machine_id, point.machine_name, point.taken_at, point.state)
    for task in session.scalars(tasks):
        if task.started_at is not None:
            note(task.machine_id, task.name, task.started_at, task.status.lower())
    names.update(_names(session, found))
    rows = [Row(key, names[key], [cells.get(day, "") for day in days]) for key, cells in found.items()]
    return sorted(rows, key=lambda row: (row.name, row.machine_id))


def check_known(session: Session, tenant_id: str, machine_id: str) -> None:
    """Raises Unknown for what is no machine of the tenant, and was none of which something is left."""
    machine = session.get(VirtualMachine, machine_id)
    if machine is not None and machine.tenant_id == tenant_id:
        return
    for table in (RestorePoint, BackupTask):
        mine = sa.select(sa.true()).where(table.machine_id == machine_id, table.tenant_id == tenant_id)
        if session.scalar(mine.limit(1)):
            return
    raise Unknown("virtual machine", machine_id)


def _names(session: Session, machine_ids: Iterable[str]) -> dict[str, str]:
    query = sa.select(VirtualMachine.id, VirtualMachine.name).where(VirtualMachine.id.in_(list(machine_ids)))
    return {str(machine_id): str(name) for machine_id, name in session.execute(query)}


def as_csv(days: Sequence[str], rows: Iterable[Row]) -> str:
    """A text that begins with ``=``, ``+``, ``-`` or ``@`` would be a formula to a spreadsheet: it gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["machine", "id", *days])
    for row in rows:
        name = f"'{row.name}" if row.name[:1] in "=+-@\t\r" else row.name
        writer.writerow([name, row.machine_id, *row.days])
    return out.getvalue()


def unprotected(session: Session, tenant_id: str) -> list[Lacking]:
    """Machines of which nothing is copied: without a policy, or with `nobackup` alone."""
    copying = list(session.scalars(sa.select(BackupPolicy.id).where(*_of(tenant_id), BackupPolicy.zone.is_not(None))))
    covered = members.covered(session, tenant_id, copying)
    latest, held = _latest(session, tenant_id), _policies(session, tenant_id)
    return [
        Lacking(
            machine.id,
            machine.name,
            held.get(machine.id, ()),
            latest.get(machine.id),
            "it goes without on purpose" if held.get(machine.id) else "it has no policy",
        )
        for machine in _machines(session, tenant_id)
        if machine.id not in covered
    ]


def stale(session: Session, tenant_id: str, since: datetime) -> list[Lacking]:
    """Machines under a policy that makes copies without a good point since then, and why the last try was none."""
    copying = list(session.scalars(sa.select(BackupPolicy.id).where(*_of(tenant_id), BackupPolicy.zone.is_not(None))))
    covered = members.covered(session, tenant_id, copying)
    latest, held = _latest(session, tenant_id), _policies(session, tenant_id)
    reasons = _last_reasons(session, tenant_id)
    found = []
    for machine in _machines(session, tenant_id):
        last = latest.get(machine.id)
        if machine.id in covered and (last is None or last < since):
            reason = reasons.get(machine.id) or ("no run came to it yet" if last is None else "no run came to it since")
            found.append(Lacking(machine.id, machine.name, held.get(machine.id, ()), last, reason))
    return found


def _of(tenant_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (BackupPolicy.tenant_id == tenant_id,)


def _machines(session: Session, tenant_id: str) -> list[VirtualMachine]:
    query = sa.select(VirtualMachine).where(VirtualMachine.tenant_id == tenant_id)
    return list(session.scalars(query.order_by(VirtualMachine.name, VirtualMachine.id)))


def _latest(session: Session, tenant_id: str) -> dict[str, datetime]:
    query = (
        sa.select(RestorePoint.machine_id, sa.func.max(RestorePoint.taken_at, type_=RestorePoint.taken_at.type))
        .where(RestorePoint.tenant_id == tenant_id, RestorePoint.state == PointState.GOOD)
        .group_by(RestorePoint.machine_id)
    )
    return {str(machine_id): at for machine_id, at in session.execute(query)}


def _policies(session: Session, tenant_id: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    mine = (
        sa.select(MachinePolicy.machine_id, BackupPolicy.name)
        .join(BackupPolicy, BackupPolicy.id == MachinePolicy.policy_id)
        .where(*_of(tenant_id))
    )
    own = (
        sa.select(Disk.machine_id, BackupPolicy.name)
        .join(DiskPolicy, DiskPolicy.disk_id == Disk.id)
        .join(BackupPolicy, BackupPolicy.id == DiskPolicy.policy_id)
        .where(*_of(tenant_id), Disk.machine_id.is_not(None))
    )
    for query in (mine, own):
        for machine_id, name in session.execute(query):
            held = found.setdefault(str(machine_id), [])
            if name not in held:
                held.append(str(name))
    return {machine_id: sorted(names) for machine_id, names in found.items()}


def _last_reasons(session: Session, tenant_id: str) -> dict[str, str]:
    """Why the latest task of each machine copied nothing."""
    query = (
        sa.select(BackupTask)
        .where(BackupTask.tenant_id == tenant_id, BackupTask.status.in_((TaskStatus.FAILED, TaskStatus.SKIPPED)))
        .order_by(BackupTask.run_number)
    )
    return {task.machine_id: task.reason for task in session.scalars(query)}
