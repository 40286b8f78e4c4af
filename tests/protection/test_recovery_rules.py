"""What recovery may do and what it needs, as tables."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.protection.recovery import rules
from naos.protection.recovery.errors import IntervalInvalid
from naos.protection.recovery.rules import Demand, Room, Turn

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE, HOUR = 60, 3600


@pytest.mark.parametrize(("seconds", "shortest", "fits"), [
    (HOUR, HOUR, True),
    (24 * HOUR, HOUR, True),
    (24 * HOUR + 1, HOUR, False),
    (HOUR - 1, HOUR, False),
    (MINUTE, MINUTE, True),
    (MINUTE - 1, MINUTE, False),
])  # fmt: skip
def test_intervals(seconds: int, shortest: int, fits: bool) -> None:
    if fits:
        rules.check_interval(seconds, shortest=shortest)
        return
    with pytest.raises(IntervalInvalid) as refused:
        rules.check_interval(seconds, shortest=shortest)
    assert str(shortest // MINUTE) in str(refused.value)
    assert "1440" in str(refused.value)


@pytest.mark.parametrize(("sent", "seconds", "interval", "said"), [
    (2**30, 10.0, HOUR, ""),
    (2**40, 0.8 * HOUR, HOUR, ""),
    (54 * 2**30, 0.9 * HOUR, HOUR, "took 54.0 of 60 min; every 68 min would hold"),
    (2**44, 30.0 * HOUR, 24 * HOUR, "no interval up to 24 h would hold"),
])  # fmt: skip
def test_a_machine_that_writes_too_fast_is_told_with_figures(
    sent: int, seconds: float, interval: int, said: str
) -> None:
    found = rules.pressure(sent=sent, seconds=seconds, interval=interval)
    assert bool(found) == bool(said)
    assert said in found


def test_the_rhythm_is_kept_and_not_made_up_for() -> None:
    assert rules.next_due(NOW, HOUR, NOW + timedelta(minutes=5)) == NOW + timedelta(hours=1)
    late = NOW + timedelta(hours=3)
    assert rules.next_due(NOW, HOUR, late) == late


@given(st.lists(st.uuids().map(str), unique=True, max_size=30), st.integers(0, 30))
def test_the_newest_points_stay_and_always_one(points: list[str], keep: int) -> None:
    going = rules.surplus(points, keep)
    left = [point for point in points if point not in going]
    assert left == points[len(points) - len(left) :]
    assert len(left) == min(len(points), max(keep, 1))


@given(
    st.lists(st.tuples(st.integers(1, 16), st.integers(1, 4)), max_size=12),
    st.lists(st.tuples(st.integers(0, 32), st.one_of(st.none(), st.integers(0, 8))), max_size=4),
)
def test_machines_that_are_placed_fit(wanted: list[tuple[int, int]], blades: list[tuple[int, int | None]]) -> None:
    demands = [Demand(f"vm-{number}", *size) for number, size in enumerate(wanted)]
    rooms = {f"blade-{number}": Room(*room) for number, room in enumerate(blades)}
    lost = rules.unplaced(demands, rooms)
    placed = [demand for demand in demands if demand.name not in lost]
    assert sum(demand.memory for demand in placed) <= sum(room.memory for room in rooms.values())
    if all(vcpus is not None for _, vcpus in blades):
        assert sum(demand.cpu for demand in placed) <= sum(room.vcpus or 0 for room in rooms.values())
    for demand in demands:
        if demand.name in lost:
            assert len(demands) > 1 or all(
                room.memory < demand.memory or (room.vcpus is not None and room.vcpus < demand.cpu)
                for room in rooms.values()
            )


def test_turns_follow_each_other() -> None:
    members = [Turn("c", 1, 0), Turn("b", 0, 30), Turn("a", 0, 0), Turn("d", 7, 0)]
    assert [[one.machine_id for one in group] for group in rules.turns(members)] == [["a", "b"], ["c"], ["d"]]


@pytest.mark.parametrize(("seconds", "said"), [
    (0.44, "0.4 s"), (12.0, "12 s"), (200.0, "3 min 20 s"), (4 * HOUR, "4 h"), (90 * MINUTE, "1 h 30 min"),
])  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert rules.duration(seconds) == said


def test_ages() -> None:
    assert rules.worst_age(None, NOW) is None
    assert rules.worst_age(NOW - timedelta(seconds=90), NOW) == 90
    assert rules.worst_age(NOW + timedelta(seconds=5), NOW) == 0  # a clock that was set back
