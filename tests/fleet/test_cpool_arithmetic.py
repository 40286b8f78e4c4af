"""The arithmetic of cpools: memory that is enabled, rates, warnings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.fleet import rules
from naos.fleet.errors import PoolSetting, PoolShrink
from naos.units import GIB

FLOOR, PHYSICAL = 128 * GIB, 384 * GIB


def _bounds(blades: int) -> tuple[int, int]:
    return blades * FLOOR, blades * PHYSICAL


@given(blades=st.integers(1, 31), more=st.integers(0, 256), count=st.integers(1, 4))
def test_what_is_enabled_stays_between_the_bounds_as_blades_come_and_go(blades: int, more: int, count: int) -> None:
    floor, ceiling = _bounds(blades)
    enabled = min(floor + more * blades * GIB, ceiling)
    after_floor, after_ceiling = _bounds(blades + count)
    joined = rules.joined_memory(enabled, before=blades, count=count, floor=after_floor, ceiling=after_ceiling)
    assert after_floor <= joined <= after_ceiling
    assert joined - after_floor == enabled - floor  # what was ordered beyond the included memory stays as it was
    left = joined
    for number in range(blades + count, blades, -1):
        low, high = _bounds(number - 1)
        left = rules.left_memory(left, before=number, floor=low, ceiling=high)
        assert low <= left <= high
    assert left == enabled


def test_a_blade_that_leaves_takes_no_more_than_there_can_be() -> None:
    floor, ceiling = _bounds(1)
    assert rules.left_memory(2 * PHYSICAL, before=2, floor=floor, ceiling=ceiling) == PHYSICAL


@pytest.mark.parametrize(("rate", "limit"), [(None, None), (100, 20), (400, 80), (150, 30), (5, 1)])
def test_vcpus_of_a_blade_of_20_cores(rate: int | None, limit: int | None) -> None:
    rules.check_vcpu_rate("web", rate, cores=20)
    assert rules.vcpu_limit(20, rate) == limit


@pytest.mark.parametrize("rate", [0, 4, -1, 6401])
def test_rates_that_make_no_sense(rate: int) -> None:
    with pytest.raises(PoolSetting, match="vCPU"):
        rules.check_vcpu_rate("web", rate, cores=20)


@pytest.mark.parametrize(("wanted", "fine"), [(99, False), (100, True), (200, True), (201, False)])
def test_over_commit_of_memory(wanted: int, *, fine: bool) -> None:
    if fine:
        rules.check_overcommit("web", wanted)
    else:
        with pytest.raises(PoolSetting):
            rules.check_overcommit("web", wanted)


def test_a_refused_shrinking_names_the_largest_machines_first() -> None:
    machines = [(f"m{number:02}", number * GIB) for number in range(1, 13)]
    with pytest.raises(PoolShrink) as refusal:
        rules.check_remaining("web", "The memory", allowed=GIB, used=78 * GIB, machines=machines)
    assert "m12 (12 GiB), m11 (11 GiB)" in str(refusal.value)
    assert "and 2 more" in str(refusal.value)
    rules.check_remaining("web", "The memory", allowed=78 * GIB, used=78 * GIB, machines=machines)


@pytest.mark.parametrize(
    ("used", "status"), [(0, None), (850, None), (851, "yellow"), (950, "yellow"), (951, "red"), (1000, "red")]
)
def test_the_warning_comes_above_85_percent(used: int, status: str | None) -> None:
    assert rules.alarm(used=used, enabled=1000) == status
