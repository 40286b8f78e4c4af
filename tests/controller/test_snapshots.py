"""Snapshots through the API on a simulated rack: trees, modes, refusals, freezes, failures."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.activity import Engine
from naos.compute.sampling import Sampler
from naos.engines.errors import EngineError, GuestRefused
from naos.engines.ports import LunSpec
from naos.engines.simulated.hypervisor import SimulatedHypervisor
from naos.storage import snapshot_growth
from naos.storage.models import LunSample, Snapshot, SnapshotPoint
from naos.storage.snapshot_growth import SnapshotWatch

DISKS, SNAPSHOTS = f"{COMPUTE}/virtual_disks", f"{COMPUTE}/snapshots"


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


def _take(platform: Platform, machine_id: str, name: str, **options: Any) -> str:
    return platform.done("POST", SNAPSHOTS, {"virtualMachineId": machine_id, "name": name, **options})


def _list(platform: Platform, machine_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.get(SNAPSHOTS, virtualMachineId=machine_id)
    return found


def _tree(platform: Platform, machine_id: str) -> dict[str, str]:
    """Name -> parent's name, the current one with a star."""
    rows = _list(platform, machine_id)
    names = {row["id"]: row["name"] for row in rows} | {"": ""}
    return {row["name"] + ("*" if row["current"] else ""): names[row["parentId"]] for row in rows}


def _held(platform: Platform, disk_id: str) -> list[str]:
    facts = platform.rack.array("az05-array").disk(platform.made["volume-AZ05"], disk_id)
    assert facts is not None
    return list(facts.snapshots)


def _power(platform: Platform, machine_id: str, action: str) -> None:
    platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action})


