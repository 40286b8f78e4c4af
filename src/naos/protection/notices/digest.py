"""The daily digest: what went wrong in a tenant's backup since the last one, and what is not as it should be now."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.protection.backup import reports
from naos.protection.backup.models import BackupQuota, BackupTask, PolicyRun, RestorePoint
from naos.protection.backup.points import PointState
from naos.protection.backup.runs import TaskStatus
from naos.protection.models import BackupPolicy, BackupRun

SHOWN = 50
"""Lines of each part at most; how many more there are is said."""
STALE = timedelta(hours=26)


@dataclass
class Digest:
    """parts: by heading, lines. counts: for programs."""

    parts: dict[str, Sequence[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def troubles(self) -> int:
        return sum(
            self.counts[name]
            for name in ("failed", "overran", "damaged", "bootFailed", "stale", "unprotected", "quota")
        )

    def add(self, name: str, heading: str, lines: Sequence[str]) -> None:
        self.counts[name] = len(lines)
        if lines:
            more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            self.parts[heading] = [*lines[:SHOWN], *more]


def of(session: Session, tenant_id: str, since: datetime, until: datetime) -> Digest:
    """since, until: what happened in between; the lists of machines are those of now."""
    made = Digest()
    tasks = list(
        session.scalars(
            sa.select(BackupTask)
            .where(BackupTask.tenant_id == tenant_id, BackupTask.ended_at > since, BackupTask.ended_at <= until)
            .order_by(BackupTask.ended_at, BackupTask.name)
        )
    )
    made.counts["copied"] = sum(task.status == TaskStatus.COMPLETED for task in tasks)
    made.add("failed", "Copies that failed", _grouped(task for task in tasks if task.status == TaskStatus.FAILED))
    made.add("skipped", "Left out", _grouped(task for task in tasks if task.status == TaskStatus.SKIPPED))
    made.add("overran", "Still going when the next run was due", _overrun(session, tenant_id, since, until))
    damaged = _points(session, tenant_id, RestorePoint.state == PointState.DAMAGED)
    made.add("damaged", "Damaged restore points", [f"{_named(point)}: {point.note}" for point in damaged])
    booted = _points(
        session,
        tenant_id,
        RestorePoint.booted_at > since,
        RestorePoint.booted_at <= until,
        RestorePoint.boot_note.startswith("failed"),
    )
    made.add("bootFailed", "Boot tests without a sign of life", [f"{_named(p)}: {p.boot_note}" for p in booted])
    stale = reports.stale(session, tenant_id, until - STALE)
    made.add(
        "stale", f"No good restore point for {STALE.total_seconds() / 3600:.0f} h", [_lacking(row) for row in stale]
    )
    bare = [row for row in reports.unprotected(session, tenant_id) if not row.policies]
    made.add("unprotected", "Machines without a policy", [row.name for row in bare])
    quota = session.get(BackupQuota, tenant_id)
    alarm = [f"the space in vaults is at its {quota.alarm} mark"] if quota is not None and quota.alarm else []
    made.add("quota", "Quota", alarm)
    return made


def _overrun(session: Session, tenant_id: str, since: datetime, until: datetime) -> list[str]:
    query = (
        sa.select(BackupRun.number, BackupPolicy.name, PolicyRun.overruns)
        .join(PolicyRun, PolicyRun.run_number == BackupRun.number)
        .join(BackupPolicy, BackupPolicy.id == PolicyRun.policy_id)
        .where(BackupRun.tenant_id == tenant_id, BackupRun.started_at <= until, PolicyRun.overran_at > since)
    )
    found = session.execute(query.order_by(BackupRun.number))
    return [f"run {number} of {name}: {overruns} left out" for number, name, overruns in found]


def _points(session: Session, tenant_id: str, *wanted: sa.ColumnElement[bool]) -> list[RestorePoint]:
    query = sa.select(RestorePoint).where(RestorePoint.tenant_id == tenant_id, *wanted)
    return list(session.scalars(query.order_by(RestorePoint.machine_name, RestorePoint.taken_at)))


def _grouped(tasks: Iterable[BackupTask]) -> list[str]:
    """A machine that failed every hour for the same reason is one line."""
    found = Counter((task.name, task.reason) for task in tasks)
    return [f"{name}: {reason}" + (f" ({count} times)" if count > 1 else "") for (name, reason), count in found.items()]


def _named(point: RestorePoint) -> str:
    return f"{point.machine_name} of {point.taken_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _lacking(row: reports.Lacking) -> str:
    latest = "never" if row.latest is None else f"last {row.latest.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{row.name} ({latest}): {row.reason}"


def subject(found: Digest) -> str:
    if not found.troubles:
        return f"Backup: nothing wrong, {found.counts['copied']} copies"
    return f"Backup: {found.troubles} thing(s) to look at, {found.counts['copied']} copies"


def text(found: Digest, since: datetime, until: datetime) -> str:
    span = f"From {since.astimezone(UTC):%Y-%m-%d %H:%M} to {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    lines = [f"{span} {found.counts['copied']} machine copies were made."]
    for heading, part in found.parts.items():
        lines += ["", f"{heading}:", *(f"- {line}" for line in part)]
    if not found.parts:
        lines.append("Nothing went wrong.")
    return "\n".join(lines)


def details(found: Digest, since: datetime, until: datetime) -> dict[str, Any]:
    return {
        "since": int(since.timestamp() * 1000),
        "until": int(until.timestamp() * 1000),
        "counts": found.counts,
        "parts": {heading: list(lines) for heading, lines in found.parts.items()},
    }
