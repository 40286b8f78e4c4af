"""What happens while nobody looks: a blade that loses its power and comes back, a libvirt that forgets, orders that are late or hang."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity.models import Activity
from naos.availability.detection import Seen, Sight
from naos.availability.manager import ISOLATING_SECONDS, Case, Manager, Member, Pool
from naos.availability.rules import CRASHED, MISSING, Settings, cause_of
from naos.compute import movements, seeds, steps
from naos.compute.hooks import Loss
from naos.engines.ports import PowerState
from naos.engines.simulated import guests
from naos.fleet import boots

NAMES = ("low", "high", "down", "off")
RECOVERIES = f"{COMPUTE}/availability/recoveries"


def until(condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def _recoveries(platform: Platform, machine_id: str) -> list[dict[str, Any]]:
    return [row for row in platform.get(RECOVERIES) if row["virtualMachineId"] == machine_id]


def _runs(platform: Platform, machine_id: str) -> list[str]:
    """The blades that run it, in the world's own books."""
    with platform.rack._store.transaction() as db:
        query = "SELECT blade FROM domains WHERE id = ? AND live IS NOT NULL"
        return [row["blade"] for row in db.execute(query, (machine_id,))]


def _power_cycle(platform: Platform, blade: str, *ended: str) -> None:
    """Off and on in one moment, so that no look falls in between; the guests of `ended` had shut themselves down just before."""
    with platform.rack._store.transaction() as db:
        for machine in ended:
            guests.end(db, blade, machine)
        guests.lose_power(db, blade)
        db.execute("UPDATE engines SET powered = 1, boots = boots + 1 WHERE name = ?", (blade,))


def _kept(platform: Platform, blade: str) -> str | None:
    with platform.services.database.read() as session:
        return boots.kept(session, blade)


def _starts(platform: Platform) -> list[str]:
    """Machines in the order in which their recoveries were started."""
    with platform.services.database.read() as session:
        query = sa.select(Activity).where(Activity.kind == "virtual_machine.recover").order_by(Activity.sequence)
        return [str(row.arguments["machine_id"]) for row in session.scalars(query)]


@pytest.mark.parametrize(
    ("state", "ended", "rebooted", "shaken", "cause"),
    [
        (PowerState.CRASHED, False, False, False, CRASHED),
        (PowerState.CRASHED, False, True, True, CRASHED),
        (PowerState.STOPPED, False, False, False, None),  # nothing says that it went with anything
        (PowerState.STOPPED, False, True, False, MISSING),
        (PowerState.STOPPED, False, False, True, MISSING),
        (PowerState.ABSENT, False, True, False, MISSING),
        (PowerState.STOPPED, True, False, False, None),
        (PowerState.STOPPED, True, True, True, None),  # it was down before its blade was
    ],
)
def test_which_machines_went_with_their_blade(
    state: PowerState, ended: bool, rebooted: bool, shaken: bool, cause: str | None
) -> None:
    assert cause_of(Loss(state, rebooted=rebooted, ended=ended), shaken=shaken) == cause


def test_those_of_lower_priority_wait_a_moment_for_one_that_is_still_being_cut_off() -> None:
    """And no longer than that: an array that does not answer must not hold up all."""
    pool = Pool("p", ["b1"], 8 * GIB, 8 * GIB)
    members = [
        Member(name, "b1", running=False, memory=GIB, settings=Settings(priority=name)) for name in ("high", "low")
    ]
    cases = [Case("h", "high", "isolating"), Case("l", "low", "waiting")]
    manager, started = Manager(), dict[float, list[str]]()
    for now in (0.0, 1.0, 2.0, ISOLATING_SECONDS):
        sights = {"b1": Sight(now, answers=True, array=Seen.REACHABLE)}
        decided = manager.look(now, pool, sights, members, cases)
        started[now] = list(decided.start)
        if not decided.start:
            assert decided.waiting == {"l": "high is before it"}
    assert started == {0.0: [], 1.0: [], 2.0: [], ISOLATING_SECONDS: ["l"]}


