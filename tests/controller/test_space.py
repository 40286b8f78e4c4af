"""Space of volumes that never surprises: swap files, policies, alarms, reserves, maintenance."""

import uuid
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.engines.errors import NoSpace
from naos.storage import swap
from naos.storage.space_errors import SwapRoom

MIB = 2**20
MEMORY = 128 * MIB
DATASTORES = f"{COMPUTE}/datastores"


def used(platform: Platform, lun_id: str) -> int:
    return platform.rack.array("az05-array").usage(lun_id).used


def aside(platform: Platform, lun_id: str) -> list[str]:
    return list(platform.rack.array("az05-array").contents(lun_id).aside)


def power(platform: Platform, machine_id: str, action: str) -> None:
    platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action})


def a_volume(platform: Platform, name: str, capacity: int = 500 * GIB, **changes: Any) -> str:
    body = {"name": name, "datacenterId": "AZ05", "storageClass": "standard", "capacity": capacity, **changes}
    return platform.done("POST", DATASTORES, body)


def test_a_swap_file_is_there_while_a_machine_runs(simulated: Platform) -> None:
    lun_id = simulated.made["volume-AZ05"]
    machine_id = simulated.deploy("swapping", powerOn=False)
    before = used(simulated, lun_id)
    power(simulated, machine_id, "on")
    assert used(simulated, lun_id) == before + MEMORY
    assert aside(simulated, lun_id) == [machine_id]
    assert simulated.settled() == []
    power(simulated, machine_id, "off")
    assert used(simulated, lun_id) == before
    simulated.done("PATCH", f"{COMPUTE}/virtual_machines", {"id": machine_id, "memoryReservation": MEMORY})
    power(simulated, machine_id, "on")
    assert used(simulated, lun_id) == before  # all of its memory is reserved
    simulated.done("PATCH", f"{COMPUTE}/virtual_machines", {"id": machine_id, "memoryReservation": 0})
    assert used(simulated, lun_id) == before + MEMORY
    assert simulated.settled() == []
    simulated.remove(machine_id)
    assert aside(simulated, lun_id) == []


def test_it_goes_along_when_the_machine_gets_another_home(simulated: Platform) -> None:
    old, new = simulated.made["volume-AZ05"], a_volume(simulated, "home")
    machine_id = simulated.deploy("moving")
    body = {"virtualMachines": [machine_id], "datastoreId": new}
    simulated.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert aside(simulated, old) == []
    assert aside(simulated, new) == [machine_id]
    assert simulated.settled() == []
    simulated.remove(machine_id)
    simulated.done("DELETE", f"{DATASTORES}/{new}")


def test_ten_machines_of_64_gib_need_640_and_the_next_is_told_what_is_missing(simulated: Platform) -> None:
    lun_id, world = a_volume(simulated, "tebibyte", 1024 * GIB), simulated.services.world
    machines = [str(uuid.uuid4()) for _ in range(11)]
    empty = used(simulated, lun_id)
    for number, machine_id in enumerate(machines[:10]):
        swap.make(world, machine_id, f"db-{number}", lun_id, 64 * GIB)
        swap.make(world, machine_id, f"db-{number}", lun_id, 64 * GIB)
    assert used(simulated, lun_id) - empty == 640 * GIB
    simulated.rack.faults.fill(lun_id, left=40 * GIB)
    with pytest.raises(SwapRoom, match="24 GiB are missing") as refused:
        swap.make(world, machines[10], "db-10", lun_id, 64 * GIB)
    told = str(refused.value)
    assert "needs a swap file of 64 GiB on volume 'tebibyte'" in told
    assert "10 other machines there have 640 GiB" in told
    assert aside(simulated, lun_id) == sorted(machines[:10])
    swap.make(world, machines[9], "db-9", lun_id, 32 * GIB)  # what it gives back is there for another
    swap.make(world, machines[10], "db-10", lun_id, 64 * GIB)
    simulated.rack.faults.empty(lun_id)
    found = {finding["kind"] for finding in simulated.findings()}
    assert found == {"swap.orphan"}
    for machine_id in machines:
        swap.drop(world, machine_id)
    simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_a_machine_that_has_no_room_for_its_swap_file_stays_off_with_nothing_left(simulated: Platform) -> None:
    lun_id = a_volume(simulated, "full")
    machine_id = simulated.deploy("squeezed", powerOn=False, datastoreId=lun_id)
    simulated.rack.faults.fill(lun_id, left=100 * MIB)
    reason = simulated.failed("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    assert "needs a swap file of 128 MiB" in reason
    assert "28 MiB are missing" in reason
    assert simulated.machine(machine_id)["powerState"] == "stopped"
    assert aside(simulated, lun_id) == []
    simulated.rack.faults.empty(lun_id)
    power(simulated, machine_id, "on")
    assert simulated.settled() == []
    with pytest.raises(NoSpace):
        simulated.rack.array("az05-array").set_aside(lun_id, machine_id, 600 * GIB)
    simulated.remove(machine_id)
    simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_the_doctor_makes_a_missing_swap_file_and_removes_a_stray_one(simulated: Platform) -> None:
    lun_id = simulated.made["volume-AZ05"]
    machine_id = simulated.deploy("examined")
    array = simulated.rack.array("az05-array")
    array.give_back(lun_id, machine_id)
    array.set_aside(lun_id, str(uuid.uuid4()), GIB)
    assert {entry["kind"] for entry in simulated.findings()} == {"swap.missing", "swap.orphan"}
    simulated.done("POST", "/platform/v1/doctor/repair")
    assert simulated.findings() == []
    assert aside(simulated, lun_id) == [machine_id]
    simulated.remove(machine_id)
