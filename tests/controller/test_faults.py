"""Every engine call fails once, before its work and after it; arrays die, volumes fill, blades are cut off.

Whatever fails, an activity ends completed, or failed and undone in words; tables and world agree; and the same request
made again is completed.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity.models import Activity
from naos.engines.errors import EngineError, Unreachable
from naos.engines.ports import PowerState
from naos.engines.simulated.calls import SimulatedEngine, encode_error
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.storage.models import Lun

MACHINES, DISKS, ADAPTERS = f"{COMPUTE}/virtual_machines", f"{COMPUTE}/virtual_disks", f"{COMPUTE}/network_adapters"
NETWORKS, DATASTORES = f"{COMPUTE}/networks", f"{COMPUTE}/datastores"
CONTROLLERS, SNAPSHOTS = f"{COMPUTE}/virtual_controllers", f"{COMPUTE}/snapshots"
MIB = 2**20
WATCHES = ("lun.recover", "virtual_machine.settle")
LOOKS = {"state", "template_staged", "disk", "run"}
"""Calls that change nothing, or nothing that a repeat would notice: failing late is failing early."""


@dataclass(frozen=True)
class Case:
    """`act` makes the request; once it was completed, `back` brings everything to where `act` can be done again.

    ready: what every request needs before it. everywhere: each engine's call fails on its own, not the first one's only.
    insists: a single failure is always survived.
    """

    act: Callable[[Platform], str]
    prepare: Callable[[Platform], None] = field(default=lambda _platform: None)
    back: Callable[[Platform], None] = field(default=lambda _platform: None)
    ready: Callable[[Platform], None] = field(default=lambda _platform: None)
    everywhere: bool = False
    insists: bool = False


def _running(platform: Platform) -> None:
    platform.made["subject"] = platform.deploy("subject")


def _stopped(platform: Platform) -> None:
    platform.made["subject"] = platform.deploy("subject", powerOn=False)


def _created(platform: Platform) -> None:
    """The template's base goes too, so that the next create has to bring it again."""
    platform.remove(platform.get(MACHINES, name="subject")[0]["id"])
    platform.rack.array("az05-array").drop_template(platform.made["volume-AZ05"], platform.made["template"])


def _ran(platform: Platform) -> None:
    _running(platform)
    _completed(platform, _power(platform, "off"))


def _awake(platform: Platform) -> None:
    """A guest that obeyed before the answer was lost is stopped, and is started for the next try."""
    _completed(platform, _power(platform, "on"))


def _power(platform: Platform, action: str) -> str:
    return platform.write("PATCH", POWER, {"id": platform.made["subject"], "powerAction": action})


def _powered(action: str) -> Callable[[Platform], None]:
    return lambda platform: _completed(platform, _power(platform, action))


def _completed(platform: Platform, activity: str) -> None:
    state = platform.ended(activity)["state"]
    assert "completed" in state, state


def _migrate(platform: Platform) -> str:
    here = platform.machine(platform.made["subject"])["host"]["id"]
    hosts = platform.get(f"{COMPUTE}/hosts", hostClusterId=platform.made["pool-AZ05"])
    other = next(host["id"] for host in hosts if host["id"] != here)
    return platform.write(
        "POST", f"{MACHINES}/relocate", {"virtualMachines": [platform.made["subject"]], "hostId": other}
    )


