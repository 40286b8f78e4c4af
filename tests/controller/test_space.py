"""Space of volumes that never surprises: swap files, policies, alarms, reserves, maintenance."""

import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity import Caller
from naos.engines.errors import NoSpace
from naos.engines.ports import PowerState
from naos.storage import figures, luns, reserve, swap
from naos.storage.models import VolumeFigure
from naos.storage.space_errors import SwapRoom

MIB = 2**20
MEMORY = 128 * MIB
DATASTORES = f"{COMPUTE}/datastores"
SYSTEM = "naos"


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


# ------------------------------------------------------------------------------------------------- figures and policies


def measured(platform: Platform, lun_id: str) -> dict[str, Any]:
    luns.measure(platform.services.world, lun_id)
    found: dict[str, Any] = platform.get(f"{DATASTORES}/{lun_id}")
    return found


@pytest.fixture
def volume(simulated: Platform) -> Iterator[str]:
    lun_id = a_volume(simulated, f"volume-{uuid.uuid4().hex[:6]}", 1000 * GIB)
    yield lun_id
    simulated.rack.faults.empty(lun_id)
    simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_alarms_come_at_70_and_90_per_cent_and_go_two_below(simulated: Platform, volume: str) -> None:
    """peers.md 25."""
    fill = simulated.rack.faults.fill
    seen = []
    for left in (400, 300, 315, 100, 115, 125, 400):
        fill(volume, left=left * GIB)
        found = measured(simulated, volume)
        seen.append([(alarm["id"], alarm["status"]) for alarm in found["triggeredAlarms"]])
        if left == 100:
            assert "is 90 % full: 100 GiB of 1000 GiB are free" in found["triggeredAlarms"][0]["message"]
            scraped = simulated.client.get("/metrics").text
            assert f'naos_volume_space_alarm{{class="standard",volume="{found["name"]}",zone="AZ05"}} 2.0' in scraped
    yellow, red = [("space", "yellow")], [("space", "red")]
    assert seen == [[], yellow, yellow, red, red, yellow, []]


def test_what_is_promised_is_told_beside_what_is_used(simulated: Platform, volume: str) -> None:
    machine_id = simulated.deploy("promising", datastoreId=volume)
    body = {"virtualMachineId": machine_id, "capacity": 1000 * GIB, "datastoreId": volume}
    simulated.done("POST", f"{COMPUTE}/virtual_disks", body)
    space = measured(simulated, volume)["space"]
    disks = [disk["capacity"] for disk in simulated.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine_id)]
    assert space["swap"] == MEMORY
    assert space["provisioned"] == sum(disks) + MEMORY
    assert space["uncommitted"] == space["provisioned"] - space["used"] > 999 * GIB
    assert space["overcommitment"] >= 1.0
    assert space["daysUntilFull"] is None
    simulated.remove(machine_id)


def test_no_more_is_promised_than_the_policy_allows(simulated: Platform, volume: str) -> None:
    path, disks = f"{DATASTORES}/policy", f"{COMPUTE}/virtual_disks"
    machine_id = simulated.deploy("modest", datastoreId=volume)
    simulated.done("PATCH", path, {"id": volume, "overcommitment": 120})
    assert measured(simulated, volume)["space"]["overcommitmentLimit"] == 120
    body = {"virtualMachineId": machine_id, "capacity": 900 * GIB, "datastoreId": volume}
    disk_id = simulated.done("POST", disks, body)
    error = simulated.refused("POST", disks, {**body, "capacity": 400 * GIB})
    assert error["code"] == "storage.overcommitted"
    assert "its policy allows 120 %" in error["message"]
    assert "100.19 GiB too much" in error["message"]
    clone = simulated.refused("POST", f"{COMPUTE}/virtual_machines/{machine_id}/clone", {"name": "copy"})
    assert clone["code"] == "storage.overcommitted"
    small = simulated.done("POST", disks, {**body, "capacity": 250 * GIB})
    growth = {"id": small, "newCapacity": 350 * GIB}
    assert "its policy allows 120 %" in simulated.failed("PATCH", disks, growth)
    simulated.done("DELETE", f"{disks}/{disk_id}")
    simulated.done("PATCH", disks, growth)
    simulated.done("PATCH", path, {"id": volume, "overcommitment": 0})
    assert measured(simulated, volume)["space"]["overcommitmentLimit"] is None
    simulated.done("POST", disks, {**body, "capacity": 400 * GIB})
    simulated.remove(machine_id)


