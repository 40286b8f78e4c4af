"""What may be replicated, when the next point is due, and what the age of the last one means: pure functions of plain values."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from naos.protection.replication.errors import (
    ClassNotReplicated,
    EncryptedVolume,
    ModeUnknown,
    SynchronousEnded,
    ZoneNotFit,
)

ASYNCHRONOUS, SYNCHRONOUS = "asynchronous", "synchronous"
PROMISE = timedelta(minutes=15)
"""The age that the last complete point never reaches."""
OFFERED_IOPS = (500, 1500, 3000)
"""Operations a second per To of the classes whose volumes are replicated."""
INTERVAL = timedelta(seconds=15)
"""From the beginning of a point to that of the next, when they are quick: no point is older than this and the time of a copy."""
REST = timedelta(seconds=2)
LONGEST_PATIENCE = timedelta(minutes=1)
_RESERVE = 0.5
"""Of the promise: what must be left when the alarm is given, for people to do something."""


class Health(StrEnum):
    """FIRST: the first copy is under way, and nothing is promised yet. ENDANGERED: the promise will be broken unless something
    changes. BROKEN: it is."""

    FIRST = "first copy"
    KEPT = "kept"
    ENDANGERED = "endangered"
    BROKEN = "broken"


def check_mode(mode: str) -> None:
    """Raises SynchronousEnded, ModeUnknown."""
    if mode == SYNCHRONOUS:
        raise SynchronousEnded(int(PROMISE.total_seconds()) // 60)
    if mode != ASYNCHRONOUS:
        raise ModeUnknown(mode)


def offered(classes: Mapping[str, int | None]) -> list[str]:
    """classes: operations per To by name. Names of those that are replicated, slowest first."""
    found = [(iops, name) for name, iops in classes.items() if iops in OFFERED_IOPS]
    return [name for _, name in sorted(found)]


def check_class(name: str, storage_class: str, classes: Mapping[str, int | None]) -> None:
    """Raises ClassNotReplicated."""
    if classes.get(storage_class) not in OFFERED_IOPS:
        raise ClassNotReplicated(name, storage_class, ", ".join(offered(classes)))


def check_clear(name: str, *, encrypted: bool) -> None:
    """Raises EncryptedVolume."""
    if encrypted:
        raise EncryptedVolume(name)


def check_zone(
    name: str, zone: str, target: str, regions: Mapping[str, Sequence[str]], with_array: Collection[str]
) -> None:
    """regions: zones by region. Raises ZoneNotFit unless the target is another zone of the region, with an array."""
    mine = next((zones for zones in regions.values() if zone in zones), ())
    fit = [other for other in mine if other != zone and other in with_array]
    if target in fit:
        return
    if target == zone:
        reason = "a copy in the same zone is lost with it"
    elif target not in mine:
        reason = "it is of another region, and the copy would be too far to be in time"
    else:
        reason = "it has no array"
    raise ZoneNotFit(name, zone, target, reason, ", ".join(fit) or "none")


def age(instant: datetime | None, now: datetime) -> timedelta | None:
    """Of the last complete point: from the beginning of its copy, never from its end. A clock that was set back makes none younger
    than nothing."""
    return None if instant is None else max(now - instant, timedelta())


def health(instant: datetime | None, now: datetime, *, took: timedelta, running_for: timedelta | None) -> Health:
    """took: how long the last copy did; running_for: how long the present one has been under way, None for none.

    The alarm comes when half of the promise is gone, or earlier: when a copy as long as the last one, or as the present one is
    already, would not be complete in time.
    """
    reached = age(instant, now)
    if reached is None:
        return Health.FIRST
    if reached >= PROMISE:
        return Health.BROKEN
    expected = took
    if running_for is not None:
        expected = max(took - running_for, timedelta())
    if reached >= PROMISE * _RESERVE or reached + expected >= PROMISE:
        return Health.ENDANGERED
    return Health.KEPT


def next_start(began: datetime | None, ended: datetime | None, failures: int) -> datetime | None:
    """When the next point is due; None for at once. began, ended: of the last attempt."""
    if began is None or ended is None:
        return None
    if failures:
        return ended + min(REST * (1 << min(failures, 10)), LONGEST_PATIENCE)
    return max(began + INTERVAL, ended + REST)