def _spread(platform: Platform) -> None:
    """A running machine with its disks on two volumes of its zone."""
    if not platform.get(DATASTORES, name="second"):
        body = {"name": "second", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
        platform.made["second"] = platform.done("POST", DATASTORES, body)
    _with_disk(platform)
    place = {"virtualDiskId": _second(platform, DISKS)["id"], "datastoreId": platform.made["second"]}
    _completed(platform, _relocate(platform, diskPlacements=[place]))


def _spread_at_rest(platform: Platform) -> None:
    _spread(platform)
    _completed(platform, _power(platform, "off"))


def _defined(platform: Platform) -> None:
    """A machine that came from another cpool is on no blade until it starts."""
    _completed(platform, _power(platform, "on"))
    _completed(platform, _power(platform, "off"))


def _relocate(platform: Platform, **where: Any) -> str:
    body = {"virtualMachines": [platform.made["subject"]], **where}
    return platform.write("POST", f"{MACHINES}/relocate", body)


def _to_the_other_zone(platform: Platform) -> str:
    """Or back, when it is there."""
    there = platform.machine(platform.made["subject"])["datacenter"]["name"] == "AZ06"
    zone = "AZ05" if there else "AZ06"
    made = platform.made
    return _relocate(platform, hostClusterId=made[f"pool-{zone}"], datastoreId=made[f"volume-{zone}"])


def _clone(platform: Platform) -> str:
    body = {"name": "copy", "datastoreId": platform.made["second"], "powerOn": True}
    return platform.write("POST", f"{MACHINES}/{platform.made['subject']}/clone", body)


def _cloned(platform: Platform) -> None:
    platform.remove(platform.get(MACHINES, name="copy")[0]["id"])


def _with_disk(platform: Platform) -> None:
    _running(platform)
    _add_disk(platform)


def _disk(platform: Platform) -> str:
    return platform.write("POST", DISKS, {"virtualMachineId": platform.made["subject"], "capacity": GIB})


def _add_disk(platform: Platform) -> None:
    _completed(platform, _disk(platform))


def _second(platform: Platform, path: str) -> dict[str, Any]:
    """The last disk or adapter of the machine."""
    found: dict[str, Any] = platform.get(path, virtualMachineId=platform.made["subject"])[-1]
    return found


def _drop_disk(platform: Platform) -> str:
    return platform.write("DELETE", f"{DISKS}/{_second(platform, DISKS)['id']}")


def _extend(platform: Platform) -> str:
    body = {"id": _second(platform, DISKS)["id"], "newCapacity": int(platform.made.setdefault("size", str(2 * GIB)))}
    return platform.write("PATCH", DISKS, body)


def _larger(platform: Platform) -> None:
    platform.made["size"] = str(int(platform.made["size"]) + MIB)


def _adapter(platform: Platform) -> str:
    body = {"virtualMachineId": platform.made["subject"], "networkId": platform.made["vlan"]}
    return platform.write("POST", ADAPTERS, body)


def _with_adapter(platform: Platform) -> None:
    _running(platform)
    _completed(platform, _adapter(platform))


def _drop_adapter(platform: Platform) -> str:
    return platform.write("DELETE", f"{ADAPTERS}/{_second(platform, ADAPTERS)['id']}")


def _vlan(platform: Platform) -> str:
    pools = [platform.made["pool-AZ05"], platform.made["pool-AZ06"]]
    return platform.write("POST", NETWORKS, {"name": "second", "hostClusterIds": pools})


def _drop_vlan(platform: Platform) -> str:
    return platform.write("DELETE", f"{NETWORKS}/{platform.get(NETWORKS, name='second')[0]['id']}")


def _volume(platform: Platform) -> str:
    body = {"name": "second", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 500 * GIB}
    return platform.write("POST", DATASTORES, body)


def _drop_volume(platform: Platform) -> str:
    return platform.write("DELETE", f"{DATASTORES}/{platform.get(DATASTORES, name='second')[0]['id']}")


def _grow_volume(platform: Platform) -> str:
    volume = platform.get(DATASTORES, name="volume-AZ06")[0]
    size = int(platform.made.setdefault("volume-size", str(501 * GIB)))
    return platform.write("PATCH", DATASTORES, {"id": volume["id"], "capacity": size})


def _larger_volume(platform: Platform) -> None:
    platform.made["volume-size"] = str(int(platform.made["volume-size"]) + GIB)


def _class(platform: Platform) -> str:
    volume = platform.get(DATASTORES, name="volume-AZ06")[0]
    other = "premium" if volume["storageClass"] == "standard" else "standard"
    return platform.write("PATCH", DATASTORES, {"id": volume["id"], "storageClass": other})


def _after(step: Callable[[Platform], str]) -> Callable[[Platform], None]:
    return lambda platform: _completed(platform, step(platform))


def _last(platform: Platform, kind: str) -> str:
    """The id of the machine's last controller or snapshot."""
    found: list[dict[str, Any]] = platform.get(f"{COMPUTE}/{kind}", virtualMachineId=platform.made["subject"])
    return str([entry for entry in found if entry.get("type") != "PCI"][-1]["id"])


def _controller(kind: str) -> Callable[[Platform], str]:
    return lambda p: p.write("POST", CONTROLLERS, {"virtualMachineId": p.made["subject"], "type": kind})


def _with_controller(kind: str) -> Callable[[Platform], None]:
    def prepare(platform: Platform) -> None:
        _running(platform)
        _completed(platform, _controller(kind)(platform))

    return prepare


def _drop_controller(platform: Platform) -> str:
    return platform.write("DELETE", f"{CONTROLLERS}/{_last(platform, 'virtual_controllers')}")


def _with_drive(platform: Platform) -> None:
    """A connected drive, and an image in the library."""
    _with_controller("CD/DVD")(platform)
    platform.done("PATCH", f"{CONTROLLERS}/cdrom/connect", {"id": _last(platform, "virtual_controllers")})
    image = platform.folder / "tools.iso"
    if not image.exists():
        (platform.folder / "content").mkdir()
        command = ["genisoimage", "-quiet", "-o", str(image), str(platform.folder / "content")]
        subprocess.run(command, check=True)
        platform.made["image"] = platform.add_template("tools", image)


def _image(action: str) -> Callable[[Platform], str]:
    def act(platform: Platform) -> str:
        item = {"contentLibraryItemId": platform.made["image"]} if action == "mount" else {}
        body = {"id": _last(platform, "virtual_controllers"), **item}
        return platform.write("PATCH", f"{CONTROLLERS}/cdrom/{action}", body)

    return act


def _with_image(platform: Platform) -> None:
    _with_drive(platform)
    _completed(platform, _image("mount")(platform))


def _snapshot(platform: Platform) -> str:
    return platform.write(
        "POST", SNAPSHOTS, {"virtualMachineId": platform.made["subject"], "name": "one", "quiesce": True}
    )


def _drop_snapshot(platform: Platform) -> str:
    return platform.write("DELETE", f"{SNAPSHOTS}/{_last(platform, 'snapshots')}")


def _snapshotted(platform: Platform) -> None:
    _spread(platform)
    _completed(platform, _snapshot(platform))


def _remember(platform: Platform) -> str:
    body = {"virtualMachineId": platform.made["subject"], "name": "awake", "memory": True}
    return platform.write("POST", SNAPSHOTS, body)


def _remembered_at_rest(platform: Platform) -> None:
    _spread(platform)
    _completed(platform, _remember(platform))
    _completed(platform, _power(platform, "off"))


def _snapshotted_at_rest(platform: Platform) -> None:
    _snapshotted(platform)
    _completed(platform, _power(platform, "off"))


def _revert(platform: Platform) -> str:
    return platform.write("POST", f"{SNAPSHOTS}/revert", {"id": _last(platform, "snapshots")})


def _unmount(platform: Platform) -> str:
    disk = _second(platform, DISKS)
    platform.made["path"] = disk["diskPath"]
    return platform.write("POST", f"{DISKS}/unmount", {"virtualDiskId": disk["id"]})


def _mount(platform: Platform) -> str:
    body = {"virtualMachineId": platform.made["subject"], "path": platform.made["path"]}
    return platform.write("POST", f"{DISKS}/mount", body)


def _unmounted(platform: Platform) -> None:
    _with_disk(platform)
    _completed(platform, _unmount(platform))


CASES = {
    "controller create": Case(_controller("SCSI"), _running, _after(_drop_controller)),
    "controller delete": Case(_drop_controller, _with_controller("SCSI"), _after(_controller("SCSI"))),
    "drive create": Case(_controller("CD/DVD"), _running, _after(_drop_controller)),
    "image mount": Case(_image("mount"), _with_drive, _after(_image("unmount"))),
    "image unmount": Case(_image("unmount"), _with_image, _after(_image("mount"))),
    "machine with an image migrate": Case(_migrate, _with_image),
    "snapshot create": Case(_snapshot, _spread, _after(_drop_snapshot)),
    "snapshot revert": Case(_revert, _snapshotted_at_rest),
    "memory create": Case(_remember, _spread, _after(_drop_snapshot)),
    "memory revert": Case(_revert, _remembered_at_rest, _powered("off")),
    "snapshot delete": Case(_drop_snapshot, _snapshotted, _after(_snapshot)),
    "disk unmount": Case(_unmount, _with_disk, _after(_mount)),
    "disk mount": Case(_mount, _unmounted, _after(_unmount)),
    "machine create": Case(lambda p: p.write("POST", p.deploy_path, p.deployment("subject")), back=_created),
    "machine start": Case(lambda p: _power(p, "on"), _stopped, _powered("off")),
    "machine stop": Case(lambda p: _power(p, "off"), _running, _powered("on")),
    "machine shutdown": Case(lambda p: _power(p, "shutdown"), _running, ready=_awake),
    "machine migrate": Case(_migrate, _running),
    "stopped machine migrate": Case(_migrate, _ran),
    "machine clone": Case(_clone, _spread, _cloned),
    "machine relocate": Case(_to_the_other_zone, _spread),
    "stopped machine relocate": Case(_to_the_other_zone, _spread_at_rest, ready=_defined),
    "machine delete": Case(lambda p: p.write("DELETE", f"{MACHINES}/{p.made['subject']}"), _stopped, _stopped),
    "disk create": Case(_disk, _running, _after(_drop_disk)),
    "disk extend": Case(_extend, _with_disk, _larger),
    "disk delete": Case(_drop_disk, _with_disk, _add_disk),
    "adapter create": Case(_adapter, _running, _after(_drop_adapter)),
    "adapter delete": Case(_drop_adapter, _with_adapter, _after(_adapter)),
    "VLAN create": Case(_vlan, back=_after(_drop_vlan), everywhere=True),
    "VLAN delete": Case(_drop_vlan, _after(_vlan), _after(_vlan), everywhere=True, insists=True),
    "volume create": Case(_volume, back=_after(_drop_volume)),
    "volume grow": Case(_grow_volume, back=_larger_volume),
    "volume class": Case(_class),
    "volume delete": Case(_drop_volume, _after(_volume), _after(_volume), insists=True),
}


def calls_of(platform: Platform, case: Case, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The methods that the activity calls, and of which engine if that matters, each once, from a run without faults."""
    seen: list[tuple[str, str, str | None]] = []
    plain = SimulatedEngine._fault

    def fault(self: SimulatedEngine, db: Any, method: str) -> Any:
        activity = structlog.contextvars.get_contextvars().get("activity_id", "")
        seen.append((activity, f"{self.port}.{method}", self.name if case.everywhere else None))
        return plain(self, db, method)

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedEngine, "_fault", fault)
        activity = case.act(platform)
        _completed(platform, activity)
    return list(dict.fromkeys((method, engine) for owner, method, engine in seen if owner == activity))


def fail_once(platform: Platform, method: str, engine: str | None, *, late: bool) -> None:
    """Late: the work is done and the answer lost. A move's moments inside are no methods of a port, and fail too."""
    error = Unreachable("rack", method, "boom") if late else EngineError("rack", method, "boom")
    with platform.rack.faults._store.transaction() as db:
        db.execute(
            "INSERT INTO faults (method, engine, error, late) VALUES (?, ?, ?, ?)",
            (method, engine, encode_error(error), late),
        )


def forget_faults(platform: Platform) -> int:
    with platform.rack.faults._store.transaction() as db:
        return int(db.execute("DELETE FROM faults").rowcount)


LONG = (
    "machine start",
    "machine clone",
    "machine relocate",
    "stopped machine relocate",
    "machine with an image migrate",
    "snapshot create",
    "memory create",
    "memory revert",
)
"""These take half of the time of all: `make soak` has them."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak) if name in LONG else name for name in CASES]
)
def test_every_engine_call_may_fail_once(simulated: Platform, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """peers.md 11, 20: an activity whose engine fails at any call ends, leaves no orphan, and can be repeated."""
    case = CASES[name]
    case.prepare(simulated)
    calls = calls_of(simulated, case, monkeypatch)
    case.back(simulated)
    failed = 0
    for method, engine in calls:
        for late in (False,) if method.partition(".")[2] in LOOKS else (False, True):
            at = f"{name}: {method} of {engine or 'any engine'} {'late' if late else 'early'}"
            case.ready(simulated)
            fail_once(simulated, method, engine, late=late)
            state = simulated.ended(case.act(simulated))["state"]
            unmet = forget_faults(simulated)
            assert simulated.settled() == [], at
            if "failed" in state:
                failed += 1
                reason = state["failed"]["reason"]
                assert "boom" in reason, at
                assert "unexpected" not in reason.lower(), at
                assert "Not undone" not in reason, at
                repeat(simulated, case, at)
            else:
                assert not unmet, f"{at} was never called"
            case.back(simulated)
    assert failed or case.insists, "no fault ever reached the activity"


@pytest.fixture(autouse=True)
def tidy(simulated: Platform) -> Iterator[None]:
    """Each test begins with the furniture alone, whatever the one before it ended with."""
    yield
    forget_faults(simulated)
    for machine in simulated.get(MACHINES):
        simulated.remove(machine["id"])
    for kind in (NETWORKS, DATASTORES):
        for found in simulated.get(kind, name="second"):
            simulated.done("DELETE", f"{kind}/{found['id']}")
    assert simulated.settled() == []


def repeat(platform: Platform, case: Case, at: str) -> None:
    case.ready(platform)
    state = platform.ended(case.act(platform))["state"]
    assert "completed" in state, f"{at}, repeated: {json.dumps(state)}"


# --------------------------------------------------------------------------------------------------- arrays and volumes


@pytest.fixture
def writer(simulated: Platform) -> tuple[str, str, str]:
    """A running machine: its id, its blade, its disk."""
    machine_id = simulated.deploy("writer")
    blade = simulated.machine(machine_id)["host"]["name"]
    (disk,) = simulated.get(DISKS, virtualMachineId=machine_id)
    return machine_id, blade, disk["id"]


def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_an_array_daemon_killed_under_a_writing_guest(simulated: Platform, writer: tuple[str, str, str]) -> None:
    """The guest waits, is never stopped, and goes on from the same write when the supervisor has brought the daemon back."""
    machine_id, blade, disk = writer
    faults, volume = simulated.rack.faults, simulated.made["volume-AZ05"]
    assert faults.write(blade, machine_id, disk, MIB)
    faults.kill_daemon(volume)
    until(lambda: faults.write(blade, machine_id, disk, MIB))
    assert simulated.machine(machine_id)["powerState"] == "running"
    with simulated.services.database.read() as session:
        activities = list(session.scalars(sa.select(Activity).where(Activity.kind.in_(WATCHES))))
    assert {"lun_id": volume} in [activity.arguments for activity in activities]
    assert {"machine_id": machine_id} not in [activity.arguments for activity in activities]
    assert simulated.settled() == []


def test_blades_let_go_of_a_daemon_that_died_and_one_that_cannot_be_asked_keeps_nobody(
    simulated: Platform, writer: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated guests have no connections: that those of real ones are broken is tried in the lab."""
    machine_id, blade, disk = writer
    volume, asked = simulated.made["volume-AZ05"], []

    def let_go(hypervisor: SimulatedHypervisor, address: str, port: int, seconds: float) -> int:
        asked.append((hypervisor.name, address, port))
        assert seconds >= 0
        if hypervisor.name == "az05-blade1":
            raise Unreachable(hypervisor.name, "ss", "no answer")
        return 2

    monkeypatch.setattr(SimulatedHypervisor, "let_go", let_go)
    with structlog.testing.capture_logs() as logs:
        simulated.rack.faults.kill_daemon(volume)
        until(lambda: simulated.rack.faults.write(blade, machine_id, disk, MIB))
        until(lambda: len(asked) >= 2)
        assert simulated.settled() == []
    with simulated.services.database.read() as session:
        lun = session.get(Lun, volume)
        assert lun is not None
        port = lun.port
    (array,) = (entry for entry in simulated.services.world.inventory.arrays if entry.name == "az05-array")
    assert {name for name, _, _ in asked} == {"az05-blade1", "az05-blade2"}
    assert {(address, at) for _, address, at in asked} == {(str(array.address), port)}
    events = [(entry["event"], entry["blade"]) for entry in logs if entry["event"].startswith("volume.")]
    assert ("volume.blade_not_asked", "az05-blade1") in events
    assert ("volume.stale_connections_broken", "az05-blade2") in events


def test_a_full_volume_makes_a_guest_wait_until_there_is_room(
    simulated: Platform, writer: tuple[str, str, str]
) -> None:
    """peers.md 25: never an I/O error, never a machine marked stopped; with room again it goes on."""
    machine_id, blade, disk = writer
    faults, volume = simulated.rack.faults, simulated.made["volume-AZ05"]
    until(lambda: simulated.get(f"{DISKS}/{disk}")["status"] == "active")
    faults.fill(volume)
    try:
        until(lambda: not faults.write(blade, machine_id, disk, MIB))
        assert simulated.machine(machine_id)["powerState"] == "running"
    finally:
        faults.empty(volume)
    until(lambda: faults.write(blade, machine_id, disk, MIB))
    assert simulated.rack.hypervisor(blade).state(machine_id) == PowerState.RUNNING


def test_a_guest_whose_process_dies_is_stopped_in_the_tables_and_starts_again(
    simulated: Platform, writer: tuple[str, str, str]
) -> None:
    machine_id, blade, disk = writer
    simulated.rack.faults.crash(blade, machine_id)
    until(lambda: simulated.machine(machine_id)["powerState"] == "stopped")
    assert disk not in simulated.rack.array("az05-array").contents(simulated.made["volume-AZ05"]).exports
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})


