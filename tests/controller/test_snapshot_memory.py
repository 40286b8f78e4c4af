"""Snapshots with memory through the API on a simulated rack, whose guests remember what they have printed since their start."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.availability import hung
from naos.compute import snapshot_hardware, snapshot_memory
from naos.doctor.repairs import REPAIRS
from naos.engines.errors import EngineError, GuestRefused, NoSpace
from naos.engines.ports import PowerState
from naos.engines.simulated.array import SimulatedArray
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.protection.recovery import keeper
from naos.storage import memories
from naos.storage.models import SnapshotMemory
from naos.units import MIB

DISKS, SNAPSHOTS, DATASTORES = f"{COMPUTE}/virtual_disks", f"{COMPUTE}/snapshots", f"{COMPUTE}/datastores"


@pytest.fixture(autouse=True)
def _healthy(roomy: Platform) -> Iterator[None]:
    yield
    assert roomy.settled() == []


@pytest.fixture
def machine(roomy: Platform) -> Iterator[str]:
    """A running machine with one disk, removed afterwards with what is left of it."""
    machine_id = roomy.deploy("subject")
    yield machine_id
    roomy.remove(machine_id)


def _body(machine_id: str, **more: Any) -> dict[str, Any]:
    return {"virtualMachineId": machine_id, "name": "awake", "memory": True, **more}


def _power(platform: Platform, machine_id: str, action: str) -> None:
    platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action})


def _blade(platform: Platform, machine_id: str) -> str:
    return str(platform.machine(machine_id)["host"]["name"])


def _state(platform: Platform, machine_id: str) -> PowerState:
    return platform.rack.hypervisor(_blade(platform, machine_id)).state(machine_id)


def _printed(platform: Platform, machine_id: str) -> str:
    return platform.rack.hypervisor(_blade(platform, machine_id)).serial_log(machine_id)


def _on_array(platform: Platform, snapshot_id: str) -> bool:
    return platform.rack.array("az05-array").disk(platform.made["volume-AZ05"], snapshot_id) is not None


def test_a_machine_goes_on_where_it_was_on_whatever_blade(roomy: Platform, machine: str) -> None:
    """What the guest printed tells which start its memory is of: a reset, or a start on another blade, prints anew."""
    then = _printed(roomy, machine)
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    assert _state(roomy, machine) is PowerState.RUNNING
    row = roomy.get(f"{SNAPSHOTS}/{snapshot_id}")
    memory = roomy.machine(machine)["memory"]
    assert (row["memory"], row["memorySize"], row["quiesced"]) == (True, memories.size_for(memory), False)
    first = _blade(roomy, machine)
    assert roomy.rack.blade_host(first).run(["ls", "/var/lib/libvirt/naos/memory"]).stdout == ""
    roomy.rack.hypervisor(first).reset(machine)
    assert _printed(roomy, machine) != then
    refused = roomy.refused("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert (refused["code"], "power it off" in refused["message"]) == ("compute.wrong_power", True)
    _power(roomy, machine, "off")
    hosts = roomy.get(f"{COMPUTE}/hosts", hostClusterId=roomy.made["pool-AZ05"])
    other = next(host["id"] for host in hosts if host["name"] != first)
    roomy.done("POST", f"{COMPUTE}/virtual_machines/relocate", {"virtualMachines": [machine], "hostId": other})
    roomy.done("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert roomy.machine(machine)["powerState"] == "running"
    assert (_state(roomy, machine), _printed(roomy, machine)) == (PowerState.RUNNING, then)
    assert (roomy.folder / "world/guests" / machine / "clock-was-set").exists()
    # deleted while it runs, its space is free again
    assert _on_array(roomy, snapshot_id)
    roomy.done("DELETE", f"{SNAPSHOTS}/{snapshot_id}")
    assert not _on_array(roomy, snapshot_id)


@pytest.mark.soak
def test_the_disks_alone_go_back_if_that_is_asked_and_a_machine_takes_its_memory_along(roomy: Platform) -> None:
    machine = roomy.deploy("other")
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    without = roomy.done("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "asleep"})
    assert roomy.get(f"{SNAPSHOTS}/{without}")["memorySize"] == 0
    _power(roomy, machine, "off")
    for wanted in ({"id": snapshot_id, "memory": False}, {"id": without}):
        roomy.done("POST", f"{SNAPSHOTS}/revert", wanted)
        assert roomy.machine(machine)["powerState"] == "stopped"
    roomy.remove(machine)
    assert not _on_array(roomy, snapshot_id)


def test_memory_is_counted_on_its_volume_which_is_not_deleted_under_it(roomy: Platform, machine: str) -> None:
    def provisioned() -> int:
        return int(roomy.get(f"{DATASTORES}/{roomy.made['volume-AZ05']}")["space"]["provisioned"])

    before = provisioned()
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    assert provisioned() - before == roomy.get(f"{SNAPSHOTS}/{snapshot_id}")["memorySize"]
    volume = {"name": "kept", "datacenterId": roomy.zone("AZ05"), "storageClass": "standard", "capacity": 500 * GIB}
    volume_id = roomy.done("POST", DATASTORES, volume)

    def lie_on(lun_id: str) -> None:
        with roomy.services.database.write() as session:
            session.get_one(SnapshotMemory, snapshot_id).lun_id = lun_id

    lie_on(volume_id)
    error = roomy.refused("DELETE", f"{DATASTORES}/{volume_id}")
    assert (error["code"], error["details"]) == (
        "storage.memory_holds",
        {"volume": "kept", "count": 1, "machines": "subject"},
    )
    lie_on(roomy.made["volume-AZ05"])
    roomy.done("DELETE", f"{DATASTORES}/{volume_id}")


def test_what_cannot_be_kept_is_refused(roomy: Platform, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = roomy.refused("POST", SNAPSHOTS, _body(machine, quiesce=True))
    assert error["code"] == "storage.memory_quiesced"
    disk = {"virtualMachineId": machine, "capacity": GIB, "diskMode": "independent_persistent"}
    disk_id = roomy.done("POST", DISKS, disk)
    error = roomy.refused("POST", SNAPSHOTS, _body(machine))
    assert (error["code"], "independent_persistent" in error["details"]["disks"]) == (
        "storage.memory_beside_disks",
        True,
    )
    roomy.done("DELETE", f"{DISKS}/{disk_id}")
    with monkeypatch.context() as patched:
        patched.setattr(snapshot_memory, "MOST", 16 * MIB)
        error = roomy.refused("POST", SNAPSHOTS, _body(machine))
        assert (error["code"], error["details"]["most"]) == ("storage.memory_too_large", "16 MiB")
    with roomy.services.database.write() as session:
        session.execute(sa.text("INSERT INTO machine_gpus (machine_id, count) VALUES (:id, 1)"), {"id": machine})
    assert roomy.refused("POST", SNAPSHOTS, _body(machine))["code"] == "storage.memory_of_devices"
    with roomy.services.database.write() as session:
        session.execute(sa.text("DELETE FROM machine_gpus"))
    _power(roomy, machine, "off")
    assert roomy.refused("POST", SNAPSHOTS, _body(machine))["code"] == "storage.memory_of_stopped"


def test_a_machine_with_other_hardware_does_not_go_on(roomy: Platform, machine: str) -> None:
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    added = roomy.done("POST", DISKS, {"virtualMachineId": machine, "capacity": GIB})
    _power(roomy, machine, "off")
    error = roomy.refused("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert (error["code"], f"disk {added} was added" in error["message"]) == ("storage.hardware_changed", True)
    roomy.done("DELETE", f"{DISKS}/{added}")
    roomy.done("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert _state(roomy, machine) is PowerState.RUNNING


def test_a_full_volume_is_told_with_figures_before_the_guest_stands_still(roomy: Platform, machine: str) -> None:
    lun = roomy.made["volume-AZ05"]
    array = roomy.rack.array("az05-array")
    array.set_aside(
        lun, machine.replace(machine[0], "0" if machine[0] != "0" else "1", 1), array.usage(lun).free - 8 * MIB
    )
    try:
        reason = roomy.failed("POST", SNAPSHOTS, _body(machine))
    finally:
        array.give_back(lun, machine.replace(machine[0], "0" if machine[0] != "0" else "1", 1))
    assert "8 MiB are free there" in reason
    assert "memory: false" in reason
    assert roomy.get(SNAPSHOTS, virtualMachineId=machine) == []


@pytest.mark.parametrize(
    ("call", "late"),
    [
        ("array.snapshot_disks", False),
        ("hypervisor.send_memory", False),
        *(
            pytest.param(call, late, marks=pytest.mark.soak)
            for call, late in (
                ("hypervisor.keep_memory", False),
                ("hypervisor.keep_memory", True),
                ("array.snapshot_disks", True),
                ("hypervisor.drop_memory", True),
            )
        ),
    ],
)
def test_a_guest_whose_memory_could_not_be_kept_goes_on(
    roomy: Platform, machine: str, call: str, *, late: bool
) -> None:
    then = _printed(roomy, machine)
    where = _blade(roomy, machine) if call.startswith("hypervisor") else "az05-array"
    error = NoSpace if call.endswith("keep_memory") else EngineError
    roomy.rack.faults.fail_next(call, error(where, "keeping memory", "the test says so"), engine=where, late=late)
    if call.endswith("drop_memory"):
        roomy.done("POST", SNAPSHOTS, _body(machine))  # it is asked again
    else:
        assert "the test says so" in roomy.failed("POST", SNAPSHOTS, _body(machine))
        assert roomy.get(SNAPSHOTS, virtualMachineId=machine) == []
    assert (_state(roomy, machine), _printed(roomy, machine)) == (PowerState.RUNNING, then)
    assert roomy.rack.blade_host(_blade(roomy, machine)).run(["ls", "/var/lib/libvirt/naos/memory"]).stdout == ""


def test_a_guest_without_an_agent_goes_on_with_the_clock_that_it_had(
    roomy: Platform, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_hypervisor: SimulatedHypervisor, _machine_id: str) -> None:
        raise GuestRefused("the blade", "setting the clock", "no agent")

    monkeypatch.setattr(SimulatedHypervisor, "set_clock", refuse)
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    _power(roomy, machine, "off")
    activity = roomy.ended(roomy.write("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id}))
    assert "completed" in activity["state"]
    assert _state(roomy, machine) is PowerState.RUNNING


@pytest.mark.soak
@pytest.mark.parametrize("call", ["hypervisor.fetch_memory", "hypervisor.restore_memory"])
def test_a_machine_that_could_not_go_on_is_off_and_can_be_asked_again(roomy: Platform, machine: str, call: str) -> None:
    then = _printed(roomy, machine)
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    _power(roomy, machine, "off")
    roomy.rack.faults.fail_next(call, EngineError("it", "bringing memory", "the test says so"))
    assert "the test says so" in roomy.failed("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert roomy.machine(machine)["powerState"] == "stopped"
    roomy.done("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert (_state(roomy, machine), _printed(roomy, machine)) == (PowerState.RUNNING, then)


def test_memory_that_is_damaged_at_rest_is_told_and_the_disks_alone_go_back(roomy: Platform, machine: str) -> None:
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    _power(roomy, machine, "off")
    kept = next(file for file in (roomy.folder / "world" / "memories").iterdir() if file.name == snapshot_id)
    kept.write_text(kept.read_text(encoding="utf-8").replace('"console": "', '"console": "rot '), encoding="utf-8")
    reason = roomy.failed("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id})
    assert "damaged" in reason
    assert roomy.machine(machine)["powerState"] == "stopped"
    roomy.done("POST", f"{SNAPSHOTS}/revert", {"id": snapshot_id, "memory": False})
    _power(roomy, machine, "on")


def test_a_guest_that_stands_still_for_its_memory_is_not_taken_for_hung(
    roomy: Platform, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its agent does not answer meanwhile; nobody else pauses it, and nobody lets it go on."""
    blade, seen, plain = _blade(roomy, machine), list[Any](), SimulatedArray.snapshot_disks

    def look(array: SimulatedArray, *arguments: Any) -> None:
        plain(array, *arguments)
        seen.extend([_state(roomy, machine), hung._ask(roomy.services.world, blade, machine)])

    monkeypatch.setattr(SimulatedArray, "snapshot_disks", look)
    roomy.done("POST", SNAPSHOTS, _body(machine))
    assert seen == [PowerState.PAUSED, None]
    assert hung._ask(roomy.services.world, blade, machine) is True
    roomy.rack.hypervisor(blade).pause(machine)
    assert hung._ask(roomy.services.world, blade, machine) is False
    roomy.rack.hypervisor(blade).resume(machine)


