"""What snapshots hold over time, and what is to be said of it. Sizes in bytes.

A snapshot costs nothing when it is taken. From then on each block that the guest writes anew stays for its sake, and so it grows until it
is deleted. It is looked at every few minutes, and a point an hour is kept.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from naos.activity import Engine
from naos.activity.watch import Watch
from naos.engines.errors import EngineError
from naos.lifecycle import Lifecycle
from naos.settings import Settings
from naos.storage.models import Disk, Lun, LunSample, Snapshot, SnapshotDisk, SnapshotPoint
from naos.storage.space_rules import slope
from naos.units import size_text
from naos.world import World

PERIOD_SECONDS = 300.0
KEPT = timedelta(days=30)
SMALLEST = 64 * 2**20
"""Bytes below which a snapshot is not large, however full its volume is."""
_log = structlog.get_logger()


@dataclass(frozen=True)
class Growth:
    """held: bytes at the last look, 0 before the first one (`measured_at` is None then). points: of each hour, the oldest first.
    per_day: bytes, None while less than an hour of it is known. warnings: sentences."""

    held: int
    measured_at: datetime | None
    points: Sequence[tuple[datetime, int]]
    per_day: int | None
    warnings: Sequence[str]


def warnings(
    name: str, created_at: datetime, held: int, frees: Mapping[str, int], now: datetime, *, days: int, percent: int
) -> list[str]:
    """What is to be said of a snapshot's age and size. frees: bytes that are free on its volumes, by their names. days, percent: from
    which age on, and from which share of the least free space on; 0 for never."""
    said = []
    age = (now - created_at).days
    if days and now - created_at >= timedelta(days=days):
        said.append(
            f"Snapshot {name} is {age} days old; from {days} days on it is thought forgotten: delete it if it is not needed."
        )
    if percent and frees and held >= SMALLEST:
        volume = min(frees, key=lambda key: frees[key])
        if held * 100 >= frees[volume] * percent:
            said.append(
                f"Snapshot {name} holds {size_text(held)} while {size_text(frees[volume])} are free on volume {volume}: "
                f"{percent} % of that or more. Delete it, or grow the volume."
            )
    return said


def of(session: Session, rows: Collection[Snapshot], settings: Settings) -> dict[str, Growth]:
    """By snapshot's id; three statements for any number."""
    ids, now = [row.id for row in rows], datetime.now(UTC)
    points: dict[str, list[SnapshotPoint]] = {}
    query = sa.select(SnapshotPoint).where(SnapshotPoint.snapshot_id.in_(ids)).order_by(SnapshotPoint.at)
    for point in session.scalars(query):
        points.setdefault(point.snapshot_id, []).append(point)
    frees: dict[str, dict[str, int]] = {}
    lying = (
        sa.select(SnapshotDisk.snapshot_id, Lun.name, LunSample.free)
        .join(Disk, Disk.id == SnapshotDisk.disk_id)
        .join(Lun, Lun.id == Disk.lun_id)
        .join(LunSample, LunSample.lun_id == Lun.id)
        .where(SnapshotDisk.snapshot_id.in_(ids), LunSample.measured_at.is_not(None))
    )
    for snapshot_id, volume, free in session.execute(lying):
        frees.setdefault(snapshot_id, {})[volume] = free
    found = {}
    for row in rows:
        mine = points.get(row.id, [])
        held = mine[-1].held if mine else 0
        line = [(row.created_at, 0), *((point.measured_at, point.held) for point in mine)]
        growth = slope(line)
        limits = {"days": settings.snapshot_days, "percent": settings.snapshot_percent}
        found[row.id] = Growth(
            held,
            mine[-1].measured_at if mine else None,
            [(point.at, point.held) for point in mine],
            None if growth is None else max(round(growth), 0),
            warnings(row.name, row.created_at, held, frees.get(row.id, {}), now, **limits),
        )
    return found


def note(session: Session, held: Mapping[str, int], now: datetime) -> None:
    """Keep what snapshots were seen to hold as the hour's points; those that are gone meanwhile are left out."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    present = set(session.scalars(sa.select(Snapshot.id).where(Snapshot.id.in_(held))))
    for snapshot_id in present:
        point = session.get(SnapshotPoint, (snapshot_id, hour))
        if point is None:
            session.add(SnapshotPoint(snapshot_id=snapshot_id, at=hour, held=held[snapshot_id], measured_at=now))
        else:
            point.held, point.measured_at = held[snapshot_id], now
    session.execute(sa.delete(SnapshotPoint).where(SnapshotPoint.at < now - KEPT))


class SnapshotWatch(Watch):
    """Looks at what every snapshot holds; an array or a volume that does not answer keeps its snapshots' last points."""

    name = "snapshot watch"

    def __init__(self, world: World, engine: Engine, *, period: float = PERIOD_SECONDS) -> None:
        super().__init__(engine, period)
        self._world = world

    def look(self) -> None:
        """One round, a volume at a time: a look is reading on the array, and nobody waits for it."""
        query = (
            sa.select(Lun.id, Lun.array, Disk.id, SnapshotDisk.snapshot_id)
            .join(Disk, Disk.lun_id == Lun.id)
            .join(SnapshotDisk, SnapshotDisk.disk_id == Disk.id)
            .join(Snapshot, Snapshot.id == SnapshotDisk.snapshot_id)
            .where(Lun.lifecycle == Lifecycle.ACTIVE, Snapshot.lifecycle == Lifecycle.ACTIVE)
        )
        wanted: dict[tuple[str, str], set[str]] = {}
        lying: dict[str, set[str]] = {}  # snapshot id -> volumes
        with self._world.database.read() as session:
            for lun_id, array, disk_id, snapshot_id in session.execute(query):
                wanted.setdefault((lun_id, array), set()).add(disk_id)
                lying.setdefault(snapshot_id, set()).add(lun_id)
        found: dict[str, int] = {}
        silent: set[str] = set()
        for (lun_id, array), disk_ids in wanted.items():
            if self.is_stopping():
                return
            try:
                held = self._world.rack.array(array).held_by_snapshots(lun_id, sorted(disk_ids))
            except EngineError as error:
                _log.info("snapshot_watch.silent", volume=lun_id, reason=str(error))
                silent.add(lun_id)
                continue
            for snapshot_id, size in held.items():
                found[snapshot_id] = found.get(snapshot_id, 0) + size
        whole = {snapshot_id: size for snapshot_id, size in found.items() if not lying.get(snapshot_id, set()) & silent}
        if whole:
            with self._world.database.write() as session:
                note(session, whole, datetime.now(UTC))
