"""How much a tenant may have in vaults: a limit, alarms on the way to it, and a forecast."""

from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.protection.backup import points
from naos.protection.backup.errors import QuotaReached
from naos.protection.backup.models import BackupQuota, BackupSpace
from naos.protection.notices import outbox
from naos.protection.notices.rules import Event
from naos.storage import space_rules
from naos.units import size_text

KEPT = timedelta(days=90)
_log = structlog.get_logger()


def check(session: Session, tenant_id: str, machine: str) -> None:
    """Raises QuotaReached when the tenant has all that it may have already; a copy that is under way is let come to its end."""
    row = session.get(BackupQuota, tenant_id)
    if row is not None and (used := points.used(session, tenant_id)) >= row.size:
        raise QuotaReached(machine, size_text(used), size_text(row.size))


def watch(session: Session, tenant_id: str, now: datetime) -> None:
    """Keep today's use, and trigger or clear the alarm."""
    session.flush()
    used = points.used(session, tenant_id)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    sample = session.get(BackupSpace, (tenant_id, day))
    if sample is None:
        session.add(BackupSpace(tenant_id=tenant_id, at=day, used=used))
        session.execute(sa.delete(BackupSpace).where(BackupSpace.tenant_id == tenant_id, BackupSpace.at < now - KEPT))
    else:
        sample.used = used
    row = session.get(BackupQuota, tenant_id)
    if row is None:
        return
    level = space_rules.level(used, row.size, row.alarm)
    if level != row.alarm:
        row.alarm, row.alarm_since = level, (row.alarm_since if level and row.alarm else now) if level else None
        _log.warning("backup.space_alarm", tenant=tenant_id, level=level or "cleared", used=used, quota=row.size)
        said = f"{size_text(used)} of {size_text(row.size)} in vaults are used"
        subject = f"Backup space: {level}, {said}" if level else f"Backup space: no alarm any more, {said}"
        outbox.tell(session, tenant_id, Event.QUOTA, subject, f"{said}.", alarm=level, used=used, quota=row.size)


def change(session: Session, tenant_id: str, size: int | None, now: datetime) -> None:
    """Set the limit in bytes, or take it away."""
    row = session.get(BackupQuota, tenant_id)
    if size is None:
        if row is not None:
            session.delete(row)
        return
    if row is None:
        row = BackupQuota(tenant_id=tenant_id, size=size, alarm="", alarm_since=None)
        session.add(row)
    row.size = size
    watch(session, tenant_id, now)


def days_left(session: Session, tenant_id: str) -> float | None:
    """Until the limit is reached at the slope of the last weeks; None without a limit, or when it does not grow."""
    row = session.get(BackupQuota, tenant_id)
    if row is None:
        return None
    query = sa.select(BackupSpace).where(BackupSpace.tenant_id == tenant_id).order_by(BackupSpace.at)
    history = [(sample.at, sample.used) for sample in session.scalars(query)]
    return space_rules.days_until_full(history, max(row.size - points.used(session, tenant_id), 0))