@pytest.mark.soak
def test_the_doctor_knows_memory_that_is_missing_and_memory_that_nobody_has(roomy: Platform, machine: str) -> None:
    lun = roomy.made["volume-AZ05"]
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    roomy.rack.array("az05-array").delete_disk(lun, snapshot_id)
    assert [found["kind"] for found in roomy.findings()] == ["memory.missing"]
    roomy.done("DELETE", f"{SNAPSHOTS}/{snapshot_id}")
    stray = roomy.made["pool-AZ05"]  # any id
    with roomy.services.database.write() as session:
        memories.reserve(session, snapshot_id=stray, machine_id=machine, lun_id=lun, memory=16 * MIB)
    memories.make(roomy.services.world, stray, "subject")
    assert [found["kind"] for found in roomy.findings()] == ["memory.orphan"]
    REPAIRS["memory.remove"](roomy.services.world, {"snapshot_id": stray})
    assert not _on_array(roomy, stray)


@pytest.mark.soak
def test_a_failover_leaves_the_memory_behind_and_it_goes_with_what_is_left(
    roomy: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "TIDY_SECONDS", 0.5)
    machine = roomy.deploy("subject")
    snapshot_id = roomy.done("POST", SNAPSHOTS, _body(machine))
    there = {"hostClusterId": roomy.made["pool-AZ06"]}
    replica = {"virtualMachineId": machine, "datastoreId": roomy.made["volume-AZ06"], **there}
    replica_id = roomy.done("POST", "/recovery/v1/replicas", replica)
    roomy.done("POST", f"/recovery/v1/replicas/{replica_id}/run")
    plan = {"name": "plan", "machines": [{"virtualMachineId": machine}], "shutdown": 0, **there}
    plan_id = roomy.done("POST", "/recovery/v1/plans", plan)
    roomy.done("POST", f"/recovery/v1/plans/{plan_id}/failover", {"kind": "planned"})
    assert roomy.get(SNAPSHOTS, virtualMachineId=machine) == []
    assert _on_array(roomy, snapshot_id)
    assert roomy.settled() == []
    roomy.done("DELETE", f"/recovery/v1/plans/{plan_id}")
    roomy.done("DELETE", f"/recovery/v1/replicas/{replica_id}")
    roomy.remove(machine)
    assert roomy.settled() == []
    deadline = time.monotonic() + 20
    while _on_array(roomy, snapshot_id) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _on_array(roomy, snapshot_id)


def test_differences_are_told_in_words() -> None:
    had = {
        "vcpus": 1,
        "cores": 1,
        "memory": 64 * MIB,
        "firmware": "bios",
        "seed": True,
        "told": [],
        "disks": {"a": [0, "virtio", 0, 0]},
        "adapters": {"n": ["02:4e:00:00:00:01", "E1000"]},
        "controllers": {},
        "drives": {"d": ["ide", 1]},
        "features": [],
    }
    assert snapshot_hardware.differences(had, had | {"features": ["avx"]}) == []
    now = had | {
        "vcpus": 2,
        "memory": 128 * MIB,
        "firmware": "efi",
        "seed": False,
        "told": ["opt/org.x"],
        "disks": {"a": [0, "scsi", 0, 0], "b": [1, "virtio", 0, 0]},
        "drives": {},
    }
    assert snapshot_hardware.differences(had, now) == [
        "2 vCPUs instead of 1",
        "128 MiB of memory instead of 64 MiB",
        "firmware efi instead of bios",
        "the drive of its seed was removed",
        "its firmware tells the guest something else",
        "disk b was added",
        "disk a was changed",
        "CD/DVD drive d was removed",
    ]
