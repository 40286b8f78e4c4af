"""Rhythms on the wall clocks of the world: nothing is lost and nothing comes twice when these, or the controller's own, jump."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.protection.backup import cron, schedule
from naos.protection.backup.errors import CronInvalid, TimeZoneUnknown, WindowInvalid
from naos.protection.rules import Schedule, Trigger

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
WALLS = (time(0), time(0, 30), time(1), time(2), time(2, 15), time(2, 30), time(3), time(23, 45))


@cache
def transitions() -> list[tuple[str, int]]:
    """Zone and second of every change of a clock from 2020 to 2035; zones that change alike are looked at once."""
    found, seen = [], set()
    weeks = [int(BEGIN.timestamp()) + 7 * 86400 * week for week in range(16 * 53)]
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        offsets = [datetime.fromtimestamp(second, zone).utcoffset() for second in weeks]
        changes = tuple(
            (_edge(zone, weeks[index], weeks[index + 1]), offsets[index], offsets[index + 1])
            for index in range(len(weeks) - 1)
            if offsets[index] != offsets[index + 1] and weeks[index + 1] <= END.timestamp()
        )
        if changes and changes not in seen:
            seen.add(changes)
            found.extend((name, second) for second, _, _ in changes)
    return found


def _edge(zone: ZoneInfo, low: int, high: int) -> int:
    new = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if datetime.fromtimestamp(middle, zone).utcoffset() == new else (middle, high)
    return high


def test_a_daily_run_comes_once_a_local_day_in_every_zone_whatever_its_clock_does() -> None:
    """Every zone of the database, every change of 2020 to 2035: once a day; in a gap at its end, in a fold the first time."""
    assert len(transitions()) > 500
    for name, second in transitions():
        zone, changed = ZoneInfo(name), datetime.fromtimestamp(second, UTC)
        first = changed.astimezone(zone).date() - timedelta(days=2)
        midnight = datetime.combine(first, time(0), zone).astimezone(UTC) - timedelta(seconds=1)
        for wall in WALLS:
            rhythm = cron.parse(f"{wall.minute} {wall.hour} * * *")
            due = schedule.due_between([rhythm], zone, midnight, midnight + timedelta(days=5, hours=6))[:5]
            assert len(due) == 5, (name, wall, due)
            for number, instant in enumerate(due):
                meant = datetime.combine(first + timedelta(days=number), wall)
                shown = instant.astimezone(zone)
                if shown.replace(tzinfo=None, fold=0) == meant:
                    assert shown.fold == 0, (name, "the first of two")
                else:
                    assert instant == changed, (name, wall, "at the end of the gap")
                    before = (instant - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
                    assert before < meant < shown.replace(tzinfo=None)


def test_every_quarter_of_an_hour_goes_by_the_time_that_passes() -> None:
    for name, second in transitions()[::20]:
        zone, changed = ZoneInfo(name), datetime.fromtimestamp(second, UTC)
        begin = changed.replace(minute=changed.minute // 15 * 15) - timedelta(hours=6, seconds=1)
        due = schedule.due_between([cron.parse("*/15 * * * *")], zone, begin, begin + timedelta(hours=12))
        assert len(due) == 48, name
        assert {after - before for before, after in pairwise(due)} == {timedelta(minutes=15)}, name


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("30 2 * * *", "2026-03-28T12:00", "2026-03-29T01:00"),  # Paris skips 02:30: at 03:00, its first instant
        ("30 2 * * *", "2026-10-24T12:00", "2026-10-25T00:30"),  # shows it twice: the first time
        ("30 2 * * *", "2026-10-25T00:30", "2026-10-26T01:30"),  # and not the second
        ("0 22 * * mon-fri", "2026-11-27T21:00", "2026-11-30T21:00"),
        ("0 0 1,15 * *", "2026-11-02T00:00", "2026-11-14T23:00"),
        ("0 0 L * *", "2028-02-02T00:00", "2028-02-28T23:00"),
        ("15 4 1 jan *", "2026-01-02T00:00", "2027-01-01T03:15"),
        ("0 3 13 * fri", "2026-11-07T00:00", "2026-11-13T02:00"),  # the 13th or a Friday
        ("0 0 29 2 *", "2028-03-01T00:00", "2032-02-28T23:00"),
        ("0 12 * * 7", "2026-11-26T00:00", "2026-11-29T11:00"),
        ("10-20/5 6 * * *", "2026-11-26T05:11", "2026-11-26T05:15"),
    ],
)
def test_cron(expression: str, after: str, due: str) -> None:
    found = schedule.next_due([cron.parse(expression)], PARIS, datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
        ),
        *("0 0 30 2 *", "0 0 31 4,6 *", "a * * * *", "1, * * * *", "* * * * * *", "@daily", "٣ * * * *", "0 0 1 L *"),
    ],
)
def test_what_is_no_rhythm_is_refused_in_words(expression: str) -> None:
    with pytest.raises(CronInvalid):
        cron.parse(expression)


def test_zones_and_windows_are_looked_at() -> None:
    for name in ("", "Mars/Phobos", "../etc/passwd", "/etc/localtime", "Europe"):
        with pytest.raises(TimeZoneUnknown):
            schedule.zone_of(name)
    for text in ("22:00", "22:00-22:00", "24:00-01:00", "9:00-10:00", "22:00-06:00 "):
        with pytest.raises(WindowInvalid):
            schedule.window_of(text)
    night = schedule.window_of("22:00-06:00")
    shown = {hour: night.holds(datetime(2026, 6, 1, hour, tzinfo=UTC), PARIS) for hour in (3, 4, 19, 20)}
    assert shown == {3: True, 4: False, 19: False, 20: True}


@pytest.mark.parametrize(
    ("trigger", "frequency", "days"),
    [
        (Trigger.DAILY, 3, ["2026-01-31", "2026-02-03", "2026-02-06", "2026-02-09"]),
        (Trigger.WEEKLY, 2, ["2026-01-31", "2026-02-14", "2026-02-28", "2026-03-14"]),
        (Trigger.MONTHLY, 1, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]),
        (Trigger.MONTHLY, 3, ["2026-01-31", "2026-04-30", "2026-07-31", "2026-10-31"]),
    ],
)
def test_schedules_of_the_wire(trigger: Trigger, frequency: int, days: list[str]) -> None:
    """The hour stays that of the activation on the wall, summer and winter."""
    begin = datetime(2026, 1, 31, 21, 15, tzinfo=UTC)
    rhythm = schedule.rhythm_of(Schedule(trigger, frequency, 30, begin), PARIS)
    due = schedule.due_between([rhythm], PARIS, begin - timedelta(days=5), begin + timedelta(days=300))[:4]
    assert [instant.astimezone(PARIS).isoformat()[:16] for instant in due] == [f"{day}T22:15" for day in days]


# ------------------------------------------------------------------------------------------------------------- decisions

NIGHTLY = [cron.parse("30 2 * * *")]


def _looks(jumps: list[int]) -> Iterator[datetime]:
    """What a clock shows, minute by minute of a day and a half, which is put forward or back by so many minutes in between."""
    shown = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    for jump in [*jumps, 0]:
        for _ in range(0, 36 * 60 // (len(jumps) + 1), 5):
            yield shown
            shown += timedelta(minutes=5)
        shown += timedelta(minutes=jump)


@given(st.lists(st.integers(-180, 180), max_size=4))
def test_a_clock_that_is_put_right_neither_loses_nor_doubles_a_run(jumps: list[int]) -> None:
    handled, runs, seen = datetime(2026, 3, 28, 12, tzinfo=UTC), [], []
    for now in _looks(jumps):
        seen.append(now)
        decision = schedule.decide(NIGHTLY, PARIS, handled=handled, now=now, busy=False, open_now=True)
        handled = decision.handled
        if decision.run is not None:
            runs.append(decision.run)
    meant = schedule.due_between(NIGHTLY, PARIS, min(seen) - timedelta(seconds=1), max(seen))
    assert len(runs) == len(set(runs)), "none twice"
    assert set(runs) == set(meant), "none lost"


def test_what_passed_unseen_is_made_up_for_once() -> None:
    handled = datetime(2026, 6, 1, 12, tzinfo=UTC)
    decision = schedule.decide(
        NIGHTLY, PARIS, handled=handled, now=handled + timedelta(days=9), busy=False, open_now=True
    )
    assert decision == schedule.Decision(
        datetime(2026, 6, 10, 0, 30, tzinfo=UTC), datetime(2026, 6, 10, 0, 30, tzinfo=UTC), 8
    )


def test_a_clock_that_was_a_year_ahead_is_not_waited_for() -> None:
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    ahead = schedule.decide(NIGHTLY, PARIS, handled=now, now=now + timedelta(days=365), busy=False, open_now=True)
    back = schedule.decide(NIGHTLY, PARIS, handled=ahead.handled, now=now, busy=False, open_now=True)
    assert back == schedule.Decision(None, now)
    tomorrow = schedule.decide(NIGHTLY, PARIS, handled=now, now=now + timedelta(days=1), busy=False, open_now=True)
    assert tomorrow.run == datetime(2026, 6, 2, 0, 30, tzinfo=UTC)


def test_an_overrun_is_counted_and_a_closed_window_waits() -> None:
    handled, now = datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 2, 12, tzinfo=UTC)
    busy = schedule.decide(NIGHTLY, PARIS, handled=handled, now=now, busy=True, open_now=True)
    assert (busy.run, busy.missed) == (None, 1)
    closed = schedule.decide(NIGHTLY, PARIS, handled=handled, now=now, busy=False, open_now=False)
    assert closed == schedule.Decision(None, handled)


def test_the_words_of_the_wire_for_a_cron_expression() -> None:
    words = {
        "30 2 * * *": (Trigger.DAILY, 1),
        "0 * * * *": (Trigger.DAILY, 1),
        "0 1 * * sat": (Trigger.WEEKLY, 1),
        "0 1 * * mon-fri": (Trigger.DAILY, 1),
        "0 1 1 * *": (Trigger.MONTHLY, 1),
        "0 1 1 */3 *": (Trigger.MONTHLY, 3),
        "0 1 1 1 *": (Trigger.MONTHLY, 12),
    }
    assert {expression: schedule.trigger_of(cron.parse(expression)) for expression in words} == words


def test_a_day_has_its_times_in_order() -> None:
    assert cron.parse("30,0 8-10/2 * * *").times(date(2026, 1, 1)) == [time(8), time(8, 30), time(10), time(10, 30)]