def test_snapshots_below_the_headroom_are_warned_of_or_refused(simulated: Platform, volume: str) -> None:
    machine_id = simulated.deploy("snapped", datastoreId=volume)
    simulated.rack.faults.fill(volume, left=60 * GIB)
    measured(simulated, volume)
    body = {"virtualMachineId": machine_id, "name": "one"}
    activity = simulated.ended(simulated.write("POST", f"{COMPUTE}/snapshots", body))
    assert "has 60 GiB free, below the 10 % recommended" in activity["description"]
    policy = {"id": volume, "snapshotPolicy": "refuse"}
    simulated.done("PATCH", f"{DATASTORES}/policy", policy)
    error = simulated.refused("POST", f"{COMPUTE}/snapshots", {**body, "name": "two"})
    assert error["code"] == "storage.snapshot_room"
    assert "40 GiB are missing" in error["message"]
    simulated.done("PATCH", f"{DATASTORES}/policy", {"id": volume, "snapshotHeadroom": 5})
    simulated.done("POST", f"{COMPUTE}/snapshots", {**body, "name": "two"})
    simulated.remove(machine_id)


def test_a_snapshot_that_will_hold_its_volume_up_says_for_how_long(simulated: Platform, volume: str) -> None:
    machine_id = simulated.deploy("large", datastoreId=volume)
    body = {"virtualMachineId": machine_id, "name": "one"}
    short = simulated.ended(simulated.write("POST", f"{COMPUTE}/snapshots", body))
    assert "stands still" not in short["description"]
    disk = {"virtualMachineId": machine_id, "capacity": 900 * GIB, "datastoreId": volume}
    for _ in range(3):
        simulated.done("POST", f"{COMPUTE}/virtual_disks", disk)
    long = simulated.ended(simulated.write("POST", f"{COMPUTE}/snapshots", {**body, "name": "two"}))
    assert "stands still for up to 0.2 s: 2.64 TiB are noted" in long["description"]
    simulated.remove(machine_id)


def test_a_reserve_is_kept_released_and_made_again_when_there_is_room(simulated: Platform, volume: str) -> None:
    path, before = f"{DATASTORES}/policy", used(simulated, volume)
    error = simulated.refused("PATCH", path, {"id": volume, "reserve": 300 * GIB})
    assert error["code"] == "storage.reserve_too_large"
    error = simulated.refused("POST", f"{DATASTORES}/release_reserve", {"id": volume})
    assert error["code"] == "storage.no_reserve"
    simulated.rack.faults.fill(volume, left=4 * GIB)
    assert "8589934592" in simulated.failed("PATCH", path, {"id": volume, "reserve": 8 * GIB})
    assert simulated.get(f"{DATASTORES}/{volume}")["space"]["reserve"] == 0
    simulated.rack.faults.empty(volume)
    simulated.done("PATCH", path, {"id": volume, "reserve": 8 * GIB})
    assert used(simulated, volume) == before + 8 * GIB
    assert simulated.settled() == []
    simulated.rack.faults.fill(volume)
    simulated.done("POST", f"{DATASTORES}/release_reserve", {"id": volume})
    found = simulated.get(f"{DATASTORES}/{volume}")
    assert found["freeCapacity"] == 8 * GIB
    assert found["space"]["reserveReleased"] is True
    simulated.rack.faults.empty(volume)
    measured(simulated, volume)
    with simulated.services.database.read() as session:
        assert reserve.may_return(session, volume)
    engine = simulated.services.engine
    activity = engine.submit_now(lambda session: reserve.plan_return(session, volume), Caller(SYSTEM, SYSTEM))
    engine.wait(activity.id, 20.0)
    assert used(simulated, volume) == before + 8 * GIB
    assert simulated.get(f"{DATASTORES}/{volume}")["space"]["reserveReleased"] is False
    assert simulated.settled() == []


