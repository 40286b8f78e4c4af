"""Stories over the simulated fleet; `python tests/availability/test_scenarios.py` writes anew what comes of them, for a review."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from simulated_fleet import Fleet, read, recovery_seconds

FOLDER = Path(__file__).parent / "scenarios"
SCENARIOS = sorted(path.name for path in FOLDER.iterdir())
HARMLESS = (
    "stall {blade} 1", "stall {blade} 2", "stall {blade} 3", "cut-management {blade}", "kill-libvirtd {blade}",
    "freeze {blade}", "lose-chassis {blade}", "array-down", "clock 3600", "clock -3600", "sleep-controller 30", "kill-controller",
)  # fmt: skip
BACK = {"cut-management": "join {blade}", "kill-libvirtd": "start-libvirtd {blade}", "freeze": "thaw {blade}", "array-down": "array-up"}  # fmt: skip


def text(name: str) -> str:
    fleet = read(FOLDER / name)
    lines = fleet.run()
    seconds = recovery_seconds(fleet)
    last = "nothing was started" if seconds is None else f"{fleet.restarts} started, the last after {seconds:.2f} s"
    return "\n".join([*lines, last]) + "\n"


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_comes_of_it(name: str) -> None:
    assert text(name) == (FOLDER / name / "expected.log").read_text(encoding="utf-8")


def test_there_are_sixty_stories_and_each_tells_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(SCENARIOS) >= 60
    with capsys.disabled():
        for name in SCENARIOS if sys.stdout.isatty() else ():
            print(f"{name}: {(FOLDER / name / 'expected.log').read_text(encoding='utf-8').splitlines()[-1]}")


def test_9_a_leader_and_a_blade_that_die_together_cost_no_more_than_the_lease() -> None:
    """Row 9 of the complaints: the last start is later by the lease at most."""
    alone, together = read(FOLDER / "blade-dies"), read(FOLDER / "blade-and-leader-die-together")
    alone.run()
    together.run()
    assert (recovery_seconds(together) or 99) <= (recovery_seconds(alone) or 0) + 5.0 + 0.5


faults = some.tuples(some.sampled_from(HARMLESS), some.sampled_from(["b1", "b2", "b3"]), some.integers(2, 40))


@settings(max_examples=50, deadline=None)
@given(some.lists(faults, min_size=4, max_size=8))
def test_harmless_faults_restart_nobody(wanted: list[tuple[str, str, int]]) -> None:
    """At least 200 in all: delays, stalls of 3 s, one lost witness, and the controller's own troubles; zero restarts."""
    at, told = 20.0, []
    for fault, blade, seconds in wanted:
        told.append(f"{at} {fault.format(blade=blade)}")
        kind = fault.split()[0]
        if kind in BACK:
            told.append(f"{at + seconds} {BACK[kind].format(blade=blade)}")
        at += seconds + 10.0
    fleet = Fleet({"blades": 3, "fill": 9, "faults": told, "end": at + 20})
    fleet.run()
    assert fleet.restarts == 0
    assert fleet.recoveries == []
    assert all(machine.running for machine in fleet.machines.values())


FATAL = ("kill {blade}", "cut {blade}", "cut-storage {blade}", "stall {blade} 9", "crash {machine}", "cut-management {blade}", "freeze {blade}",
         "lose-chassis {blade}", "array-down", "kill-controller", "sleep-controller 20", "power-on {blade}", "join {blade}", "array-up")  # fmt: skip
BOOT_SECONDS = 2.0
"""No blade has power, a kernel and a hypervisor again sooner: between two looks, that is."""
trouble = some.tuples(some.sampled_from(FATAL), some.integers(1, 3), some.integers(1, 9), some.integers(0, 60))


@settings(max_examples=60, deadline=None)
@given(some.lists(trouble, min_size=2, max_size=12), some.sampled_from([0, 15]))
def test_whatever_happens_nobody_runs_twice_and_all_run_in_the_end(
    wanted: list[tuple[str, int, int, int]], frozen_after: int
) -> None:
    """The fleet checks after every step that no machine has two writers; once all is repaired, every machine runs."""
    at, told = 20.0, []
    for fault, blade, machine, quarters in wanted:
        at += BOOT_SECONDS if fault.startswith("power-on") else 0.0
        told.append(f"{at} {fault.format(blade=f'b{blade}', machine=f'vm{machine}')}")
        at += quarters / 4 + 0.25
    for blade in ("b1", "b2", "b3"):
        told += [f"{at + 30} {fault} {blade}" for fault in ("power-on", "join", "thaw", "start-libvirtd")]
    told.append(f"{at + 30} array-up")
    described = {"blades": 3, "fill": 9, "faults": told, "end": at + 120, "frozen_after": frozen_after}
    fleet = Fleet({**described, "each": {"restart_limit": 100}})
    fleet.run()
    for machine in fleet.machines.values():
        assert machine.running, "\n".join(fleet.log)
        assert machine.guests == {machine.blade: machine.epoch}, "\n".join(fleet.log)


if __name__ == "__main__":
    for scenario in SCENARIOS:
        (FOLDER / scenario / "expected.log").write_text(text(scenario), encoding="utf-8")
        print(scenario, text(scenario).splitlines()[-1])