def test_a_snapshot_reads_as_clients_expect(roomy: Platform, machine: str) -> None:
    assert roomy.machine(machine)["snapshoted"] is False
    activity = roomy.ended(
        roomy.write("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "before", "description": "the upgrade"})
    )
    assert activity["concernedItems"][0]["type"] == "snapshot"
    (snapshot,) = _list(roomy, machine)
    assert snapshot["id"] == activity["concernedItems"][0]["id"] == activity["state"]["completed"]["result"]
    assert (snapshot["virtualMachineId"], snapshot["name"], snapshot["description"]) == (
        machine,
        "before",
        "the upgrade",
    )
    assert (snapshot["quiesced"], snapshot["current"], snapshot["parentId"]) == (False, True, "")
    assert isinstance(snapshot["createTime"], int)
    assert snapshot["createTime"] > 1_700_000_000_000
    assert roomy.get(f"{SNAPSHOTS}/{snapshot['id']}") == snapshot
    assert snapshot in roomy.get(SNAPSHOTS)
    assert roomy.machine(machine)["snapshoted"] is True
    assert roomy.get(SNAPSHOTS, virtualMachineId="6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11") == []
    roomy.done("DELETE", f"{SNAPSHOTS}/{snapshot['id']}")
    assert roomy.machine(machine)["snapshoted"] is False


def test_a_tree_keeps_its_shape_and_says_where_the_disks_are(roomy: Platform, machine: str) -> None:
    """one - two - three, back to one, then a branch; the middle one goes while the machine runs."""
    ids = {name: _take(roomy, machine, name) for name in ("one", "two", "three")}
    assert _tree(roomy, machine) == {"one": "", "two": "one", "three*": "two"}
    error = roomy.refused("POST", f"{SNAPSHOTS}/revert", {"id": ids["one"]})
    assert (error["code"], "power it off" in error["message"]) == ("compute.wrong_power", True)
    _power(roomy, machine, "off")
    roomy.done("POST", f"{SNAPSHOTS}/revert", {"id": ids["one"]})
    assert _tree(roomy, machine) == {"one*": "", "two": "one", "three": "two"}
    _take(roomy, machine, "branch")
    assert _tree(roomy, machine) == {"one": "", "two": "one", "three": "two", "branch*": "one"}
    _power(roomy, machine, "on")
    roomy.done("DELETE", f"{SNAPSHOTS}/{ids['two']}")
    roomy.done("DELETE", f"{SNAPSHOTS}/{ids['one']}")
    assert _tree(roomy, machine) == {"three": "", "branch*": ""}
    (disk,) = roomy.get(DISKS, virtualMachineId=machine)
    assert len(_held(roomy, disk["id"])) == 2


def test_independent_disks_take_no_part(roomy: Platform, machine: str) -> None:
    (boot,) = roomy.get(DISKS, virtualMachineId=machine)
    modes = ("persistent", "independent_persistent", "independent_nonpersistent")
    disks = {
        mode: roomy.done("POST", DISKS, {"virtualMachineId": machine, "capacity": GIB, "diskMode": mode})
        for mode in modes
    }
    snapshot_id = _take(roomy, machine, "some")
    assert [_held(roomy, disks[mode]) for mode in modes] == [[snapshot_id], [], []]
    assert _held(roomy, boot["id"]) == [snapshot_id]
    for change in ({"newCapacity": 2 * GIB}, {"diskMode": "independent_persistent"}):
        error = roomy.refused("PATCH", DISKS, {"id": disks["persistent"], **change})
        assert (error["code"], error["details"]["snapshots"]) == ("storage.snapshot_holds", "some")
    assert roomy.refused("DELETE", f"{DISKS}/{disks['persistent']}")["code"] == "storage.snapshot_holds"
    unmount = {"virtualDiskId": disks["persistent"]}
    assert roomy.refused("POST", f"{DISKS}/unmount", unmount)["code"] == "storage.snapshot_holds"
    roomy.done("PATCH", DISKS, {"id": disks["independent_persistent"], "newCapacity": 2 * GIB})
    roomy.done("DELETE", f"{DISKS}/{disks['independent_nonpersistent']}")


def test_what_would_hold_nothing_is_refused(roomy: Platform, machine: str) -> None:
    (boot,) = roomy.get(DISKS, virtualMachineId=machine)
    roomy.done("PATCH", DISKS, {"id": boot["id"], "diskMode": "independent_persistent"})
    error = roomy.refused("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "nothing"})
    assert (error["code"], error["details"]["others"]) == ("storage.nothing_to_snapshot", 1)


def test_a_quiesced_snapshot_says_whether_the_guest_was_at_rest(
    roomy: Platform, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert roomy.get(f"{SNAPSHOTS}/{_take(roomy, machine, 'rest', quiesce=True)}")["quiesced"] is True
    blade = roomy.machine(machine)["host"]["name"]
    roomy.rack.faults.fail_next("hypervisor.freeze", GuestRefused(blade, "freezing", "it has no agent"), engine=blade)
    reason = roomy.failed("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "no agent", "quiesce": True})
    assert "it has no agent" in reason
    assert "quiesce: false" in reason
    # its blade had thawed it by the time that it was asked to: what was written meanwhile is in no order
    monkeypatch.setattr(SimulatedHypervisor, "thaw", lambda _self, _machine: 0)
    assert roomy.get(f"{SNAPSHOTS}/{_take(roomy, machine, 'late', quiesce=True)}")["quiesced"] is False
    assert [row["name"] for row in _list(roomy, machine)] == ["rest", "late"]


def test_a_guest_whose_agent_dies_while_it_is_frozen_is_told_by_its_keyboard_or_reported(
    roomy: Platform, machine: str
) -> None:
    sampler = Sampler(roomy.services.world, cast(Engine, roomy.services.engine))
    roomy.rack.faults.lose_agent(machine, obeys=True)
    assert roomy.get(f"{SNAPSHOTS}/{_take(roomy, machine, 'thawed', quiesce=True)}")["quiesced"] is False
    sampler.look()
    assert roomy.machine(machine)["triggeredAlarms"] == []
    roomy.rack.faults.lose_agent(machine, obeys=False)
    reason = roomy.failed("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "deaf", "quiesce": True})
    assert "its agent does not answer, and nothing was written since" in reason
    assert [row["name"] for row in _list(roomy, machine)] == ["thawed"]
    sampler.look()
    assert roomy.machine(machine)["triggeredAlarms"] == [{"id": "frozen", "status": "red"}]
    (finding,) = roomy.findings()
    assert (finding["kind"], finding["subject"]) == ("guest.frozen", machine)
    assert "naos vm reset" in finding["repair"]
    _power(roomy, machine, "reset")
    sampler.look()
    assert roomy.machine(machine)["triggeredAlarms"] == []


def test_what_a_snapshot_holds_is_watched_and_goes_with_it(
    roomy: Platform, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_growth, "SMALLEST", 2**20)
    (boot,) = roomy.get(DISKS, virtualMachineId=machine)
    watch = SnapshotWatch(roomy.services.world, cast(Engine, roomy.services.engine))
    old, new = _take(roomy, machine, "old"), ""
    shown = roomy.get(f"{SNAPSHOTS}/{old}")
    assert (shown["size"], shown["growthPerDay"], shown["warnings"]) == (None, None, [])
    blade = roomy.machine(machine)["host"]["name"]
    assert roomy.rack.faults.write(blade, machine, boot["id"], 24 * 2**20)
    new = _take(roomy, machine, "new")
    assert roomy.rack.faults.write(blade, machine, boot["id"], 8 * 2**20)
    watch.look()
    with roomy.services.database.write() as session:  # as if it had been taken two days ago
        session.get_one(Snapshot, old).created_at -= timedelta(days=2)
    sizes = {row["name"]: (row["size"], row["warnings"]) for row in _list(roomy, machine)}
    assert sizes == {"old": (24 * 2**20, []), "new": (8 * 2**20, [])}
    growth = roomy.get(f"{SNAPSHOTS}/{old}/growth")
    assert [point["held"] for point in growth["points"]] == [24 * 2**20]
    assert 11 * 2**20 < growth["growthPerDay"] < 13 * 2**20
    lun_id = roomy.made["volume-AZ05"]
    with roomy.services.database.write() as session:
        session.get_one(Snapshot, old).created_at -= timedelta(days=2)
        session.get_one(LunSample, lun_id).free = 50 * 2**20
    said = " ".join(roomy.get(f"{SNAPSHOTS}/{old}")["warnings"])
    assert "Snapshot old is 4 days old" in said
    assert "holds 24 MiB while 50 MiB are free on volume volume-AZ05" in said
    scraped = roomy.client.get("/metrics").text
    assert f'naos_snapshot_held_bytes{{id="{old}",machine="subject",snapshot="old"}} 2.5165824e+07' in scraped
    assert f'naos_snapshot_warnings{{id="{old}",machine="subject",snapshot="old"}} 2.0' in scraped
    assert roomy.stranger().get(f"{SNAPSHOTS}/{old}/growth").status_code == 404
    roomy.rack.faults.fail_next("array.held_by_snapshots", EngineError("az05-array", "a look", "it is silent"))
    watch.look()  # what was seen before stays
    assert roomy.get(f"{SNAPSHOTS}/{new}")["size"] == 8 * 2**20
    roomy.done("DELETE", f"{SNAPSHOTS}/{old}")
    with roomy.services.database.read() as session:
        assert session.scalars(sa.select(SnapshotPoint.snapshot_id)).all() == [new]


def test_disks_on_two_volumes_are_taken_while_the_guest_stands_still(roomy: Platform, machine: str) -> None:
    volume = {"name": "second", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    second = roomy.done("POST", f"{COMPUTE}/datastores", volume)
    body = {"virtualMachineId": machine, "capacity": GIB, "datastoreId": second}
    disk_id = roomy.done("POST", DISKS, body)
    snapshot_id = _take(roomy, machine, "both")
    facts = roomy.rack.array("az05-array").disk(second, disk_id)
    assert facts is not None
    assert list(facts.snapshots) == [snapshot_id]
    blade = roomy.machine(machine)["host"]["name"]
    assert roomy.rack.hypervisor(blade).state(machine) == "running"
    failure = EngineError("az05-array", "a snapshot", "it did not work")
    roomy.rack.faults.fail_next("array.snapshot_disks", failure, engine="az05-array")
    assert "it did not work" in roomy.failed("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "failed"})
    assert roomy.rack.hypervisor(blade).state(machine) == "running"
    assert [row["name"] for row in _list(roomy, machine)] == ["both"]
    roomy.done("DELETE", f"{SNAPSHOTS}/{snapshot_id}")
    roomy.done("DELETE", f"{DISKS}/{disk_id}")
    roomy.done("DELETE", f"{COMPUTE}/datastores/{second}")


def test_consolidation_removes_what_no_snapshot_stands_for(roomy: Platform, machine: str) -> None:
    (boot,) = roomy.get(DISKS, virtualMachineId=machine)
    kept = _take(roomy, machine, "kept")
    stray = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"
    lun = LunSpec(roomy.made["volume-AZ05"], 500 * GIB, None, 10809)
    roomy.rack.array("az05-array").snapshot_disks(lun, stray, [boot["id"]])
    assert {item["kind"] for item in roomy.findings()} == {"snapshot.orphan"}
    roomy.done("POST", f"{SNAPSHOTS}/consolidate", {"virtualMachineId": machine})
    assert _held(roomy, boot["id"]) == [kept]


def test_a_machine_takes_its_snapshots_with_it(roomy: Platform) -> None:
    machine_id = roomy.deploy("short-lived")
    _take(roomy, machine_id, "one")
    _take(roomy, machine_id, "two")
    roomy.remove(machine_id)
    assert _list(roomy, machine_id) == []


def test_snapshots_of_one_machine_are_bounded(roomy: Platform, machine: str) -> None:
    for number in range(32):
        roomy.write("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": f"number {number}"})
    error = roomy.refused("POST", SNAPSHOTS, {"virtualMachineId": machine, "name": "one too many"})
    assert (error["code"], error["details"]["limit"]) == ("storage.too_many_snapshots", 32)


def test_of_two_machines_only_one_gets_an_unmounted_disk(roomy: Platform) -> None:
    one, two = roomy.deploy("first taker"), roomy.deploy("second taker")
    disk_id = roomy.done("POST", DISKS, {"virtualMachineId": one, "capacity": GIB})
    path = roomy.get(f"{DISKS}/{disk_id}")["diskPath"]
    roomy.done("POST", f"{DISKS}/unmount", {"virtualDiskId": disk_id})

    def mount(owner: str) -> bool:
        answer = roomy.client.post(f"{DISKS}/mount", json={"virtualMachineId": owner, "path": path})
        return answer.status_code == 201 and "completed" in roomy.ended(answer.headers["Location"])["state"]

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(mount, (one, two))) == [False, True]
    for machine_id in (one, two):
        roomy.remove(machine_id)