def test_a_volume_in_maintenance_takes_nothing_new_and_the_last_of_a_cluster_stays(simulated: Platform) -> None:
    one, two = a_volume(simulated, "one"), a_volume(simulated, "two")
    cluster = simulated.done("POST", f"{COMPUTE}/datastore_clusters", {"name": "pair", "datastoreIds": [one, two]})
    machine_id = simulated.deploy("staying", datastoreId=one)
    simulated.done("POST", f"{DATASTORES}/maintenance", {"id": one, "enter": True})
    assert simulated.get(f"{DATASTORES}/{one}")["maintenanceMode"] is True
    error = simulated.refused("POST", f"{DATASTORES}/maintenance", {"id": two, "enter": True})
    assert error["code"] == "storage.last_in_service"
    disk = {"virtualMachineId": machine_id, "capacity": GIB, "datastoreId": one}
    assert simulated.refused("POST", f"{COMPUTE}/virtual_disks", disk)["code"] == "storage.in_maintenance"
    error = simulated.refused("POST", simulated.deploy_path, simulated.deployment("late", datastoreId=one))
    assert error["code"] == "storage.in_maintenance"
    body = {"virtualMachines": [machine_id], "datastoreClusterId": cluster}
    simulated.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)
    assert simulated.machine(machine_id)["datastore"]["id"] == two
    assert aside(simulated, two) == [machine_id]
    simulated.done("POST", f"{DATASTORES}/maintenance", {"id": one, "enter": False})
    simulated.remove(machine_id)
    simulated.done("DELETE", f"{COMPUTE}/datastore_clusters/{cluster}")
    for lun_id in (one, two):
        simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_a_cluster_is_rebalanced_and_emptied_for_maintenance(simulated: Platform) -> None:
    one, two = a_volume(simulated, "left"), a_volume(simulated, "right")
    cluster = simulated.done("POST", f"{COMPUTE}/datastore_clusters", {"name": "scales", "datastoreIds": [one, two]})
    first, second = (simulated.deploy(name, datastoreId=one) for name in ("first", "second"))
    for machine_id in (first, second):
        body = {"virtualMachineId": machine_id, "capacity": 100 * GIB, "provisioningType": "staticDiffered"}
        simulated.done("POST", f"{COMPUTE}/virtual_disks", {**body, "datastoreId": one})
    for lun_id in (one, two):
        measured(simulated, lun_id)
    path = f"{COMPUTE}/datastore_clusters/{cluster}/recommendations"
    (found,) = simulated.get(path)
    assert (found["source"]["name"], found["target"]["name"]) == ("left", "right")
    simulated.done("POST", f"{COMPUTE}/datastore_clusters/rebalance", {"id": cluster})
    moved = found["virtualMachine"]["id"]
    assert {lun["datastore"]["id"] for lun in map(simulated.machine, (first, second))} == {one, two}
    for lun_id in (one, two):
        measured(simulated, lun_id)
    assert simulated.get(path) == []
    error = simulated.refused("POST", f"{COMPUTE}/datastore_clusters/rebalance", {"id": cluster})
    assert error["code"] == "compute.nothing_to_move"
    simulated.done("POST", f"{DATASTORES}/maintenance", {"id": two, "enter": True})
    simulated.done("POST", f"{COMPUTE}/datastore_clusters/rebalance", {"id": cluster})
    assert simulated.machine(moved)["datastore"]["id"] == one
    assert simulated.settled() == []
    simulated.done("POST", f"{DATASTORES}/maintenance", {"id": two, "enter": False})
    simulated.done("DELETE", f"{COMPUTE}/datastore_clusters/{cluster}")
    for machine_id in (first, second):
        simulated.remove(machine_id)
    for lun_id in (one, two):
        simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_a_cluster_is_rebalanced_by_what_was_asked_in_the_last_hour(simulated: Platform) -> None:
    one, two = a_volume(simulated, "busy"), a_volume(simulated, "idle")
    cluster = simulated.done("POST", f"{COMPUTE}/datastore_clusters", {"name": "loads", "datastoreIds": [one, two]})
    machines = [simulated.deploy(name, datastoreId=one) for name in ("hot", "warm")]
    disks = [simulated.get(f"{COMPUTE}/virtual_disks", virtualMachineId=machine_id)[0]["id"] for machine_id in machines]
    for lun_id in (one, two):
        measured(simulated, lun_id)
    path = f"{COMPUTE}/datastore_clusters/{cluster}/recommendations"

    def asked(minutes: int) -> None:
        rates = {one: 700, two: 10, disks[0]: 340, disks[1]: 300}
        now = figures.window(datetime.now(UTC), 60)
        with simulated.services.database.write() as session:
            for object_id, minute in product(rates, range(1, minutes + 1)):
                work = {"reads": rates[object_id] * 60, "writes": 0, "read_bytes": 0, "write_bytes": 0}
                at = now - timedelta(minutes=minute)
                row = VolumeFigure(object_id=object_id, resolution=60, at=at, seconds=60, nanoseconds=0, **work)
                row.latencies = []
                session.merge(row)

    asked(9)
    assert simulated.get(path) == [], "nine minutes say little"
    asked(11)
    (found,) = simulated.get(path)
    assert (found["virtualMachine"]["name"], found["reason"], found["operations"]) == ("hot", "load", 340.0)
    assert (found["source"]["id"], found["target"]["id"]) == (one, two)
    simulated.done("POST", f"{COMPUTE}/datastore_clusters/rebalance", {"id": cluster})
    assert [simulated.machine(machine_id)["datastore"]["id"] for machine_id in machines] == [two, one]
    simulated.done("DELETE", f"{COMPUTE}/datastore_clusters/{cluster}")
    for machine_id in machines:
        simulated.remove(machine_id)
    for lun_id in (one, two):
        simulated.done("DELETE", f"{DATASTORES}/{lun_id}")


