"""Clones of machines, and moves between blades, pools, zones, volumes and networks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from simulated_platform import COMPUTE, GIB, POWER, Platform, furnished_in

from naos.engines.errors import EngineError
from naos.engines.ports import PowerState
from naos.fleet.models import Cpool
from naos.storage import clusters, luns, snapshots
from naos.storage.models import DatastoreCluster, Lun, Snapshot, SnapshotDisk

MACHINES, DISKS, ADAPTERS = f"{COMPUTE}/virtual_machines", f"{COMPUTE}/virtual_disks", f"{COMPUTE}/network_adapters"
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def rack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Two pools and two volumes in the first zone, a pool and a volume in the second; a VLAN on all, and one of the first pool."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder, blades_per_zone=4) as platform:
        pool = {"name": "second", "datacenterId": "AZ05", "model": "LAB v1", "hosts": 2}
        platform.made["second"] = platform.done("POST", f"{COMPUTE}/host_clusters", pool)
        propagations = f"{COMPUTE}/networks/{platform.made['vlan']}/propagations"
        platform.done("POST", propagations, {"hostClusterIds": [platform.made["second"]]})
        local = {"name": "local", "hostClusterIds": [platform.made["pool-AZ05"]]}
        platform.made["local"] = platform.done("POST", f"{COMPUTE}/networks", local)
        volume = {"name": "fast", "datacenterId": "AZ05", "storageClass": "premium", "capacity": 500 * GIB}
        platform.made["fast"] = platform.done("POST", f"{COMPUTE}/datastores", volume)
        yield platform


@pytest.fixture
def subject(rack: Platform) -> Iterator[str]:
    """A running machine with a second disk; everything that was made is gone afterwards, and nothing is left."""
    machine_id = rack.deploy("subject")
    rack.done("POST", DISKS, {"virtualMachineId": machine_id, "capacity": GIB})
    yield machine_id
    for machine in rack.get(MACHINES):
        rack.remove(machine["id"])
    assert rack.settled() == []
    for array, volumes in (("az05-array", ("volume-AZ05", "fast")), ("az06-array", ("volume-AZ06",))):
        for volume in volumes:
            contents = rack.rack.array(array).contents(rack.made[volume])
            assert (list(contents.disks), dict(contents.exports)) == ([], {})


def disks(rack: Platform, machine_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rack.get(DISKS, virtualMachineId=machine_id)
    return found


def volumes(rack: Platform, machine_id: str) -> list[str]:
    names = {rack.made[name]: name for name in ("volume-AZ05", "volume-AZ06", "fast")}
    return [names[disk["datastore"]["id"]] for disk in disks(rack, machine_id)]


def power(rack: Platform, machine_id: str, action: str) -> None:
    rack.done("PATCH", POWER, {"id": machine_id, "powerAction": action})


def move(rack: Platform, machine_id: str, **where: Any) -> dict[str, Any]:
    """The machine once it has moved; its guest runs on when it ran, and tables and world agree."""
    before = rack.machine(machine_id)["powerState"]
    rack.done("POST", f"{MACHINES}/relocate", {"virtualMachines": [machine_id], "priority": "highPriority", **where})
    machine = rack.machine(machine_id)
    assert machine["powerState"] == before
    if before == "running":
        blade = machine["host"]["name"]
        assert rack.rack.hypervisor(blade).state(machine_id) is PowerState.RUNNING
        for disk in disks(rack, machine_id):
            assert rack.rack.faults.write(blade, machine_id, disk["id"], 4096), "the guest cannot write any more"
    assert rack.settled() == []
    return machine


def clone(rack: Platform, machine_id: str, name: str, **where: Any) -> str:
    activity = rack.ended(rack.write("POST", f"{MACHINES}/{machine_id}/clone", {"name": name, **where}))
    assert "completed" in activity["state"], activity["state"]
    made = str(activity["state"]["completed"]["result"])
    assert activity["concernedItems"][0] == {"id": made, "type": "virtual_machine"}
    return made


# --------------------------------------------------------------------------------------------------------------- clones


@pytest.mark.parametrize("running", [True, False])
def test_a_clone_has_the_sources_shape_and_an_identity_of_its_own(rack: Platform, subject: str, running: bool) -> None:
    if not running:
        power(rack, subject, "off")
    made = clone(rack, subject, "copy")
    source, copy = rack.machine(subject), rack.machine(made)
    assert source["powerState"] == ("running" if running else "stopped")
    assert copy["powerState"] == "stopped"
    for key in ("cpu", "memory", "hostCluster", "datastore", "distributedVirtualPortGroupIds", "operatingSystem"):
        assert copy[key] == source[key], key
    mine, theirs = disks(rack, made), disks(rack, subject)
    assert [disk["capacity"] for disk in mine] == [disk["capacity"] for disk in theirs]
    assert not {disk["id"] for disk in mine} & {disk["id"] for disk in theirs}
    macs = [rack.get(ADAPTERS, virtualMachineId=machine_id)[0]["macAddress"] for machine_id in (made, subject)]
    assert macs[0] != macs[1]
    power(rack, made, "on")
    rack.remove(subject)
    assert rack.rack.hypervisor(rack.machine(made)["host"]["name"]).state(made) is PowerState.RUNNING
    assert rack.settled() == []
    facts = rack.rack.array("az05-array").disk(rack.made["volume-AZ05"], mine[0]["id"])
    assert facts is not None
    assert facts.backing is None, "it still needs what the source was made from"


def test_a_clone_of_disks_on_two_volumes_goes_where_it_is_told_and_starts(rack: Platform, subject: str) -> None:
    move(rack, subject, diskPlacements=[place(rack, subject, 1, "fast")])
    beside = clone(rack, subject, "beside", powerOn=True)
    assert volumes(rack, beside) == ["volume-AZ05", "fast"]
    assert rack.machine(beside)["powerState"] == "running"
    far = clone(rack, subject, "far", hostClusterId=rack.made["pool-AZ06"], datastoreId=rack.made["volume-AZ06"])
    assert volumes(rack, far) == ["volume-AZ06", "volume-AZ06"]
    assert rack.machine(far)["datacenter"]["name"] == "AZ06"
    blade = rack.machine(subject)["host"]["name"]
    assert rack.rack.hypervisor(blade).state(subject) is PowerState.RUNNING, (
        "it was paused for the instant, and stays so"
    )


def test_clones_that_cannot_be_are_refused_before_anything_is_made(rack: Platform, subject: str) -> None:
    path = f"{MACHINES}/{subject}/clone"
    for body, code in (
        ({"name": "subject"}, "naos.name_taken"),
        ({"name": "x", "datacenterId": rack.zone("AZ06")}, "compute.placement_unsupported"),
        ({"name": "x", "datastoreId": rack.made["volume-AZ06"]}, "compute.wrong_zone"),
        ({"name": "x", "datastoreId": NOBODY}, "naos.unknown"),
        ({"name": "x", "hostClusterId": NOBODY}, "naos.unknown"),
        ({"name": "x", "hostId": NOBODY}, "naos.unknown"),
        ({"name": ""}, "name.empty"),
    ):
        assert rack.refused("POST", path, body)["code"] == code, body
    rack.rack.faults.fill(rack.made["fast"], left=1000)
    full = rack.refused("POST", path, {"name": "x", "datastoreId": rack.made["fast"]})
    assert full["code"] == "storage.volume_room"
    assert "fast" in full["message"]
    rack.rack.faults.empty(rack.made["fast"])
    assert rack.refused("POST", path, {"name": "x"}, client=rack.stranger())["code"] == "naos.unknown"
    assert [machine["name"] for machine in rack.get(MACHINES)] == ["subject"]


def test_several_clones_at_once_are_made_one_after_the_other(rack: Platform, subject: str) -> None:
    activities = [rack.write("POST", f"{MACHINES}/{subject}/clone", {"name": f"copy-{n}"}) for n in range(3)]
    power_off = rack.write("PATCH", POWER, {"id": subject, "powerAction": "off"})
    for activity in [*activities, power_off]:
        assert "completed" in rack.ended(activity)["state"]
    assert len(rack.get(MACHINES)) == 4


def test_what_changed_while_a_request_waited_is_looked_at_again(rack: Platform, subject: str) -> None:
    """A disk grows and moves before a clone has its turn: the clone is of the grown disk, or says what changed."""
    disk = disks(rack, subject)[1]["id"]
    grow = rack.write("PATCH", DISKS, {"id": disk, "newCapacity": 2 * GIB})
    copy = rack.write("POST", f"{MACHINES}/{subject}/clone", {"name": "grown", "datastoreId": rack.made["fast"]})
    body = {"virtualMachines": [subject], "datastoreId": rack.made["fast"]}
    moving = rack.write("POST", f"{MACHINES}/relocate", body)
    late = rack.write("POST", f"{MACHINES}/{subject}/clone", {"name": "late"})
    for activity in (grow, copy, moving):
        assert "completed" in rack.ended(activity)["state"]
    (made,) = rack.get(MACHINES, name="grown")
    assert [entry["capacity"] for entry in disks(rack, made["id"])][1] == 2 * GIB
    ended = rack.ended(late)["state"]
    assert "not where it was" in ended["failed"]["reason"] if "failed" in ended else volumes(rack, subject)
    assert rack.settled() == []


# ---------------------------------------------------------------------------------------------------------------- moves


def place(rack: Platform, machine_id: str, number: int, volume: str) -> dict[str, str]:
    disk = disks(rack, machine_id)[number]["id"]
    return {"virtualDiskId": disk, "virtualMachineId": machine_id, "datastoreId": rack.made[volume]}


@pytest.mark.parametrize("running", [True, False])
def test_a_machine_moves_everywhere_and_back_with_its_ids(rack: Platform, subject: str, running: bool) -> None:
    if not running:
        power(rack, subject, "off")
    ids = [disk["id"] for disk in disks(rack, subject)]
    machine = move(rack, subject, datastoreId=rack.made["fast"])
    assert machine["datastore"]["id"] == rack.made["fast"]
    assert volumes(rack, subject) == ["fast", "fast"]
    move(rack, subject, diskPlacements=[place(rack, subject, 1, "volume-AZ05")])
    assert volumes(rack, subject) == ["fast", "volume-AZ05"]
    machine = move(rack, subject, hostClusterId=rack.made["second"])
    assert machine["hostCluster"]["id"] == rack.made["second"]
    machine = move(
        rack,
        subject,
        datacenterId=rack.zone("AZ06"),
        hostClusterId=rack.made["pool-AZ06"],
        datastoreId=rack.made["volume-AZ06"],
    )
    assert machine["datacenter"]["name"] == "AZ06"
    assert volumes(rack, subject) == ["volume-AZ06", "volume-AZ06"]
    machine = move(rack, subject, hostClusterId=rack.made["pool-AZ05"], datastoreId=rack.made["volume-AZ05"])
    assert machine["id"] == subject
    assert [disk["id"] for disk in disks(rack, subject)] == ids
    networks = [
        {"networkAdapterId": adapter["id"], "networkId": rack.made["local"]}
        for adapter in rack.get(ADAPTERS, virtualMachineId=subject)
    ]
    machine = move(rack, subject, networkData=networks)
    assert machine["distributedVirtualPortGroupIds"] == [rack.made["local"]]
    if not running:
        power(rack, subject, "on")


def test_the_placement_that_a_machine_has_is_a_move_that_ends_at_once(rack: Platform, subject: str) -> None:
    move(rack, subject, diskPlacements=[place(rack, subject, 1, "fast")])
    here = rack.machine(subject)
    same = {
        "datacenterId": here["datacenter"]["id"],
        "hostClusterId": here["hostCluster"]["id"],
        "hostId": here["host"]["id"],
        "datastoreId": here["datastore"]["id"],
    }
    measured = dict.fromkeys(("storage", "tools", "toolsVersion", "memoryUsage", "cpuUsage"))
    for body in (same, {"hostClusterId": here["hostCluster"]["id"]}, {}):
        assert move(rack, subject, **body) | measured == here | measured
    assert volumes(rack, subject) == ["volume-AZ05", "fast"]


def test_a_datastore_cluster_takes_a_machine_and_keeps_one_that_is_in_it(rack: Platform, subject: str) -> None:
    with rack.services.database.write() as session:
        tenant = session.get_one(Lun, rack.made["fast"]).tenant_id
        clusters.plan_create(session, tenant_id=tenant, name="quick", lun_ids=[rack.made["fast"]])
        cluster = str(session.scalar(sa.select(DatastoreCluster.id)))
    luns.measure(rack.services.world, rack.made["fast"])
    move(rack, subject, datastoreClusterId=cluster)
    assert volumes(rack, subject) == ["fast", "fast"]
    move(rack, subject, datastoreClusterId=cluster)
    made = clone(rack, subject, "copy", datastoreClusterId=cluster, datastoreId=rack.made["fast"])
    assert volumes(rack, made) == ["fast", "fast"]
    body = {"virtualMachines": [subject], "datastoreClusterId": cluster, "datastoreId": rack.made["volume-AZ05"]}
    assert "quick" in rack.refused("POST", f"{MACHINES}/relocate", body)["message"]
    with rack.services.database.write() as session:
        clusters.plan_delete(session, tenant_id=tenant, cluster_id=cluster)


def test_several_machines_move_in_one_request(rack: Platform, subject: str) -> None:
    other = rack.deploy("other", powerOn=False)
    body = {"virtualMachines": [subject, other], "hostClusterId": rack.made["second"], "datastoreId": rack.made["fast"]}
    rack.done("POST", f"{MACHINES}/relocate", body)
    for machine_id in (subject, other):
        assert rack.machine(machine_id)["hostCluster"]["id"] == rack.made["second"]
        assert set(volumes(rack, machine_id)) == {"fast"}
    body["virtualMachines"] = [f"00000000-0000-4000-8000-{n:012}" for n in range(21)]
    assert rack.refused("POST", f"{MACHINES}/relocate", body)["status"] == 422


def test_moves_that_cannot_be_are_refused_with_the_remedy(rack: Platform, subject: str) -> None:
    def refused(**body: Any) -> dict[str, Any]:
        return rack.refused("POST", f"{MACHINES}/relocate", {"virtualMachines": [subject], **body})

    assert refused(datastoreId=rack.made["volume-AZ06"])["code"] == "compute.wrong_zone"
    assert "datastoreId" in refused(hostClusterId=rack.made["pool-AZ06"])["message"]
    assert (
        refused(datacenterId=rack.zone("AZ06"), hostClusterId=rack.made["second"])["code"] == "compute.wrong_datacenter"
    )
    assert refused(hostId="nobody")["code"] == "naos.unknown"
    stray = {"virtualDiskId": NOBODY, "datastoreId": rack.made["fast"]}
    assert refused(diskPlacements=[stray])["code"] == "naos.unknown"
    other = rack.deploy("other", powerOn=False)
    foreign = place(rack, other, 0, "fast")
    assert refused(diskPlacements=[foreign])["code"] == "compute.placement_unsupported"
    adapter = rack.get(ADAPTERS, virtualMachineId=subject)[0]["id"]
    rack.done("PATCH", ADAPTERS, {"id": adapter, "newNetworkId": rack.made["local"]})
    assert refused(hostClusterId=rack.made["second"])["code"] == "network.not_propagated"
    rack.rack.faults.fill(rack.made["fast"], left=1000)
    full = refused(datastoreId=rack.made["fast"])
    assert full["code"] == "storage.volume_room"
    rack.rack.faults.empty(rack.made["fast"])
    assert volumes(rack, subject) == ["volume-AZ05", "volume-AZ05"]


def test_a_machine_goes_to_another_model_of_blade_only_while_it_is_off(rack: Platform, subject: str) -> None:
    model = next(name for name in rack.services.world.blades.models if name != "LAB v1")

    def become(name: str) -> None:
        with rack.services.database.write() as session:
            session.execute(sa.update(Cpool).where(Cpool.id == rack.made["second"]).values(model=name))

    become(model)
    body = {"virtualMachines": [subject], "hostClusterId": rack.made["second"]}
    refusal = rack.refused("POST", f"{MACHINES}/relocate", body)
    assert model in refusal["message"]
    assert "Power it off" in refusal["message"]
    power(rack, subject, "off")
    assert move(rack, subject, hostClusterId=rack.made["second"])["hostCluster"]["id"] == rack.made["second"]
    become("LAB v1")
    power(rack, subject, "on")


def test_a_pool_without_the_memory_refuses_a_running_machine(rack: Platform, subject: str) -> None:
    with rack.services.database.write() as session:
        session.execute(sa.update(Cpool).where(Cpool.id == rack.made["second"]).values(memory=2**20))
    body = {"virtualMachines": [subject], "hostClusterId": rack.made["second"]}
    refusal = rack.refused("POST", f"{MACHINES}/relocate", body)
    assert refusal["code"] == "compute.pool_full"
    with rack.services.database.write() as session:
        session.execute(sa.update(Cpool).where(Cpool.id == rack.made["second"]).values(memory=2**34))
    move(rack, subject, hostClusterId=rack.made["second"])


def test_a_disk_with_a_snapshot_does_not_leave_its_volume(rack: Platform, subject: str) -> None:
    with rack.services.database.write() as session:
        tenant = session.get_one(Lun, rack.made["fast"]).tenant_id
        words = {
            "tenant_id": tenant,
            "machine_id": subject,
            "machine_name": "subject",
            "name": "before",
            "description": "",
        }
        snapshots.reserve(session, **words)
    body = {"virtualMachines": [subject], "datastoreId": rack.made["fast"]}
    assert "before" in rack.refused("POST", f"{MACHINES}/relocate", body)["message"]
    made = clone(rack, subject, "copy")
    assert not rack.machine(made)["snapshoted"]
    with rack.services.database.write() as session:
        session.execute(sa.delete(SnapshotDisk))
        session.execute(sa.delete(Snapshot))


def test_a_guest_that_stops_during_a_move_of_its_disks_keeps_them(rack: Platform, subject: str) -> None:
    """Nothing was switched: the old disks are the whole ones."""
    blade = rack.machine(subject)["host"]["name"]
    rack.rack.faults.crash(blade, subject)
    activity = rack.ended(
        rack.write("POST", f"{MACHINES}/relocate", {"virtualMachines": [subject], "datastoreId": rack.made["fast"]})
    )
    assert activity["state"].keys() & {"completed", "failed"}
    assert rack.settled() == []
    power(rack, subject, "on")


def test_a_target_that_dies_during_a_move_leaves_the_guest_writing_where_it_was(rack: Platform, subject: str) -> None:
    for call in ("hypervisor.mirror_disk", "hypervisor.switch_disk", "array.create_disk", "array.export_disk"):
        rack.rack.faults.fail_next(call, EngineError("az05", "the move", "it is gone"))
        body = {"virtualMachines": [subject], "datastoreId": rack.made["fast"]}
        assert "it is gone" in rack.failed("POST", f"{MACHINES}/relocate", body)
        assert volumes(rack, subject) == ["volume-AZ05", "volume-AZ05"]
        assert rack.settled() == []
    move(rack, subject, datastoreId=rack.made["fast"])
