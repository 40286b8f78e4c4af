"""High availability beside maintenance: nobody misses a blade that rests, and nobody is started on it."""

import time
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, Platform
from test_recovery import _condition, _host, _other, _recoveries, _running_on, _seen, _whole, until

from naos.availability.detection import Condition
from naos.availability.models import BladeCondition
from naos.fleet.models import Blade, Maintenance

pytestmark = pytest.mark.soak
HOSTS = f"{COMPUTE}/hosts"


def _path(platform: Platform, blade: str) -> str:
    return f"{HOSTS}/{platform.get(HOSTS, name=blade)[0]['id']}/maintenance"


def test_a_blade_in_maintenance_is_switched_off_and_nobody_minds(available: Platform) -> None:
    machine = available.deploy("stays")
    blade = _host(available, machine)
    _seen(available, blade, _other(blade))
    available.done("POST", _path(available, blade))
    assert _host(available, machine) == _other(blade)
    available.rack.chassis(blade).off()
    time.sleep(8)  # twice the time after which a silent blade is dead
    assert _condition(available, blade) != "dead"
    assert _recoveries(available, machine) == []
    assert available.settled() == []
    available.rack.chassis(blade).on()
    available.done("DELETE", _path(available, blade))
    _whole(available, blade)
    available.remove(machine)


def test_a_blade_that_was_emptied_while_it_did_not_answer_is_well_again(available: Platform) -> None:
    """As when management is cut off in the middle of an evacuation that ends all the same; and its controller may be another then."""
    machine = available.deploy("went")
    blade = _host(available, machine)
    _seen(available, blade, _other(blade))

    def trouble(resting: bool) -> None:
        with available.services.database.write() as session:
            row = session.get_one(BladeCondition, blade)
            row.condition, row.reason = Condition.UNMANAGED, "its hypervisor does not answer"
            if resting:
                session.execute(sa.update(Blade).where(Blade.name == blade).values(maintenance=Maintenance.RESTING))

    for resting in (False, True):
        trouble(resting)
        until(lambda: _condition(available, blade) == "healthy", "it is well again")
    available.done("DELETE", _path(available, blade))
    available.remove(machine)


def test_a_machine_that_is_lost_meanwhile_waits_for_the_end_of_the_maintenance(available: Platform) -> None:
    machine = available.deploy("waits")
    resting = _host(available, machine)
    lost = _other(resting)
    _seen(available, resting, lost)
    available.done("POST", _path(available, resting))
    available.rack.chassis(lost).off()

    def waits() -> dict[str, Any] | None:
        rows = _recoveries(available, machine)
        waiting = [row for row in rows if row["progress"] == "waiting"]
        return waiting[0] if waiting and "in maintenance" in waiting[0]["reason"] else None

    until(waits, "it waits, with the reason")
    time.sleep(3)
    assert _running_on(available, machine) == []
    available.done("DELETE", _path(available, resting))
    until(lambda: _running_on(available, machine) == [f"{resting}:running"], "it is back on the blade that was opened")
    available.rack.chassis(lost).on()
    _whole(available, lost, resting)
    assert available.settled() == []
    available.remove(machine)


def test_a_blade_that_dies_while_it_is_emptied_gives_its_machines_to_another(available: Platform) -> None:
    machines = [available.deploy(f"m{number}") for number in range(3)]
    for machine in machines:
        if _host(available, machine) != "az05-blade1":
            blade = available.get(HOSTS, name="az05-blade1")[0]["id"]
            body = {"virtualMachines": [machine], "hostId": blade, "priority": "highPriority"}
            available.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    _seen(available, "az05-blade1", "az05-blade2")
    entering = available.write("POST", _path(available, "az05-blade1"), {"parallelMigrations": 1})
    available.rack.chassis("az05-blade1").off()
    available.ended(entering)
    for machine in machines:
        until(lambda machine=machine: _running_on(available, machine) == ["az05-blade2:running"], "it runs on", 60)  # type: ignore[misc]
    available.rack.chassis("az05-blade1").on()
    if available.get(_path(available, "az05-blade1"))["state"]:
        available.done("DELETE", _path(available, "az05-blade1"))
    _whole(available, "az05-blade1", "az05-blade2")
    assert available.settled() == []
    for machine in machines:
        available.remove(machine)
