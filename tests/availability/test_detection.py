"""What becomes of a blade: tables of sights, and properties over a virtual clock."""

import ast
import inspect
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import naos.availability
from naos.availability import detection
from naos.availability.detection import LOST, Condition, Seen, Sight, Watch
from naos.engines.ports import BladePower

LOOK = 0.5


def watched(*stretches: tuple[float, Sight], frozen_after: int = 0) -> Condition:
    """What the blade is after these stretches: seconds, and what is seen all the while."""
    watch, now = Watch(), 0.0
    for seconds, sight in stretches:
        end = now + seconds
        while now < end:
            watch.judge(Sight(now, sight.answers, sight.array, sight.power, stuck=sight.stuck), frozen_after)
            now += LOOK
    return watch.condition


WELL = Sight(0, answers=True, array=Seen.REACHABLE)
GONE = Sight(0, answers=False, array=Seen.SILENT, power=BladePower.ON)
OFF = Sight(0, answers=False, array=Seen.SILENT, power=BladePower.OFF)
UNMANAGED = Sight(0, answers=False, array=Seen.TRAFFIC)
QUIET = Sight(0, answers=False, array=Seen.REACHABLE)
STUCK = Sight(0, answers=True, array=Seen.SILENT, stuck=True)
ALONE = Sight(0, answers=False, array=Seen.UNKNOWN)

OUTCOMES = [
    ("dead", [(10, WELL), (5, GONE)], Condition.DEAD),
    ("dead, and its chassis says so", [(10, WELL), (1.5, OFF)], Condition.DEAD),
    ("a stall of three seconds", [(10, WELL), (3, GONE), (1, WELL)], Condition.HEALTHY),
    ("a stall of three seconds, not over", [(10, WELL), (3.5, GONE)], Condition.SUSPECT),
    ("stalls, again and again", [(3, GONE), (0.5, WELL)] * 20, Condition.HEALTHY),
    ("one look that says off", [(10, WELL), (0.5, OFF)], Condition.SUSPECT),
    ("cut off from management", [(10, WELL), (3600, UNMANAGED)], Condition.UNMANAGED),
    ("libvirtd dead, guests idle", [(10, WELL), (3600, QUIET)], Condition.UNMANAGED),
    ("cut off from storage", [(10, WELL), (9, STUCK)], Condition.STORAGE_LOST),
    ("storage away for a moment", [(10, WELL), (6, STUCK), (1, WELL)], Condition.HEALTHY),
    ("the array cannot be asked", [(10, WELL), (3600, ALONE)], Condition.SUSPECT),
    ("off, but its guests write", [(3600, Sight(0, False, Seen.TRAFFIC, BladePower.OFF))], Condition.UNMANAGED),
    ("never seen by the array", [(3600, Sight(0, False, Seen.UNPROVEN, BladePower.ON))], Condition.SUSPECT),
    ("never seen by the array, and off", [(2, Sight(0, False, Seen.UNPROVEN, BladePower.OFF))], Condition.DEAD),
    ("off, its address answers", [(2, Sight(0, False, Seen.UNUSED, BladePower.OFF))], Condition.DEAD),
    ("its address answers alone", [(3600, Sight(0, False, Seen.UNUSED, BladePower.ON))], Condition.UNMANAGED),
    ("off, its guests have disks open", [(3600, Sight(0, False, Seen.REACHABLE, BladePower.OFF))], Condition.UNMANAGED),
    ("dead stays dead", [(5, GONE), (60, WELL)], Condition.DEAD),
    ("the controller's network alone", [(10, WELL), (600, ALONE), (10, WELL)], Condition.HEALTHY),
]


@pytest.mark.parametrize(("stretches", "wanted"), [row[1:] for row in OUTCOMES], ids=[row[0] for row in OUTCOMES])
def test_each_fault_has_its_outcome(stretches: list[tuple[float, Sight]], wanted: Condition) -> None:
    assert watched(*stretches) == wanted


def test_frozen_is_a_choice() -> None:
    """Nobody can tell a frozen blade from one whose guests are idle while libvirtd is dead, so naos does not guess."""
    assert watched((3600, QUIET)) == Condition.UNMANAGED
    assert watched((29, QUIET), frozen_after=30) == Condition.UNMANAGED
    assert watched((32, QUIET), frozen_after=30) == Condition.FROZEN
    assert watched((29, QUIET), (1, UNMANAGED), (29, QUIET), frozen_after=30) == Condition.UNMANAGED


def test_a_controller_that_slept_does_not_take_its_sleep_for_the_blades() -> None:
    watch = Watch()
    watch.judge(Sight(0.0, answers=True, array=Seen.REACHABLE))
    watch.judge(Sight(0.5, answers=False, array=Seen.SILENT))
    assert watch.judge(Sight(900.5, answers=False, array=Seen.SILENT)).condition == Condition.SUSPECT


def test_1_liveness_reads_no_wall_clock() -> None:
    """Row 1 of the complaints: a step of the wall clock makes no host look dead, as nothing here reads it."""
    for name in ("detection", "manager", "watching", "rules", "hung"):
        path = Path(inspect.getfile(naos.availability)).with_name(f"{name}.py")
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        attributes = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"datetime", "date"}
        assert "time" not in attributes


def one_witness() -> some.SearchStrategy[Sight]:
    """At least one witness speaks for the blade, or cannot be asked."""
    return some.one_of(
        some.builds(
            Sight,
            some.just(0.0),
            some.just(True),
            some.sampled_from(Seen),
            some.sampled_from([None, *BladePower]),
            stuck=some.just(False),
        ),
        some.builds(
            Sight,
            some.just(0.0),
            some.just(False),
            some.sampled_from([Seen.TRAFFIC, Seen.REACHABLE, Seen.UNUSED, Seen.UNKNOWN]),
            some.sampled_from([None, BladePower.ON]),
        ),
    )


@settings(max_examples=200, deadline=None)
@given(some.lists(some.tuples(some.floats(0.1, 60.0), one_witness()), max_size=20))
def test_one_lost_witness_never_loses_a_blade(stretches: list[tuple[float, Sight]]) -> None:
    assert watched(*stretches) not in LOST


@settings(max_examples=200, deadline=None)
@given(some.lists(some.tuples(some.floats(0.1, 3.0), some.floats(0.5, 10.0)), max_size=30))
def test_no_stall_of_three_seconds_loses_a_blade(stalls: list[tuple[float, float]]) -> None:
    stretches = [stretch for stall, calm in stalls for stretch in ((stall, GONE), (calm, WELL))]
    assert watched(*stretches) not in LOST


@settings(max_examples=100, deadline=None)
@given(some.lists(some.floats(0.01, 100.0), min_size=30, max_size=60))
def test_a_silent_blade_is_lost_however_unevenly_it_is_looked_at(gaps: list[float]) -> None:
    watch, now = Watch(), 0.0
    watch.judge(Sight(now, answers=True, array=Seen.REACHABLE))
    total = 0.0
    for gap in gaps:
        now += gap
        watch.judge(Sight(now, answers=False, array=Seen.SILENT))
        total += min(gap, detection.STEP_SECONDS)
    assert (watch.condition == Condition.DEAD) or total < detection.DEAD_SECONDS + detection.STEP_SECONDS
