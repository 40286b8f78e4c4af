"""Replicated volumes as the API shows them."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from naos.protection.replication import replications, rules
from naos.protection.replication.models import LunReplication
from naos.protection.replication.rules import Health
from naos.protection.replication.wire import (
    LastPoint,
    Limits,
    LimitWindow,
    PointUnderWay,
    RecoveryPoint,
    ReplicatedVolume,
    Replication,
)
from naos.storage.models import Lun
from naos.units import size_text


def replication(session: Session, row: LunReplication, now: datetime) -> Replication:
    """One row, with the age of its last point at this moment."""
    since = None if row.running_since is None else max(now - row.running_since, timedelta())
    reached = rules.age(row.instant, now)
    health = rules.health(row.instant, now, took=timedelta(seconds=row.took), running_for=since)
    return Replication(
        id=row.id,
        mode="asynchronous",
        status=row.lifecycle,
        source=_volume(session, row.lun_id),
        replica=_volume(session, row.replica_id),
        health=health,
        recovery_point=RecoveryPoint(
            rpo_promised=rules.PROMISE.total_seconds(),
            rpo_achieved=None if reached is None else reached.total_seconds(),
            point_id=row.point_id,
            instant=row.instant,
        ),
        running=None if since is None else _under_way(row, since.total_seconds()),
        last=None if row.instant is None else LastPoint(seconds=row.took, bytes=row.travelled),
        limits=_limits(row, now),
        failure=row.failure or None,
        alarm_since=row.alarmed_at,
        alarm=_alarm(health, row, reached, now),
    )


def _under_way(row: LunReplication, seconds: float) -> PointUnderWay:
    assert row.running_since is not None  # noqa: S101 - callers look
    rate = row.done / seconds if seconds > 0 else 0.0
    left = (row.total - row.done) / rate if rate > 0 else None
    return PointUnderWay(since=row.running_since, done=row.done, total=row.total, rate=rate, left=left)


def _limits(row: LunReplication, now: datetime) -> Limits:
    windows = [LimitWindow(window=window, speed=speed) for window, speed in row.windows.items()]
    held = replications.pace(row).at(now)
    return Limits(speed=row.speed, windows=windows, time_zone=row.time_zone, now=held)


def _alarm(health: Health, row: LunReplication, reached: timedelta | None, now: datetime) -> str | None:
    if reached is None or health in (Health.FIRST, Health.KEPT):
        return None
    held = replications.pace(row).at(now)
    limit = "" if held is None else f", held to {size_text(held)} a second"
    why = row.failure or f"the last point took {row.took:.0f} s and the volume changes faster than that{limit}"
    minutes, promised = reached.total_seconds() / 60, rules.PROMISE.total_seconds() / 60
    verb = "is" if health == Health.BROKEN else "will be"
    return f"The last complete point is {minutes:.1f} minutes old; the promise of {promised:.0f} {verb} broken: {why}"


def _volume(session: Session, lun_id: str) -> ReplicatedVolume:
    lun = session.get(Lun, lun_id)
    if lun is None:
        return ReplicatedVolume(id=lun_id, name="", zone="", storage_class="", capacity=0)
    return ReplicatedVolume(
        id=lun.id, name=lun.name, zone=lun.zone, storage_class=lun.storage_class, capacity=lun.capacity
    )
