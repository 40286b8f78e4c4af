"""What is kept: tables, properties, and a year of runs against the table of the documentation."""

import re
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.protection.backup import retention
from naos.protection.backup.errors import KeepInvalid, KeepNothing
from naos.protection.backup.retention import Keep, Kept
from naos.protection.rules import Schedule, Trigger

PARIS = ZoneInfo("Europe/Paris")
PAGE = Path(__file__).parents[2] / "docs/reference/backup.md"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def _day(number: int, *, good: bool = True, **more: datetime) -> Kept:
    """A point of half past two so many days ago."""
    taken = datetime.combine(date(2026, 11, 26) - timedelta(days=number), time(2, 30), PARIS)
    return Kept(str(number), taken.astimezone(UTC), good, **more)


def _left(points: list[Kept], keep: Keep, now: datetime = NOW) -> list[str]:
    going = retention.expired(points, keep, PARIS, now)
    return [point.id for point in points if point.id not in going]


def test_a_year_of_nightly_runs_keeps_what_the_table_of_the_page_says() -> None:
    """Runs and expiry night after night, as the controller does it; not one look at the end."""
    rows = re.findall(
        r"^\| `(\d+)/(\d+)/(\d+)/(\d+)` \| (\d+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) >= 4
    for *numbers, count, listed in rows:
        keep = Keep(*map(int, numbers))
        points: list[Kept] = []
        day = date(2025, 1, 1)
        while day <= date(2025, 12, 31):
            taken = datetime.combine(day, time(2, 30), PARIS).astimezone(UTC)
            points.append(Kept(day.isoformat(), taken))
            going = retention.expired(points, keep, PARIS, taken + timedelta(hours=1))
            points = [point for point in points if point.id not in going]
            day += timedelta(days=1)
        assert [point.id[5:] for point in points] == _days_of(listed), keep
        assert len(points) == int(count)


def _days_of(listed: str) -> list[str]:
    """``01-31, 12-01 to 12-03``: month and day."""
    found = []
    for part in listed.split(", "):
        first, _, last = part.partition(" to ")
        day = date.fromisoformat(f"2025-{first}")
        while day <= date.fromisoformat(f"2025-{last or first}"):
            found.append(day.isoformat()[5:])
            day += timedelta(days=1)
    return found


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Keep(days=3), ["0", "1", "2"]),
        (Keep(weeks=2), ["0", "4"]),  # the 26th is a Thursday: the week before ended on the 22nd
        (Keep(days=1, weeks=1, months=2), ["0", "26"]),  # October's last
        (Keep(years=1), ["0"]),
        (Keep(days=200), [str(number) for number in range(40)]),
    ],
)
def test_kinds(keep: Keep, left: list[str]) -> None:
    assert _left([_day(number) for number in range(40)], keep) == left


def test_a_failed_night_counts_for_nothing_and_the_days_before_stay() -> None:
    """Retention by days that goes by the calendar deletes everything while backups fail."""
    points = [_day(number) for number in range(60, 64)]
    assert _left(points, Keep(days=3)) == ["60", "61", "62"]
    assert _left(points, Keep(days=3), NOW + timedelta(days=4000)) == ["60", "61", "62"]
    damaged = [_day(0, good=False), _day(1, good=False), _day(2), _day(3), _day(4)]
    assert _left(damaged, Keep(days=2)) == ["0", "1", "2", "3"], (
        "the newest, damaged or not, stay while nothing better is there"
    )
    assert _left([_day(0), _day(1, good=False), _day(2)], Keep(days=2)) == ["0", "2"]


def test_several_runs_of_one_day_are_one_day() -> None:
    hourly = [Kept(str(hour), NOW - timedelta(hours=hour)) for hour in range(72)]
    left = _left(hourly, Keep(days=2))
    assert left == [str(hour) for hour in range(38)], "14 hours of today, the 24 of yesterday"


def test_nobody_deletes_what_is_immutable() -> None:
    points = [_day(number, immutable_until=NOW + timedelta(days=1)) for number in range(5)]
    assert _left(points, Keep(days=1)) == ["0", "1", "2", "3", "4"]
    assert _left(points, Keep(days=1), NOW + timedelta(days=2)) == ["0"]


def test_numbers_are_looked_at() -> None:
    with pytest.raises(KeepNothing):
        retention.check(Keep(), 0)
    with pytest.raises(KeepInvalid):
        retention.check(Keep(days=-1, weeks=1), 0)
    with pytest.raises(KeepInvalid):
        retention.check(Keep(years=11), 0)
    with pytest.raises(KeepInvalid):
        retention.check(Keep(days=1), 9999)
    retention.check(Keep(days=1), 30)


def test_what_the_schedules_of_the_wire_keep() -> None:
    begin = NOW
    daily, weekly = Schedule(Trigger.DAILY, 1, 15, begin), Schedule(Trigger.WEEKLY, 1, 15, begin)
    monthly = Schedule(Trigger.MONTHLY, 1, 365, begin)
    assert retention.keep_of([daily]) == Keep(days=15)
    assert retention.keep_of([daily, weekly, monthly]) == Keep(days=15, weeks=3, months=13)


_points = st.lists(
    st.tuples(st.integers(0, 24 * 900), st.booleans(), st.booleans()),
    min_size=1,
    max_size=40,
    unique_by=lambda entry: entry[0],
).map(
    lambda entries: [
        Kept(str(hours), NOW - timedelta(hours=hours), good, NOW + timedelta(days=1) if fixed else None)
        for hours, good, fixed in entries
    ]
)
_keeps = st.builds(Keep, st.integers(0, 20), st.integers(0, 8), st.integers(0, 8), st.integers(0, 3))


@given(_points, _keeps)
def test_whatever_happened_the_last_good_point_is_there(points: list[Kept], keep: Keep) -> None:
    going = set(retention.expired(points, keep, PARIS, NOW))
    good = [point for point in points if point.good]
    if good:
        assert max(good, key=lambda point: point.taken_at).id not in going
    else:
        assert not going
    assert not any(point.immutable_until for point in points if point.id in going)
    left = [point for point in points if point.id not in going]
    assert retention.expired(left, keep, PARIS, NOW) == [], "one look is enough"


@given(_points, _keeps, st.integers(0, 20))
def test_keeping_more_never_keeps_less(points: list[Kept], keep: Keep, more: int) -> None:
    larger = Keep(keep.days + more, keep.weeks + more, keep.months, keep.years + more)
    assert set(retention.expired(points, larger, PARIS, NOW)) <= set(retention.expired(points, keep, PARIS, NOW))


@given(_points, _keeps)
def test_what_is_kept_tonight_was_not_given_away_before(points: list[Kept], keep: Keep) -> None:
    """Expiring after each run leaves the same as one look at all of them: nothing that is wanted later goes early."""
    good = [Kept(point.id, point.taken_at) for point in points]
    left: list[Kept] = []
    for point in sorted(good, key=lambda entry: entry.taken_at):
        left.append(point)
        going = retention.expired(left, keep, PARIS, NOW)
        left = [entry for entry in left if entry.id not in going]
    at_once = set(retention.expired(good, keep, PARIS, NOW))
    assert {point.id for point in left} == {point.id for point in good} - at_once
