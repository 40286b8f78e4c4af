"""How full a cpool is, and what presses its guests."""

from datetime import UTC, datetime, timedelta

import pytest

from naos.compute.pressure import Pressed, Pressure
from naos.compute.sampling import Look, steal, swapping
from naos.fleet.models import Cpool
from naos.inventory.catalogues import load_blades
from naos.units import GIB

MODEL = load_blades(None).models["ECO v3"]
NOW = datetime(2026, 5, 8, tzinfo=UTC)


def _pressure(given: list[int], *, enabled: int = 100, points: list[int] | None = None, over: int = 0) -> Pressure:
    """Machines of so many GiB, half of it touched. points: GiB, a day apart, the last one now. over: GiB that each takes beyond."""
    machines = [
        Pressed(str(n), f"m{n}", "b1", 2, size * GIB, (size + over if over else size // 2) * GIB, 100, 0, 0, 0)
        for n, size in enumerate(given)
    ]
    days = [(NOW - timedelta(days=len(points or ()) - 1 - n), size * GIB) for n, size in enumerate(points or ())]
    cpool = Cpool(name="web", memory=enabled * GIB, vcpu_rate=400, memory_overcommit=100)
    return Pressure(cpool, MODEL, 2, machines, days)


def test_four_figures_of_memory() -> None:
    found = _pressure([20, 40], over=1)
    assert (found.allocated, found.given, found.consumed) == (100 * GIB, 60 * GIB, 60 * GIB)
    assert (found.consumed_on_blades, found.worst_case) == (62 * GIB, 62 * GIB)
    light = _pressure([20, 40])
    assert (light.consumed, light.consumed_on_blades, light.worst_case) == (30 * GIB, 30 * GIB, 60 * GIB)
    assert (light.vcpus, light.vcpu_limit) == (4, 20 * 4 * 2)


@pytest.mark.parametrize(
    ("given", "points", "days"),
    [
        ([76], [73, 74, 75, 76], 9.0),  # 9 GiB are left up to 85 of 100, at one a day
        ([80], [74, 76, 78, 80], 2.5),
        ([40], [40, 40, 40], None),
        ([40], [60, 50, 40], None),
        ([40], [40], None),
        ([90], [40, 60, 90], 0.0),
    ],
)
def test_days_until_the_warning_at_this_weeks_growth(given: list[int], points: list[int], days: float | None) -> None:
    assert _pressure(given, points=points).days_until_warning == days


def test_steal_and_swapping_are_what_grew_between_two_looks() -> None:
    before, now = Look(10.0, 0, 5 * 10**8, 2**20), Look(20.0, 0, 3 * 10**9, 11 * 2**20)
    assert (steal(before, now), swapping(before, now)) == (25, 2**20)
    assert (steal(None, now), swapping(None, now)) == (0, 0)
    assert (steal(now, Look(30.0, 0, 10, 10)), swapping(now, Look(30.0, 0, 10, 10))) == (0, 0)  # started anew
