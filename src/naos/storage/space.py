"""The space of volumes over time: figures, alarms and policies, in the tables."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.storage import space_rules
from naos.storage.models import (
    Disk,
    Lun,
    LunSample,
    SnapshotMemory,
    SpacePoint,
    SwapFile,
    VolumePolicy,
    WaitingMachine,
)
from naos.storage.space_errors import InMaintenance, Overcommitted, SnapshotRoom
from naos.units import size_text

KEPT = timedelta(days=14)
"""How far the present slope looks back."""
ENOUGH = 64 * 2**20
"""Bytes that are free where a guest that waits for space may go on."""
_log = structlog.get_logger()


@dataclass(frozen=True)
class Promises:
    """What is promised of a volume, in bytes. disks: with the memory that snapshots hold. waiting: machines that stand still for want
    of space there. points: what was used, by hour."""

    disks: int
    swap: int
    policy: VolumePolicy
    waiting: int
    points: Sequence[tuple[datetime, int]]

    @property
    def reserve(self) -> int:
        """Of the emergency reserve, what is kept now."""
        return 0 if self.policy.released else self.policy.reserve

    @property
    def provisioned(self) -> int:
        return self.disks + self.swap + self.reserve


def defaults(lun_id: str) -> VolumePolicy:
    """What is set where nothing was set."""
    return VolumePolicy(
        lun_id=lun_id, headroom=10, snapshots="warn", reserve=0, released=False, maintenance=False, alarm=""
    )


def policy_of(session: Session, lun_id: str) -> VolumePolicy:
    """Not to be written to; see `changed`."""
    return session.get(VolumePolicy, lun_id) or defaults(lun_id)


def changed(session: Session, lun_id: str) -> VolumePolicy:
    """The row, made when it is not there, to be written to."""
    row = session.get(VolumePolicy, lun_id)
    if row is None:
        row = defaults(lun_id)
        session.add(row)
    return row


def check_open(session: Session, lun: Lun) -> None:
    """Raises InMaintenance."""
    if policy_of(session, lun.id).maintenance:
        raise InMaintenance(lun.name)


def check_promise(session: Session, lun: Lun, size: int) -> None:
    """Whether disks of so many bytes more may be promised on the volume, by its policy. Raises Overcommitted."""
    percent = policy_of(session, lun.id).overcommitment
    if percent is None:
        return
    provisioned = promises(session, [lun.id])[lun.id].provisioned
    if (provisioned + size) * 100 > lun.capacity * percent:
        raise Overcommitted.of(lun.name, size=size, provisioned=provisioned, capacity=lun.capacity, percent=percent)


def note_waiting(session: Session, machine_id: str, lun_ids: Collection[str]) -> None:
    """The machine stands still for want of space on these volumes; none: it does not."""
    held = set(session.scalars(sa.select(WaitingMachine.lun_id).where(WaitingMachine.machine_id == machine_id)))
    gone = held - set(lun_ids)
    if gone:
        mine = WaitingMachine.machine_id == machine_id
        session.execute(sa.delete(WaitingMachine).where(mine, WaitingMachine.lun_id.in_(gone)))
    session.add_all(WaitingMachine(machine_id=machine_id, lun_id=lun_id) for lun_id in set(lun_ids) - held)


def waiting(session: Session) -> set[str]:
    """Ids of all machines that stand still for want of space."""
    return set(session.scalars(sa.select(WaitingMachine.machine_id)))


def promises(session: Session, lun_ids: Collection[str]) -> Mapping[str, Promises]:
    """By id of the volume; six statements for any number."""
    disks, swaps, memories = (
        {
            str(lun_id): int(size)
            for lun_id, size in session.execute(
                sa.select(table.lun_id, sa.func.sum(column)).where(table.lun_id.in_(lun_ids)).group_by(table.lun_id)
            )
        }
        for table, column in (
            (Disk, Disk.capacity),
            (SwapFile, SwapFile.size),
            (SnapshotMemory, SnapshotMemory.capacity),
        )
    )
    policies = {
        row.lun_id: row for row in session.scalars(sa.select(VolumePolicy).where(VolumePolicy.lun_id.in_(lun_ids)))
    }
    standing = (
        sa.select(WaitingMachine.lun_id, sa.func.count())
        .where(WaitingMachine.lun_id.in_(lun_ids))
        .group_by(WaitingMachine.lun_id)
    )
    waiting = {str(lun_id): int(count) for lun_id, count in session.execute(standing)}
    points: dict[str, list[tuple[datetime, int]]] = {}
    query = sa.select(SpacePoint).where(SpacePoint.lun_id.in_(lun_ids)).order_by(SpacePoint.at)
    for point in session.scalars(query):
        points.setdefault(point.lun_id, []).append((point.at, point.used))
    return {
        lun_id: Promises(
            disks.get(lun_id, 0) + memories.get(lun_id, 0),
            swaps.get(lun_id, 0),
            policies.get(lun_id) or defaults(lun_id),
            waiting.get(lun_id, 0),
            points.get(lun_id, ()),
        )
        for lun_id in lun_ids
    }


def watch(session: Session, lun: Lun, used: int, now: datetime) -> None:
    """Keep what was measured as the hour's point, and trigger or clear the alarm."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    point = session.get(SpacePoint, (lun.id, hour))
    if point is None:
        session.add(SpacePoint(lun_id=lun.id, at=hour, used=used))
        session.execute(sa.delete(SpacePoint).where(SpacePoint.lun_id == lun.id, SpacePoint.at < now - KEPT))
    elif point.used != used:
        point.used = used
    before = policy_of(session, lun.id).alarm
    level = space_rules.level(used, lun.capacity, before)
    if level != before:
        row = changed(session, lun.id)
        row.alarm, row.alarm_since = level, (row.alarm_since if level and before else now) if level else None
        _log.warning("volume.space_alarm", volume=lun.name, level=level or "cleared", used=used, capacity=lun.capacity)


