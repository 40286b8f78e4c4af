"""Figures of volumes and disks over time: what is kept, how windows are merged, and what a window means a second."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from naos.engines.ports import LATENCY_BOUNDS_NS, IoCounters
from naos.storage.models import VolumeFigure

PERIOD = 10
"""Seconds between two looks, and of the finest windows."""
KEPT = {PERIOD: timedelta(hours=2), 60: timedelta(days=2), 900: timedelta(days=90)}
"""Seconds of a window -> how long such windows are kept: at most 720, 2,880 and 8,640 rows for a volume or disk."""
FRESH = timedelta(seconds=45)
"""Older figures are not of now."""
LATELY = timedelta(hours=1)
"""How far back `lately` looks."""
POINTS = 1500
"""The most windows that one answer holds."""
_COARSER = {60: PERIOD, 900: 60}


@dataclass(frozen=True)
class Work:
    """What was done in `seconds`; see VolumeFigure."""

    seconds: float
    reads: int = 0
    writes: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    nanoseconds: int = 0
    latencies: tuple[int, ...] = ()
    device_operations: int | None = None
    device_bytes: int | None = None
    device_nanoseconds: int | None = None

    @property
    def requests(self) -> int:
        return self.reads + self.writes


# ---------------------------------------------------------------------------------------------------------------- rules


def since(before: IoCounters | None, now: IoCounters, seconds: float) -> Work:
    """What was done between two looks; counters that stand lower have begun anew, so all of theirs is new.

    Nothing without a look before.
    """
    if before is None:
        return Work(seconds)
    names = ("reads", "writes", "read_bytes", "write_bytes", "nanoseconds")
    anew = any(getattr(now, name) < getattr(before, name) for name in names)
    earlier = IoCounters(0, 0, 0, 0, 0) if anew else before
    return Work(
        seconds,
        reads=now.reads - earlier.reads,
        writes=now.writes - earlier.writes,
        read_bytes=now.read_bytes - earlier.read_bytes,
        write_bytes=now.write_bytes - earlier.write_bytes,
        nanoseconds=now.nanoseconds - earlier.nanoseconds,
        latencies=_less(now.latencies, earlier.latencies),
    )


def together(parts: Iterable[Work], seconds: float | None = None) -> Work:
    """The sum of several works; `seconds`: when they were done beside each other, else one followed the other."""
    found = list(parts)
    return Work(
        seconds=sum(part.seconds for part in found) if seconds is None else seconds,
        reads=sum(part.reads for part in found),
        writes=sum(part.writes for part in found),
        read_bytes=sum(part.read_bytes for part in found),
        write_bytes=sum(part.write_bytes for part in found),
        nanoseconds=sum(part.nanoseconds for part in found),
        latencies=tuple(map(sum, zip(*(part.latencies for part in found if part.latencies), strict=True))),
        device_operations=_known(part.device_operations for part in found),
        device_bytes=_known(part.device_bytes for part in found),
        device_nanoseconds=_known(part.device_nanoseconds for part in found),
    )


def quantile(latencies: Sequence[int], share: float) -> float | None:
    """Seconds within which this share of the requests was answered, to within one class (a factor of 1.42).

    None without requests. Requests above the last bound count as just that.
    """
    total = sum(latencies)
    if total == 0:
        return None
    wanted, passed = share * total, 0
    for number, count in enumerate(latencies):
        if count and passed + count >= wanted:
            low = LATENCY_BOUNDS_NS[number - 1] if number else 0
            high = LATENCY_BOUNDS_NS[number] if number < len(LATENCY_BOUNDS_NS) else low
            return (low + (high - low) * (wanted - passed) / count) / 1e9
        passed += count
    return LATENCY_BOUNDS_NS[-1] / 1e9


def window(moment: datetime, resolution: int) -> datetime:
    """The beginning of the window in which a moment lies."""
    return datetime.fromtimestamp(moment.timestamp() // resolution * resolution, UTC)


def resolution_for(begin: datetime, end: datetime, now: datetime) -> int:
    """The finest windows that are still kept from `begin` on and make no more than POINTS of them."""
    for resolution, kept in KEPT.items():
        if begin >= now - kept and (end - begin).total_seconds() <= resolution * POINTS:
            return resolution
    return max(KEPT)


def _less(now: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    if len(now) != len(before):
        return now
    return tuple(max(one - other, 0) for one, other in zip(now, before, strict=True))


def _known(values: Iterable[int | None]) -> int | None:
    found = [value for value in values if value is not None]
    return sum(found) if found else None


# --------------------------------------------------------------------------------------------------------------- tables


def work_of(row: VolumeFigure) -> Work:
    values = {field.name: getattr(row, field.name) for field in fields(Work)}
    return Work(**values | {"latencies": tuple(row.latencies)})


def record(session: Session, moment: datetime, found: Mapping[str, Work]) -> None:
    """Keep a look at these volumes and disks, by id. A second look within the window is added to the first."""
    at = window(moment, PERIOD)
    present = {row.object_id: row for row in _rows(session, PERIOD, at, at + timedelta(seconds=PERIOD))}
    for object_id, work in found.items():
        row = present.get(object_id)
        _keep(session, object_id, PERIOD, at, work if row is None else together([work_of(row), work]), row)


def condense(session: Session, moment: datetime) -> None:
    """Make the coarser windows that have ended by `moment`, as far back as the finer ones reach, and drop what is too old.

    A window without a row for a disk counts as one in which nothing was asked of it.
    """
    for resolution, finer in _COARSER.items():
        end = window(moment, resolution)
        last = session.scalar(sa.select(sa.func.max(VolumeFigure.at)).where(VolumeFigure.resolution == resolution))
        begin = moment - KEPT[finer] if last is None else last + timedelta(seconds=resolution)
        if window(begin, resolution) < end:
            _condense(session, resolution, _rows(session, finer, window(begin, resolution), end))
    for resolution, kept in KEPT.items():
        old = sa.delete(VolumeFigure).where(VolumeFigure.resolution == resolution, VolumeFigure.at < moment - kept)
        session.execute(old)


def series(session: Session, object_id: str, resolution: int, begin: datetime, end: datetime) -> list[VolumeFigure]:
    """By time; the newest POINTS of them."""
    query = (
        sa.select(VolumeFigure)
        .where(
            VolumeFigure.object_id == object_id,
            VolumeFigure.resolution == resolution,
            VolumeFigure.at >= window(begin, resolution),
            VolumeFigure.at <= end,
        )
        .order_by(VolumeFigure.at.desc())
        .limit(POINTS)
    )
    return list(session.scalars(query))[::-1]


def newest(
    session: Session, objects: sa.Select[Any] | sa.CompoundSelect[Any], now: datetime
) -> dict[str, VolumeFigure]:
    """The last look at volumes and disks, by id; a disk of which nothing was asked is not in it. Empty when it is too old.

    objects: selects their ids.
    """
    last = (
        sa.select(sa.func.max(VolumeFigure.at))
        .where(VolumeFigure.resolution == PERIOD, VolumeFigure.at >= now - FRESH)
        .scalar_subquery()
    )
    rows = session.scalars(
        sa.select(VolumeFigure).where(
            VolumeFigure.resolution == PERIOD, VolumeFigure.at == last, VolumeFigure.object_id.in_(objects)
        )
    )
    return {row.object_id: row for row in rows}


def lately(session: Session, objects: Collection[str], now: datetime) -> dict[str, tuple[int, float]]:
    """Requests of volumes and disks in the last hour, and the seconds of it in which they were counted, by id: one statement.

    A disk is counted in the windows in which something was asked of it.
    """
    row = VolumeFigure
    query = (
        sa.select(row.object_id, sa.func.sum(row.reads + row.writes), sa.func.sum(row.seconds))
        .where(row.resolution == 60, row.at >= now - LATELY, row.object_id.in_(objects))
        .group_by(row.object_id)
    )
    return {str(object_id): (int(count), float(seconds)) for object_id, count, seconds in session.execute(query)}


def _rows(session: Session, resolution: int, begin: datetime, end: datetime) -> list[VolumeFigure]:
    query = sa.select(VolumeFigure).where(
        VolumeFigure.resolution == resolution, VolumeFigure.at >= begin, VolumeFigure.at < end
    )
    return list(session.scalars(query))


def _condense(session: Session, resolution: int, rows: Sequence[VolumeFigure]) -> None:
    by_window: dict[datetime, dict[str, list[Work]]] = {}
    for row in rows:
        by_window.setdefault(window(row.at, resolution), {}).setdefault(row.object_id, []).append(work_of(row))
    for at, objects in by_window.items():
        merged = {object_id: together(works) for object_id, works in objects.items()}
        covered = max(work.seconds for work in merged.values())
        for object_id, work in merged.items():
            idle = work.device_operations is None  # a disk; of a volume every look is kept
            _keep(session, object_id, resolution, at, together([work], covered) if idle else work, None)


def _keep(
    session: Session, object_id: str, resolution: int, at: datetime, work: Work, row: VolumeFigure | None
) -> None:
    values = {field.name: getattr(work, field.name) for field in fields(Work)} | {"latencies": list(work.latencies)}
    if row is None:
        session.add(VolumeFigure(object_id=object_id, resolution=resolution, at=at, **values))
    else:
        for name, value in values.items():
            setattr(row, name, value)
