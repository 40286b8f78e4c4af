"""Cron expressions: five fields, read once, and asked for the times of a day. Nothing here knows of zones or clocks."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from functools import lru_cache

from naos.protection.backup.errors import CronInvalid

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name.lower(): (number + 1) % 7 for number, name in enumerate(calendar.day_abbr)}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _WEEKDAYS),
)
_LAST = "l"


@dataclass(frozen=True)
class Cron:
    """minutes, hours, days, months, weekdays (0 is Sunday): what each field allows. last: the month's last day too.

    steady: it comes in every hour, so it goes by the hours that pass, not by those that the clock shows.
    either: both kinds of day are named; one of them is enough, as cron has always had it.
    """

    minutes: Sequence[int]
    hours: Sequence[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    last: bool
    steady: bool
    either: bool

    def times(self, day: date) -> list[time]:
        """The wall times of a day, in order; none when the day is not meant."""
        if day.month not in self.months or not self._means(day):
            return []
        return [time(hour, minute) for hour in self.hours for minute in self.minutes]

    def _means(self, day: date) -> bool:
        is_last = self.last and day.day == calendar.monthrange(day.year, day.month)[1]
        by_number = day.day in self.days or is_last
        by_name = day.isoweekday() % 7 in self.weekdays
        return by_number or by_name if self.either else by_number and by_name

    @property
    def a_day(self) -> int:
        """How many times a day it comes, on days that it means."""
        return len(self.hours) * len(self.minutes)


@lru_cache(maxsize=1024)
def parse(expression: str) -> Cron:
    """`minute hour day month weekday`, each ``*``, a number, a name (jan, mon), ``a-b``, ``*/n``, ``a-b/n`` or a list of
    these with commas; ``L`` is the last day of the month. Raises CronInvalid."""
    words = expression.lower().split()
    if len(words) != len(_FIELDS):
        raise CronInvalid(expression, f"it has {len(words)} fields, and five are wanted")
    last = _LAST in words[2].split(",")
    if last:
        words[2] = ",".join(part for part in words[2].split(",") if part != _LAST)
    found = [
        _field(expression, word, *field) if word else frozenset[int]()
        for word, field in zip(words, _FIELDS, strict=True)
    ]
    minutes, hours, days, months, weekdays = found
    made = Cron(
        minutes=sorted(minutes),
        hours=sorted(hours),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        last=last,
        steady=words[1] in {"*", "*/1"},
        either=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    longest = max(29 if month == 2 else 30 if month in {4, 6, 9, 11} else 31 for month in months)
    if not last and not made.either and not any(number <= longest for number in days):
        raise CronInvalid(expression, "no month that it names has such a day")
    return made


def _field(expression: str, word: str, what: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    chosen: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(expression, step_text, f"step of the {what}", 1, most, {}) if slash else 1
        if span == "*":
            first, until = least, most if what != "day of the week" else 6
        else:
            begin, dash, end = span.partition("-")
            first = _number(expression, begin, what, least, most, names)
            until = _number(expression, end, what, least, most, names) if dash else most if slash else first
        if until < first:
            raise CronInvalid(expression, f"{span} of the {what} goes backwards")
        chosen.update(range(first, until + 1, step))
    return frozenset(chosen)


def _number(expression: str, text: str, what: str, least: int, most: int, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdecimal() and len(text) < 4) or not least <= int(text) <= most:
        raise CronInvalid(expression, f"{text or 'nothing'} is no {what}, which is {least} to {most}")
    return int(text)
