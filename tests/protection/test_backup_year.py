"""A year of a policy in virtual time: its clock, a controller that is away at times, copies that fail, what is let go after each."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from naos.protection.backup import cron, retention, schedule
from naos.protection.backup.retention import Keep, Kept

ZONES = (
    "UTC",
    "Europe/Paris",
    "America/Santiago",  # its clocks change at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Casablanca",  # twice around Ramadan
    "Asia/Kathmandu",
    "America/St_Johns",
)
RHYTHMS = ("30 2 * * *", "0 0 * * *", "0 */6 * * *", "45 23 * * mon-fri", "0 1 * * sun")
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
LOOK = timedelta(hours=6)


def _by_the_table(points: Sequence[Kept], keep: Keep, zone: ZoneInfo) -> set[str]:
    """What docs/reference/backup.md says is kept, word by word."""
    dated = sorted((point.taken_at.astimezone(zone), point.id) for point in points)

    def newest(periods: Iterable[tuple[object, list[str]]], count: int) -> set[str]:
        """Of each of the latest so many periods that have one."""
        return {names[-1] for _, names in list(periods)[-count:]} if count else set()

    def grouped(key: str) -> list[tuple[object, list[str]]]:
        found = groupby(dated, lambda entry: entry[0].strftime(key))
        return [(name, [point for _, point in entries]) for name, entries in found]

    days = {point for _, names in (grouped("%Y-%m-%d")[-keep.days :] if keep.days else []) for point in names}
    periods = newest(grouped("%G-%V"), keep.weeks) | newest(grouped("%Y-%m"), keep.months)
    return days | periods | newest(grouped("%Y"), keep.years) | ({dated[-1][1]} if dated else set())


def _away(now: datetime, outages: Sequence[tuple[int, int]]) -> bool:
    day = (now - BEGIN).days
    return any(first <= day < first + length for first, length in outages)


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(RHYTHMS),
    st.builds(Keep, *(st.integers(0, most) for most in (20, 9, 13, 2))).filter(lambda keep: keep != Keep()),
    st.lists(st.tuples(st.integers(0, 364), st.integers(1, 25)), max_size=4),
    st.sets(st.dates(date(2025, 1, 1), date(2025, 12, 31)), max_size=40),
)
def test_a_year_keeps_exactly_what_the_table_says(
    name: str, expression: str, keep: Keep, outages: list[tuple[int, int]], failing: set[date]
) -> None:
    zone, rhythms = ZoneInfo(name), [cron.parse(expression)]
    handled, now = BEGIN, BEGIN
    every: list[Kept] = []
    held: list[Kept] = []
    ran: list[datetime] = []
    while now < BEGIN + timedelta(days=366):
        now += LOOK
        if _away(now, outages):
            continue
        decision = schedule.decide(rhythms, zone, handled=handled, now=now, busy=False, open_now=True)
        handled = decision.handled
        if decision.run is None:
            continue
        ran.append(decision.run)
        if now.astimezone(zone).date() in failing:
            continue
        point = Kept(f"{len(ran):04}", now)
        every.append(point)
        held.append(point)
        going = retention.expired(held, keep, zone, now)
        held = [point for point in held if point.id not in going]
        assert held, "the last good one is always there"
    assert len(ran) == len(set(ran)), "none twice"
    due = schedule.due_between(rhythms, zone, BEGIN, now)
    assert set(ran) <= set(due)
    seen = [instant for instant in due if not any(_away(instant + LOOK * part, outages) for part in (0, 1))]
    if "*/" not in expression:
        assert set(seen) <= set(ran), "none lost while the controller was there"
    assert {point.id for point in held} == _by_the_table(every, keep, zone)