def alarm_text(lun: Lun, sample: LunSample, promised: Promises) -> str:
    """The sentence of a triggered alarm."""
    share = sample.used * 100 // lun.capacity
    days = space_rules.days_until_full(promised.points, sample.free)
    when = f" At the present slope it is full in {days:g} days." if days is not None else ""
    return (
        f"Volume {lun.name} is {share} % full: {size_text(sample.free)} of {size_text(lun.capacity)} are free.{when} "
        "Grow it, delete what is not needed, or move disks to another volume."
        + (f" {promised.waiting} machine(s) stand still there until there is space." if promised.waiting else "")
        + (" Its emergency reserve can be released." if promised.waiting and promised.reserve else "")
    )


def short_of_headroom(session: Session, lun_ids: Collection[str]) -> list[tuple[Lun, VolumePolicy, int]]:
    """The volumes with less free space than their policy wants for snapshots, as measured last, and what is free there."""
    rows = session.execute(
        sa.select(Lun, LunSample)
        .join(LunSample, LunSample.lun_id == Lun.id)
        .where(Lun.id.in_(lun_ids), LunSample.measured_at.is_not(None))
        .order_by(Lun.name)
    )
    found = []
    for lun, sample in rows:
        policy = policy_of(session, lun.id)
        if policy.snapshots != "allow" and space_rules.is_short(sample.free, lun.capacity, policy.headroom):
            found.append((lun, policy, sample.free))
    return found


def check_snapshot(session: Session, lun_ids: Collection[str]) -> str:
    """What is to be said of the volumes' room for a snapshot, "" when there is enough. Raises SnapshotRoom by policy."""
    told = []
    for lun, policy, free in short_of_headroom(session, lun_ids):
        if policy.snapshots == "refuse":
            raise SnapshotRoom.of(lun.name, free=free, capacity=lun.capacity, percent=policy.headroom)
        told.append(f"volume {lun.name} has {size_text(free)} free, below the {policy.headroom} % recommended")
    return "; ".join(told)