# --------------------------------------------------------------------------------------------------------------- blades


def connected(platform: Platform, blade: str) -> bool:
    return bool(platform.get(f"{COMPUTE}/hosts", name=blade)[0]["metrics"]["connected"])


def test_a_blade_that_does_not_answer_stops_no_machine(simulated: Platform, writer: tuple[str, str, str]) -> None:
    """peers.md 4: an agent that is away is no evidence; the machine stays running, orders say why they fail, others go on."""
    machine_id, blade, disk = writer
    faults = simulated.rack.faults
    faults.cut(blade)
    try:
        until(lambda: not connected(simulated, blade))
        for action in ("off", "on", "reset"):
            reason = simulated.failed("PATCH", POWER, {"id": machine_id, "powerAction": action})
            assert f"{blade} did not answer in time" in reason
            assert "Check the host, then try again" in reason
        assert simulated.refused("DELETE", f"{MACHINES}/{machine_id}")["code"] == "compute.wrong_power"
        other = simulated.deploy("elsewhere")
        assert simulated.machine(other)["host"]["name"] != blade
        reason = simulated.failed("POST", simulated.deploy_path, simulated.deployment("huge", memory=2 * GIB))
        assert "memory enabled" in reason
        time.sleep(1.5)  # more than a round of the supervisor: what it might do, it has done
        assert simulated.machine(machine_id)["powerState"] == "running"
        kinds = {finding["kind"] for finding in simulated.findings()}
        assert kinds == {"host.unreachable"}
        assert faults.write(blade, machine_id, disk, MIB), "the guest itself never noticed"
    finally:
        faults.join(blade)
    until(lambda: connected(simulated, blade))
    assert simulated.settled() == []
    assert simulated.rack.hypervisor(blade).state(machine_id) == PowerState.RUNNING