def test_machines_of_a_blade_that_was_booted_anew_between_two_looks_are_started_again_in_order(
    available: Platform,
) -> None:
    blade = "az05-blade1"
    until(lambda: _kept(available, blade), "what it is booted as is known")
    before = _kept(available, blade)
    machines = {name: available.deploy(name, powerOn=name != "off", hostId=blade) for name in NAMES}
    for name in ("low", "high"):
        path = f"{COMPUTE}/virtual_machines/{machines[name]}/availability"
        available.done("PATCH", path, {"priority": name})
    assert [_runs(available, machines[name]) for name in NAMES] == [[blade]] * 3 + [[]]
    earlier = _starts(available)
    _power_cycle(available, blade, machines["down"])
    for name in ("low", "high"):
        until(lambda name=name: len(_runs(available, machines[name])) == 1, f"{name} runs")  # type: ignore[misc]
    until(lambda: available.machine(machines["down"])["powerState"] == "stopped", "that it is down is noted")
    for name in ("low", "high"):
        until(
            lambda name=name: [row["progress"] for row in _recoveries(available, machines[name])] == ["recovered"],  # type: ignore[misc]
            "it is back",
        )
    assert [row["cause"] for row in _recoveries(available, machines["high"])] == ["missing"]
    started = _starts(available)[len(earlier) :]
    assert started == [machines["high"], machines["low"]]
    for name in ("down", "off"):
        assert available.machine(machines[name])["powerState"] == "stopped"
        assert _recoveries(available, machines[name]) == []
    until(lambda: _kept(available, blade) not in (None, before), "its new boot is kept")
    assert available.settled() == []
    for machine in machines.values():
        available.remove(machine)


# --------------------------------------------------------------------------------------------------- orders that are late


def _host(platform: Platform, machine: str) -> str:
    return str(platform.machine(machine)["host"]["name"])


def _world_runs(platform: Platform, blade: str, machine: str, state: str) -> None:
    """What a hypervisor does that nobody waits for any more: it runs the machine by the definition that it has."""
    with platform.rack._store.transaction() as db:
        query = "UPDATE domains SET live = xml, state = ? WHERE blade = ? AND id = ?"
        assert db.execute(query, (state, blade, machine)).rowcount == 1


def test_a_start_that_was_given_up_and_takes_effect_later_is_ended_and_never_noted_as_running(
    available: Platform,
) -> None:
    machine = available.deploy("late", powerOn=False)
    available.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    available.done("PATCH", POWER, {"id": machine, "powerAction": "off"})
    blade = _host(available, machine)
    _world_runs(available, blade, machine, "io-error")  # as its disks are cut off
    until(lambda: _runs(available, machine) == [], "it is ended")
    assert available.machine(machine)["powerState"] == "stopped"
    assert available.settled() == []
    available.done("PATCH", POWER, {"id": machine, "powerAction": "on"})
    available.remove(machine)


def test_what_a_late_start_left_where_the_machine_is_no_more_is_removed(available: Platform) -> None:
    machine = available.deploy("twice")
    home = _host(available, machine)
    other = next(f"az05-blade{number}" for number in (1, 2) if home != f"az05-blade{number}")
    available.rack.hypervisor(other).define_xml(available.rack.hypervisor(home).xml(machine))
    _world_runs(available, other, machine, "io-error")
    until(lambda: available.rack.hypervisor(other).state(machine) == PowerState.ABSENT, "it is removed")
    assert _runs(available, machine) == [home]
    assert _host(available, machine) == home
    assert available.settled() == []
    available.remove(machine)


def test_a_move_that_was_given_up_and_arrived_after_all_is_noted(available: Platform) -> None:
    machine = available.deploy("arrives")
    home = _host(available, machine)
    other = next(f"az05-blade{number}" for number in (1, 2) if home != f"az05-blade{number}")
    disk = available.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine)[0]["id"]
    steps.bring_networks(available.services.world, machine, other)
    seeds.put(available.services.world, machine, other)
    available.rack.hypervisor(home).migrate(machine, available.rack.hypervisor(other))
    until(lambda: _host(available, machine) == other, "it is noted")
    assert _runs(available, machine) == [other]
    assert available.machine(machine)["powerState"] == "running"
    assert _recoveries(available, machine) == []
    assert available.rack.faults.write(other, machine, disk, 4096), "its disks were never cut off"
    assert available.settled() == []
    available.remove(machine)


def test_the_move_of_a_machine_whose_blade_has_lost_its_disks_is_ended(available: Platform) -> None:
    """QEMU waits for its disks before it hands over: what cuts the machine off would wait for the move."""
    home, other = "az05-blade1", "az05-blade2"
    machine, world = available.deploy("leaving", hostId=home), available.services.world
    assert not movements.end_hung(world, machine, home)
    steps.update(world, machine, moving_to=other)
    assert not movements.end_hung(world, machine, other)
    assert _runs(available, machine) == [home]
    assert movements.end_hung(world, machine, home)
    assert _runs(available, machine) == []
    steps.update(world, machine, moving_to=None)
    until(lambda: available.machine(machine)["powerState"] == "stopped", "an order ended it, as far as its blade knows")
    available.done("DELETE", f"{COMPUTE}/virtual_machines/{machine}")
