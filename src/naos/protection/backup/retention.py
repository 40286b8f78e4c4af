"""Which restore points a policy keeps: days, weeks, months and years, counted where there are points. Pure.

Counting goes by the days (weeks, ...) that have a good point, not by the calendar: while backups fail nothing ages away, and a
clock that jumped a year ahead costs one day of what is kept, not a year.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from naos.protection.backup.errors import KeepInvalid, KeepNothing
from naos.protection.rules import Schedule, Trigger

LONGEST = {"days": 3660, "weeks": 520, "months": 120, "years": 10}
LONGEST_IMMUTABLE = 3660
"""Days."""


@dataclass(frozen=True)
class Keep:
    """days: every point of the latest so many days that have one. weeks, months, years: the newest of each of the latest so many."""

    days: int = 0
    weeks: int = 0
    months: int = 0
    years: int = 0

    @property
    def longest(self) -> int:
        """About how many days the oldest point is kept."""
        return max(self.days, self.weeks * 7, self.months * 31, self.years * 366)


@dataclass(frozen=True)
class Kept:
    """A point as retention looks at it. good: complete, and not found damaged. immutable_until: nobody deletes it before."""

    id: str
    taken_at: datetime
    good: bool = True
    immutable_until: datetime | None = None


def check(keep: Keep, immutable: int) -> None:
    """Raises KeepInvalid, KeepNothing."""
    for what, most in LONGEST.items():
        wanted = getattr(keep, what)
        if not 0 <= wanted <= most:
            raise KeepInvalid(what, wanted, 0, most)
    if not any((keep.days, keep.weeks, keep.months, keep.years)):
        raise KeepNothing
    if not 0 <= immutable <= LONGEST_IMMUTABLE:
        raise KeepInvalid("days of immutability", immutable, 0, LONGEST_IMMUTABLE)


def keep_of(schedules: Iterable[Schedule]) -> Keep:
    """What schedules in the words of the wire, which know days only, keep: those of a weekly one in whole weeks, of a monthly one
    in whole months of 30 days."""
    days = weeks = months = 0
    for schedule in schedules:
        if schedule.trigger is Trigger.DAILY:
            days = max(days, schedule.retention)
        elif schedule.trigger is Trigger.WEEKLY:
            weeks = max(weeks, -(-schedule.retention // 7))
        else:
            months = max(months, -(-schedule.retention // 30))
    return Keep(days=days, weeks=weeks, months=months)


def _week(day: date) -> tuple[int, int]:
    return day.isocalendar()[:2]


def _month(day: date) -> tuple[int, int]:
    return day.year, day.month


def _year(day: date) -> tuple[int, int]:
    return day.year, 0


_PERIODS: Mapping[str, Callable[[date], tuple[int, int]]] = {"weeks": _week, "months": _month, "years": _year}


def reasons(points: Sequence[Kept], keep: Keep, zone: ZoneInfo) -> dict[str, list[str]]:
    """By id of each point that is kept, what for: days, weeks, months, years, or `last`, the newest good one."""
    good = sorted((point for point in points if point.good), key=lambda point: (point.taken_at, point.id), reverse=True)
    days = {point.id: point.taken_at.astimezone(zone).date() for point in good}
    found: dict[str, list[str]] = {}
    latest = sorted(set(days.values()), reverse=True)[: keep.days]
    for point in good:
        if days[point.id] in latest:
            found.setdefault(point.id, []).append("days")
    for what, period in _PERIODS.items():
        newest: dict[tuple[int, int], str] = {}
        for point in good:
            newest.setdefault(period(days[point.id]), point.id)
        for key in sorted(newest, reverse=True)[: getattr(keep, what)]:
            found.setdefault(newest[key], []).append(what)
    if good:
        found.setdefault(good[0].id, []).append("last")
    return found


def expired(points: Sequence[Kept], keep: Keep, zone: ZoneInfo, now: datetime) -> list[str]:
    """Ids of the points that may go, the oldest first.

    The newest good point is never among them, nor one that is immutable yet. One that was found damaged goes when a good one
    that is newer has been taken.
    """
    kept = reasons(points, keep, zone)
    good = [point.taken_at for point in points if point.good]
    going = []
    for point in sorted(points, key=lambda point: (point.taken_at, point.id)):
        fixed = point.immutable_until is not None and point.immutable_until > now
        alone = not point.good and not any(taken > point.taken_at for taken in good)
        if point.id not in kept and not fixed and not alone:
            going.append(point.id)
    return going
