"""What is said of a volume's space: levels that do not flap, and the day on which it is full."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.storage.space_rules import CRITICAL, WARNING, days_until_full, is_short, level, slope

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def hours(*used: int) -> list[tuple[datetime, int]]:
    return [(BEGIN + timedelta(hours=number), bytes_) for number, bytes_ in enumerate(used)]


@pytest.mark.parametrize(
    ("used", "before", "expected"),
    [
        (69, "", ""),
        (70, "", WARNING),
        (69, WARNING, WARNING),
        (67, WARNING, ""),
        (89, WARNING, WARNING),
        (90, WARNING, CRITICAL),
        (89, CRITICAL, CRITICAL),
        (87, CRITICAL, WARNING),
        (67, CRITICAL, ""),
        (100, "", CRITICAL),
    ],
)
def test_a_level_begins_at_70_and_90_and_ends_two_points_below(used: int, before: str, expected: str) -> None:
    assert level(used, 100, before) == expected


@given(st.lists(st.integers(0, 100), max_size=40))
def test_a_use_that_moves_by_less_than_two_points_changes_the_level_once_at_most(noise: list[int]) -> None:
    for edge in (70, 90):
        levels, seen = [""], ""
        for one in noise:
            seen = level(edge * 100 - 99 + one, 10_000, seen)  # from a point below the edge to just over it
            levels.append(seen)
        assert sum(one != other for one, other in pairwise(levels)) <= (1 if edge == 70 else 2)


@pytest.mark.parametrize(
    ("used", "free", "expected"),
    [
        ((0,), 100, None),
        ((5, 5, 5), 100, None),
        ((9, 5, 1), 100, None),
        ((0, 10), 240, 1.0),
        (tuple(range(0, 240, 10)), 2400, 10.0),
        ((0, 20, 10, 30, 20, 40), 0, 0.0),
    ],
)
def test_days_until_full(used: tuple[int, ...], free: int, expected: float | None) -> None:
    assert days_until_full(hours(*used), free) == expected


@given(st.integers(1, 10**12), st.integers(-(10**9), 10**9), st.integers(2, 300))
def test_the_slope_of_a_straight_line_is_its_own(first: int, each: int, count: int) -> None:
    found = slope(hours(*(first + each * number for number in range(count))))
    assert found == pytest.approx(each * 24, rel=1e-6, abs=1e-3 * max(1.0, first / 1e6))


def test_less_than_an_hour_says_nothing() -> None:
    assert slope([(BEGIN, 0), (BEGIN + timedelta(minutes=59), 10**9)]) is None


@pytest.mark.parametrize(("free", "expected"), [(9, True), (10, False), (11, False)])
def test_headroom(free: int, expected: bool) -> None:
    assert is_short(free, 100, 10) is expected