def test_a_machine_that_stands_still_for_want_of_space_says_so_until_it_goes_on(
    simulated: Platform, volume: str
) -> None:
    """Its volume, too; and the supervisor forgets it when it sees the machine run."""
    machine_id = simulated.deploy("standing", datastoreId=volume)
    simulated.rack.faults.fill(volume)
    measured(simulated, volume)
    blade = simulated.machine(machine_id)["host"]["name"]
    store = simulated.rack.faults._store

    def state(word: str) -> None:
        with store.transaction() as db:
            db.execute("UPDATE domains SET state = ? WHERE blade = ? AND id = ?", (word, blade, machine_id))

    state(PowerState.IO_ERROR)
    end = time.monotonic() + 20
    seen: list[object] = []
    told = ""
    while not (seen and "stand still" in told) and time.monotonic() < end:
        state(PowerState.IO_ERROR)  # as often as it is resumed it stops again
        seen = simulated.machine(machine_id)["triggeredAlarms"]
        (alarm,) = simulated.get(f"{DATASTORES}/{volume}")["triggeredAlarms"]
        told = alarm["message"]
        time.sleep(0.05)
    assert seen == [{"id": "space", "status": "red"}]
    assert "1 machine(s) stand still there" in told
    simulated.rack.faults.empty(volume)
    while simulated.machine(machine_id)["triggeredAlarms"] and time.monotonic() < end:
        time.sleep(0.05)
    assert simulated.machine(machine_id)["triggeredAlarms"] == []
    simulated.remove(machine_id)
