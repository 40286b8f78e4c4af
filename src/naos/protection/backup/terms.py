"""The terms of a policy: when it runs, what it keeps, how it copies. Kept in a row that is made when it is first needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from naos.protection import policies
from naos.protection.backup import cron, retention, schedule
from naos.protection.backup.models import BackupPlan
from naos.protection.backup.retention import Keep
from naos.protection.backup.schedule import Rhythm, Window
from naos.protection.errors import NoBackupFixed
from naos.protection.models import BackupPolicy, BackupSchedule
from naos.protection.rules import Schedule, Trigger


class Quiesce(StrEnum):
    """auto: the guest's file systems are put to rest when its agent can, and the point says whether they were. required: no point
    without. off: the agent is not asked."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


@dataclass(frozen=True)
class Wish:
    """What a client says of a policy's terms; None: as it is, or the default."""

    time_zone: str | None = None
    cron: str | None = None
    keep: Keep | None = None
    immutable_days: int | None = None
    window: str | None = None
    quiesce: Quiesce | None = None
    speed: int | None = None
    verify_days: int | None = None
    boot_days: int | None = None
    in_clear: bool | None = None


@dataclass(frozen=True)
class Terms:
    """What a policy's row and schedules say, read."""

    zone: ZoneInfo
    rhythms: Sequence[Rhythm]
    keep: Keep
    immutable_days: int
    window: Window | None
    quiesce: Quiesce
    speed: int | None
    verify_days: int
    boot_days: int
    in_clear: bool

    def next_due(self, after: datetime) -> datetime | None:
        return schedule.next_due(self.rhythms, self.zone, after)


def storing(session: Session, tenant_id: str, policy_id: str) -> BackupPolicy:
    """A policy of the tenant that stores something. Raises Unknown, NoBackupFixed."""
    policy = policies.find(session, tenant_id, policy_id)
    if policy.zone is None:
        raise NoBackupFixed("changed")
    return policy


def schedules_of(rows: Sequence[BackupSchedule]) -> list[Schedule]:
    return [Schedule(Trigger(row.trigger), row.frequency, row.retention, row.activate_at) for row in rows]


def read(session: Session, policy: BackupPolicy) -> Terms:
    """The terms of a policy that stores something."""
    row = session.get(BackupPlan, policy.id)
    schedules = schedules_of(policies.schedules_of(session, [policy.id])[policy.id])
    return of(row if row is not None else _first(policy, schedules), schedules)


def of(row: BackupPlan, schedules: Sequence[Schedule]) -> Terms:
    zone = schedule.zone_of(row.time_zone)
    rhythms: list[Rhythm] = [cron.parse(row.cron)] if row.cron else []
    return Terms(
        zone=zone,
        rhythms=rhythms or [schedule.rhythm_of(entry, zone) for entry in schedules],
        keep=Keep(row.keep_days, row.keep_weeks, row.keep_months, row.keep_years),
        immutable_days=row.immutable_days,
        window=schedule.window_of(row.window) if row.window else None,
        quiesce=Quiesce(row.quiesce),
        speed=row.speed or None,
        verify_days=row.verify_days,
        boot_days=row.boot_days,
        in_clear=row.in_clear,
    )


def row_of(session: Session, policy: BackupPolicy) -> BackupPlan:
    """The row, made when it is not there, to be written to: a policy begins to be due when it is first seen."""
    row = session.get(BackupPlan, policy.id)
    if row is None:
        row = _first(policy, schedules_of(policies.schedules_of(session, [policy.id])[policy.id]))
        session.add(row)
        session.flush()
    return row


def _first(policy: BackupPolicy, schedules: Sequence[Schedule]) -> BackupPlan:
    keep = retention.keep_of(schedules)
    return BackupPlan(
        policy_id=policy.id,
        time_zone="UTC",
        cron=None,
        keep_days=keep.days,
        keep_weeks=keep.weeks,
        keep_months=keep.months,
        keep_years=keep.years,
        immutable_days=0,
        window="",
        quiesce=Quiesce.AUTO.value,
        speed=0,
        verify_days=30,
        boot_days=0,
        in_clear=False,
        handled_until=datetime.now(UTC),
        overruns=0,
        overran_at=None,
    )


def change(session: Session, policy: BackupPolicy, wish: Wish) -> BackupPlan:
    """Raises TimeZoneUnknown, CronInvalid, KeepInvalid, KeepNothing, WindowInvalid."""
    row = row_of(session, policy)
    if wish.time_zone is not None:
        schedule.zone_of(wish.time_zone)
        row.time_zone = wish.time_zone
    if wish.cron is not None:
        if wish.cron:
            cron.parse(wish.cron)
        row.cron = wish.cron or None
    if wish.window is not None:
        if wish.window:
            schedule.window_of(wish.window)
        row.window = wish.window
    if wish.keep is not None:
        row.keep_days, row.keep_weeks = wish.keep.days, wish.keep.weeks
        row.keep_months, row.keep_years = wish.keep.months, wish.keep.years
    for name in ("immutable_days", "speed", "verify_days", "boot_days", "in_clear"):
        value = getattr(wish, name)
        if value is not None:
            setattr(row, name, value)
    if wish.quiesce is not None:
        row.quiesce = wish.quiesce.value
    retention.check(Keep(row.keep_days, row.keep_weeks, row.keep_months, row.keep_years), row.immutable_days)
    return row
