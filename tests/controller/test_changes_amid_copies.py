"""What is done to a machine while a copy of it is under way: it is done, the copy ends in one way or the other, and nothing that could be
restored before cannot be afterwards."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from crash_matrix import BACKUP, VAULT
from simulated_platform import COMPUTE, GIB, POWER, Platform, furnished_in, inventory_text

from naos.engines.ports import JobState, LunSpec
from naos.engines.simulated.points import SimulatedSourcing
from naos.protection import copying
from naos.protection.copying import Where
from naos.protection.recovery.models import Replica
from naos.protection.replication import rules as cycles

pytestmark = pytest.mark.soak
REPLICAS, VOLUMES = "/recovery/v1/replicas", "/replication/v1/volumes"
SNAPSHOTS, DISKS = f"{COMPUTE}/snapshots", f"{COMPUTE}/virtual_disks"


class Gate:
    """Copies that have begun do not come to their end while it is shut."""

    def __init__(self) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        self.open.set()
        self._point = SimulatedSourcing.point

    def point(self, array: SimulatedSourcing, lun: LunSpec, point_id: str, disk_ids: list[str]) -> JobState:
        state = self._point(array, lun, point_id, disk_ids)
        if self.open.is_set():
            return state
        self.reached.set()
        return replace(state, running=True)


@pytest.fixture(scope="module")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Platform]:
    """A running machine, with a replica, on a replicated volume, under a policy of a third zone."""
    folder: Path = tmp_path_factory.mktemp("platform")
    text = inventory_text().replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    (folder / "inventory.toml").write_text(f"{VAULT}\n{text}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, furnished_in(folder) as made:
        patch.setattr(cycles, "INTERVAL", timedelta(seconds=0.2))
        patch.setattr(cycles, "REST", timedelta(seconds=0.1))

        def gated(array: SimulatedSourcing, lun: LunSpec, point_id: str, disk_ids: list[str]) -> JobState:
            return gate.point(array, lun, point_id, disk_ids)

        patch.setattr(SimulatedSourcing, "point", gated)
        machine = made.made["machine"] = made.deploy("subject")
        there = {"hostClusterId": made.made["pool-AZ06"], "datastoreId": made.made["volume-AZ06"], "keep": 24}
        made.made["replica"] = made.done("POST", REPLICAS, {"virtualMachineId": machine, **there})
        policy = {"name": "nightly", "site": "AZ07", "terms": {"cron": "0 0 1 1 *", "keep": {"days": 30}}}
        policy_id = made.done("POST", f"{BACKUP}/policies", policy)
        body = {"virtualMachineIds": [machine], "slaPolicies": [policy_id]}
        made.done("POST", f"{BACKUP}/policies/assign/virtual_machine", body)
        jobs = made.get(f"{BACKUP}/jobs", type="protection")
        made.made["job"] = next(job["id"] for job in jobs if job["policyId"] == policy_id)
        made.made["volume"] = made.done("POST", VOLUMES, {"volumeId": made.made["volume-AZ05"], "zoneId": "AZ06"})
        yield made


def _until(look: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"not in time: {what}"
        time.sleep(0.02)
    return found


# -------------------------------------------------------------------------------------------------------------- the copies


@dataclass(frozen=True)
class Copy:
    """begin: one that ends by itself, the id of its activity or "". where: its points."""

    begin: Callable[[Platform], str]
    where: Callable[[Platform], list[tuple[Where, str]]]


def _of_replica(platform: Platform) -> list[tuple[Where, str]]:
    with platform.services.database.read() as session:
        row = session.get_one(Replica, platform.made["replica"])
    return [(Where("lun", row.lun_id), row.set_id)]


def _of_backup(platform: Platform) -> list[tuple[Where, str]]:
    where = Where("vault", "v")
    return [(where, set_id) for set_id in copying.store_of(platform.services.world, where).sets()]


def _of_volume(platform: Platform) -> list[tuple[Where, str]]:
    shown = platform.get(f"{VOLUMES}/{platform.made['volume']}")
    return [(Where("lun", shown["replica"]["id"]), shown["id"])]


COPIES = {
    "replica": Copy(lambda p: p.write("POST", f"{REPLICAS}/{p.made['replica']}/run"), _of_replica),
    "backup": Copy(lambda p: p.write("POST", f"{BACKUP}/jobs/run", {"jobId": p.made["job"]}), _of_backup),
    "volume": Copy(lambda _platform: "", _of_volume),
}


def _whole(platform: Platform, copy: Copy) -> list[str]:
    """The points that are there, each whole."""
    world, found = platform.services.world, []
    for where, set_id in copy.where(platform):
        for point in copying.points(world, where, set_id):
            assert copying.verify(world, where, set_id, point.id).damages == []
            found.append(point.id)
    return found


def _taken(platform: Platform, name: str) -> None:
    """One more point, from its beginning to its end."""
    if name == "volume":
        seen: set[str] = set()

        def two_more() -> bool:  # the first may have begun before what was done
            seen.add(str(platform.get(f"{VOLUMES}/{platform.made['volume']}")["recoveryPoint"]["pointId"]))
            return len(seen) > 2

        _until(two_more, "new points of the volume")
        return
    ended = platform.ended(COPIES[name].begin(platform))
    assert "completed" in ended["state"], ended["state"]


# ------------------------------------------------------------------------------------------------------------- what is done


def _rename(platform: Platform) -> None:
    body = {"id": platform.made["machine"], "name": "Änderung 変更 🚀"}
    platform.done("PATCH", f"{COMPUTE}/virtual_machines/rename", body)


def _power_off(platform: Platform) -> None:
    platform.done("PATCH", POWER, {"id": platform.made["machine"], "powerAction": "off"})


def _migrate(platform: Platform) -> None:
    here = platform.machine(platform.made["machine"])["host"]["id"]
    hosts = platform.get(f"{COMPUTE}/hosts", hostClusterId=platform.made["pool-AZ05"])
    other = next(host["id"] for host in hosts if host["id"] != here)
    body = {"virtualMachines": [platform.made["machine"]], "hostId": other}
    platform.done("POST", f"{COMPUTE}/virtual_machines/relocate", body)


def _snapshot(platform: Platform) -> None:
    platform.done("POST", SNAPSHOTS, {"virtualMachineId": platform.made["machine"], "name": "amid"})


def _disk(platform: Platform) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(DISKS, virtualMachineId=platform.made["machine"])[0]
    return found


def _grow_disk(platform: Platform) -> None:
    disk = _disk(platform)
    platform.done("PATCH", DISKS, {"id": disk["id"], "newCapacity": disk["capacity"] + GIB})


def _add_disk(platform: Platform) -> None:
    platform.done("POST", DISKS, {"virtualMachineId": platform.made["machine"], "capacity": GIB})


CHANGES = {
    "renamed": _rename,
    "powered off": _power_off,
    "migrated": _migrate,
    "snapshotted": _snapshot,
    "resized": _grow_disk,
    "given a disk": _add_disk,
}


def _tidy(platform: Platform) -> None:
    for snapshot in platform.get(SNAPSHOTS, virtualMachineId=platform.made["machine"]):
        platform.done("DELETE", f"{SNAPSHOTS}/{snapshot['id']}")
    for disk in platform.get(DISKS, virtualMachineId=platform.made["machine"])[1:]:
        platform.done("DELETE", f"{DISKS}/{disk['id']}")
    if platform.machine(platform.made["machine"])["powerState"] != "running":
        platform.done("PATCH", POWER, {"id": platform.made["machine"], "powerAction": "on"})


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", COPIES)
def test_a_machine_that_is_changed_amid_a_copy(platform: Platform, gate: Gate, name: str, change: str) -> None:
    copy = COPIES[name]
    _taken(platform, name)
    before = _whole(platform, copy)
    gate.reached.clear()
    gate.open.clear()
    try:
        going = copy.begin(platform)
        assert gate.reached.wait(20), "no copy has begun"
        CHANGES[change](platform)
    finally:
        gate.open.set()
    if going:
        platform.ended(going)
    _taken(platform, name)
    after = _whole(platform, copy)
    if name == "volume":
        assert len(after) >= 1
    else:
        assert set(before) < set(after)
    _tidy(platform)
    assert platform.settled() == []
