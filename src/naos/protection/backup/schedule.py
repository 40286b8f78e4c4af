"""When a policy's runs are due: wall times in the policy's own time zone, brought to instants. Pure.

A rhythm means the clock on the wall. A time that the clock skips (spring) is due at the first instant after the gap; one that it
shows twice (autumn) is due the first time. A rhythm that comes in every hour ("every 15 minutes") goes by the time that passes
instead: it has nothing to do in a gap, and comes again in the repeated hour.
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from naos.protection.backup.cron import Cron
from naos.protection.backup.errors import TimeZoneUnknown, WindowInvalid
from naos.protection.rules import Schedule, Trigger

_DAY = timedelta(days=1)
_HORIZONS = tuple(timedelta(days=days) for days in (2, 9, 33, 400, 3000))
_WINDOW = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$")
CLOCK_ERROR = timedelta(hours=26)
"""A clock that was ahead by less has its runs made already when it is set right; one that was ahead by more is not believed."""


class Rhythm(Protocol):
    """`times`: wall times of a local day. steady: see the module."""

    @property
    def steady(self) -> bool: ...
    def times(self, day: date) -> list[time]: ...


@dataclass(frozen=True)
class Every:
    """Every `frequency` days, weeks or months, counted from the local `anchor`; a month without that day has it on its last."""

    trigger: Trigger
    frequency: int
    anchor: datetime
    steady: bool = False

    def times(self, day: date) -> list[time]:
        begin = self.anchor.date()
        if day < begin:
            return []
        if self.trigger is Trigger.MONTHLY:
            months = (day.year - begin.year) * 12 + day.month - begin.month
            meant = min(begin.day, calendar.monthrange(day.year, day.month)[1])
            due = months % self.frequency == 0 and day.day == meant
        else:
            days = self.frequency * (7 if self.trigger is Trigger.WEEKLY else 1)
            due = (day - begin).days % days == 0
        return [self.anchor.time()] if due else []


def rhythm_of(schedule: Schedule, zone: ZoneInfo) -> Every:
    """A schedule in the words of the wire: the time of day is that of its activation, in the policy's zone."""
    anchor = schedule.activate_at.astimezone(zone).replace(tzinfo=None, microsecond=0)
    return Every(schedule.trigger, schedule.frequency, anchor)


def zone_of(name: str) -> ZoneInfo:
    """Raises TimeZoneUnknown."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise TimeZoneUnknown(name) from None


def instants_of(wall: datetime, zone: ZoneInfo, *, steady: bool) -> list[datetime]:
    """When the wall clock of a zone shows `wall` (naive), in UTC."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return [first, second] if steady and second > first else [first]
    return [] if steady else [_end_of_gap(second, first, zone)]


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the new offset, between one of the old and one of the new."""
    new = after.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == new:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


def due_between(rhythms: Sequence[Rhythm], zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """The instants that are due after `after` and not after `until`, in order, each once."""
    if until <= after:
        return []
    found: set[datetime] = set()
    for day in _days(after.astimezone(zone).date() - 2 * _DAY, until.astimezone(zone).date() + _DAY):
        for rhythm in rhythms:
            for moment in rhythm.times(day):
                found.update(instants_of(datetime.combine(day, moment), zone, steady=rhythm.steady))
    return sorted(instant for instant in found if after < instant <= until)


def next_due(rhythms: Sequence[Rhythm], zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first instant after `after`; None when there is none within years."""
    begin = after
    for horizon in _HORIZONS:
        found = due_between(rhythms, zone, begin, after + horizon)
        if found:
            return found[0]
        begin = after + horizon
    return None


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += _DAY


# ------------------------------------------------------------------------------------------------------ what to do about it


@dataclass(frozen=True)
class Decision:
    """run: the instant that a run is to be begun for, None for nothing. handled: up to where everything is decided.
    missed: how many instants were due and get no run of their own."""

    run: datetime | None
    handled: datetime
    missed: int = 0


def decide(
    rhythms: Sequence[Rhythm], zone: ZoneInfo, *, handled: datetime, now: datetime, busy: bool, open_now: bool
) -> Decision:
    """What a look at a policy's clock leads to.

    Of several instants that have passed unseen (the controller was down, the clock jumped) one run makes up for all. While a run
    is under way, what becomes due is missed: it is an overrun. Outside of the window what is due waits for the window. A clock
    that went back finds its instants handled, so that nothing runs twice; one that had been wildly ahead is not waited for.
    """
    if handled > now + CLOCK_ERROR:
        return Decision(None, now)
    due = due_between(rhythms, zone, handled, now)
    if not due:
        return Decision(None, handled)
    if busy:
        return Decision(None, due[-1], len(due))
    if not open_now:
        return Decision(None, handled)
    return Decision(due[-1], due[-1], len(due) - 1)


@dataclass(frozen=True)
class Window:
    """Between two wall times; over midnight when it ends before it begins."""

    begin: time
    end: time

    def holds(self, instant: datetime, zone: ZoneInfo) -> bool:
        wall = instant.astimezone(zone).time()
        if self.begin < self.end:
            return self.begin <= wall < self.end
        return wall >= self.begin or wall < self.end


def window_of(text: str) -> Window:
    """``22:00-06:00``. Raises WindowInvalid."""
    match = _WINDOW.match(text)
    if match is None or match.group(1, 2) == match.group(3, 4):
        raise WindowInvalid(text)
    hours = [int(group) for group in match.groups()]
    return Window(time(hours[0], hours[1]), time(hours[2], hours[3]))


def is_open(window: Window | None, instant: datetime, zone: ZoneInfo) -> bool:
    return window is None or window.holds(instant, zone)


def trigger_of(cron: Cron) -> tuple[Trigger, int]:
    """The wire's words for a cron expression, as near as they come: they know days, weeks and months only."""
    everyday = len(cron.weekdays) == 7 and len(cron.days) == 31
    if everyday and len(cron.months) == 12:
        return Trigger.DAILY, 1
    if len(cron.weekdays) < 7 and len(cron.days) == 31:
        return (Trigger.DAILY, 1) if len(cron.weekdays) > 1 else (Trigger.WEEKLY, 1)
    return Trigger.MONTHLY, max(12 // len(cron.months), 1)