def test_a_stopped_machine_starts_elsewhere_while_its_blade_is_away(simulated: Platform) -> None:
    machine_id = simulated.deploy("nomad")
    blade = simulated.machine(machine_id)["host"]["name"]
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "off"})
    simulated.rack.faults.cut(blade)
    try:
        until(lambda: not connected(simulated, blade))
        simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
        assert simulated.machine(machine_id)["host"]["name"] != blade
    finally:
        simulated.rack.faults.join(blade)
    until(lambda: connected(simulated, blade))
    until(lambda: not simulated.findings())  # what it left behind on its old blade is removed
    assert simulated.settled() == []


def test_no_blade_at_all_is_said_blade_by_blade(simulated: Platform) -> None:
    blades = ("az05-blade1", "az05-blade2")
    for blade in blades:
        simulated.rack.faults.cut(blade)
    try:
        until(lambda: not any(connected(simulated, blade) for blade in blades))
        reason = simulated.failed("POST", simulated.deploy_path, simulated.deployment("nowhere"))
        assert "az05-blade1: not connected; az05-blade2: not connected" in reason
        assert "Stop a machine, make this one smaller" in reason
    finally:
        for blade in blades:
            simulated.rack.faults.join(blade)
    until(lambda: all(connected(simulated, blade) for blade in blades))
    assert simulated.settled() == []


def test_a_blade_that_lost_its_power_comes_back_with_its_vlans(simulated: Platform) -> None:
    """Its machines are stopped once it is back and says so, not before."""
    machine_id = simulated.deploy("dark")
    blade = simulated.machine(machine_id)["host"]["name"]
    simulated.rack.chassis(blade).off()
    until(lambda: not connected(simulated, blade))
    assert simulated.machine(machine_id)["powerState"] == "running"
    simulated.rack.chassis(blade).on()
    until(lambda: simulated.machine(machine_id)["powerState"] == "stopped")
    assert simulated.settled() == []
    simulated.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
