"""Regions, zones, cpools, blades, volumes, VLANs and what stands for them on the wire (wire-API sections 4.1 to 4.10)."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from counting import statements
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, GIB, Platform, furnished_in

from naos.compute.models import MachineSample, Power, VirtualMachine
from naos.fleet.models import Blade, Cpool
from naos.lifecycle import Lifecycle
from naos.network.models import Adapter, Propagation, Vlan
from naos.storage import luns
from naos.storage.models import ClusterMember, DatastoreCluster, Disk, Lun, LunSample

NEVER = "12345678-1234-5678-1234-567812345678"
COLLECTIONS = {
    "virtual_datacenters": ("name", "machineManagerId"),
    "host_clusters": ("name", "machineManagerId", "datacenterId", "datastoreId", "datastoreClusterId"),
    "hosts": ("name", "machineManagerId", "datacenterId", "hostClusterId", "datastoreId"),
    "resource_pools": ("machineManagerId", "datacenterId", "hostClusterId"),
    "folders": ("name", "machineManagerId", "datacenterId"),
    "datastore_clusters": ("name", "machineManagerId", "datacenterId", "hostId", "hostClusterId"),
    "datastores": ("name", "machineManagerId", "datacenterId", "hostId", "hostClusterId", "datastoreClusterId"),
    "networks": (
        "name",
        "machineManagerId",
        "datacenterId",
        "virtualMachineId",
        "type",
        "virtualSwitchId",
        "hostId",
        "hostClusterId",
        "folderId",
    ),
    "virtual_switchs": ("name", "machineManagerId", "datacenterId", "hostClusterId"),
}
SHARED = {"virtual_datacenters"}
"""Collections of the platform itself, which every tenant sees alike."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Furnished, with a VLAN in one zone alone, a second volume, a datastore cluster of both, and a running machine."""
    folder: Path = tmp_path_factory.mktemp("platform")
    with furnished_in(folder, blades_per_zone=3) as made:
        alone = {"name": "alone", "hostClusterIds": [made.made["pool-AZ06"]]}
        made.made["alone"] = made.done("POST", f"{COMPUTE}/networks", alone)
        volume = {"name": "second", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 600 * GIB}
        made.made["second"] = made.done("POST", f"{COMPUTE}/datastores", volume)
        gathered = {"name": "fast", "datastoreIds": [made.made["volume-AZ05"], made.made["second"]]}
        made.made["cluster"] = made.done("POST", f"{COMPUTE}/datastore_clusters", gathered)
        made.made["machine"] = made.deploy("web")
        for volume_id in (made.made["volume-AZ05"], made.made["second"]):
            luns.measure(made.services.world, volume_id)
        yield made


def _names(platform: Platform, collection: str, **filters: Any) -> list[str]:
    return [row["name"] for row in platform.get(f"{COMPUTE}/{collection}", **filters)]


def _one(platform: Platform, collection: str, **filters: Any) -> dict[str, Any]:
    (found,) = platform.get(f"{COMPUTE}/{collection}", **filters)
    return dict(found)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_each_row_of_a_list_reads_the_same_by_its_id(platform: Platform, collection: str) -> None:
    rows = platform.get(f"{COMPUTE}/{collection}")
    assert rows
    for row in rows:
        read = platform.get(f"{COMPUTE}/{collection}/{row['id']}")
        assert read == row
        assert uuid.UUID(row["id"])
    assert platform.client.get(f"{COMPUTE}/{collection}/{NEVER}").status_code == 404
    assert platform.client.get(f"{COMPUTE}/{collection}/no-id").status_code == 400
    assert [(row["name"], row["id"]) for row in rows] == sorted((row["name"], row["id"]) for row in rows) or (
        collection == "folders"
    )


@pytest.mark.parametrize(("collection", "filters"), COLLECTIONS.items(), ids=list(COLLECTIONS))
def test_a_filter_of_an_unknown_id_or_name_leaves_nothing(
    platform: Platform, collection: str, filters: tuple[str, ...]
) -> None:
    for name in filters:
        for value in (NEVER, "nothing of that sort"):
            answer = platform.client.get(f"{COMPUTE}/{collection}", params={name: value})
            assert (answer.status_code, answer.json()) == (200, []), (name, value)
            assert "Location" not in answer.headers


@pytest.mark.parametrize("collection", sorted(set(COLLECTIONS) - SHARED))
def test_another_tenant_sees_none_of_it(platform: Platform, other: TestClient, collection: str) -> None:
    mine = {row["id"] for row in platform.get(f"{COMPUTE}/{collection}")}
    theirs = other.get(f"{COMPUTE}/{collection}").json()
    assert not mine & {row["id"] for row in theirs}
    for identifier in mine:
        assert other.get(f"{COMPUTE}/{collection}/{identifier}").status_code == 404
    ids = {
        "hostClusterId": platform.made["pool-AZ05"],
        "datastoreId": platform.made["second"],
        "datastoreClusterId": platform.made["cluster"],
        "virtualMachineId": platform.made["machine"],
        "hostId": platform.get(f"{COMPUTE}/hosts")[0]["id"],
    }
    for name in COLLECTIONS[collection]:
        if name in ids:
            assert other.get(f"{COMPUTE}/{collection}", params={name: ids[name]}).json() == [], name


@pytest.fixture(scope="module")
def other(platform: Platform) -> TestClient:
    return platform.stranger()


def test_a_region_is_a_machine_manager(platform: Platform) -> None:
    (worker,) = platform.get(COMPUTE)
    assert platform.get(f"{COMPUTE}/{worker['id']}") == worker
    assert platform.client.get(f"{COMPUTE}/{NEVER}").status_code == 404
    assert (worker["name"], worker["tenantName"], worker["apiType"]) == ("FR1", "Default", "VirtualCenter")
    for name in ("build", "localeBuild", "licenseProductVersion"):
        assert isinstance(worker[name], int), name


def test_zones_by_name_and_region(platform: Platform) -> None:
    (worker,) = platform.get(COMPUTE)
    zone = _one(platform, "virtual_datacenters", name="AZ05", machineManagerId=worker["id"])
    assert zone["machineManager"] == {"id": worker["id"], "name": "FR1"}
    assert "vCenter" not in zone
    assert _names(platform, "virtual_datacenters", name="az05") == [], "names are compared exactly"


def test_cpools_show_what_they_have_and_what_is_used(platform: Platform) -> None:
    made = platform.made
    pool = _one(platform, "host_clusters", name="pool-AZ05", datacenterId=platform.zone("AZ05"))
    hosts = platform.get(f"{COMPUTE}/hosts", hostClusterId=pool["id"])
    assert pool["hosts"] == [{"id": host["moref"], "type": "HostSystem"} for host in hosts]
    assert pool["virtualMachinesNumber"] == 1
    metrics = pool["metrics"]
    assert metrics["reservedMemory"] == 128 * 2**20
    assert metrics["totalStorage"] == 1100 * GIB
    assert 0 < metrics["storageUsed"] < GIB
    assert metrics["totalCpu"] == sum(
        host["metrics"]["cpu"]["cpuMhz"] * host["metrics"]["cpu"]["cpuCores"] for host in hosts
    )
    for filters in ({"datastoreId": made["second"]}, {"datastoreClusterId": made["cluster"]}):
        assert _names(platform, "host_clusters", **filters) == ["pool-AZ05"]
        both = {**filters, "datacenterId": platform.zone("AZ06")}
        assert _names(platform, "host_clusters", **both) == []


def test_what_machines_were_seen_to_use_is_summed(platform: Platform) -> None:
    machine = platform.machine(platform.made["machine"])
    now = datetime.now(UTC)
    with platform.services.database.write() as session:
        session.merge(MachineSample(machine_id=machine["id"], cpu=700, memory=90 * 2**20, tools=False, seen_at=now))
    pool = _one(platform, "host_clusters", name="pool-AZ05")["metrics"]
    assert (pool["cpuUsed"], pool["memoryUsed"]) == (700, 90 * 2**20)
    host = platform.get(f"{COMPUTE}/hosts/{machine['host']['id']}")
    assert host["metrics"]["cpu"]["overallCpuUsage"] == 700
    assert host["metrics"]["memory"]["memoryUsage"] == 90
    assert host["virtualMachines"] == [{"id": machine["moref"], "type": "VirtualMachine"}]
    assert host["metrics"]["connected"] is True
    assert host["metrics"]["uptime"] is None, "it is not measured"


def test_blades_by_every_filter(platform: Platform) -> None:
    names = ["az05-blade1", "az05-blade2"]
    assert _names(platform, "hosts", datastoreId=platform.made["second"]) == names
    assert _names(platform, "hosts", datacenterId=platform.zone("AZ05")) == names
    assert _names(platform, "hosts", name="az05-blade2") == names[1:]
    assert len(_names(platform, "hosts", machineManagerId=platform.get(COMPUTE)[0]["id"])) == 4
    free = {"az05-blade3", "az06-blade3"}
    assert not free & set(_names(platform, "hosts")), "a blade of no cpool is nobody's"
    with platform.services.database.read() as session:
        identifier = session.scalar(sa.select(Blade.id).where(Blade.name == "az05-blade3"))
    assert platform.client.get(f"{COMPUTE}/hosts/{identifier}").status_code == 404


def test_every_cpool_has_one_resource_pool(platform: Platform) -> None:
    pool = _one(platform, "host_clusters", name="pool-AZ05")
    found = _one(platform, "resource_pools", hostClusterId=pool["id"])
    assert (found["name"], found["moref"][:9]) == ("pool-AZ05", "resgroup-")
    assert found["parent"] == {"id": pool["moref"], "type": "ClusterComputeResource"}
    assert found["metrics"]["cpu"] == {"maxUsage": pool["metrics"]["totalCpu"], "reservationUsed": 0}
    memory = {"maxUsage": pool["metrics"]["totalMemory"], "reservationUsed": 128 * 2**20, "balloonedMemory": 0}
    assert found["metrics"]["memory"] == memory
    assert _names(platform, "resource_pools", datacenterId=platform.zone("AZ06")) == ["pool-AZ06"]


def test_folders_hold_what_is_in_a_zone(platform: Platform) -> None:
    found = platform.get(f"{COMPUTE}/folders", datacenterId=platform.zone("AZ06"))
    assert [folder["name"] for folder in found] == ["network", "vm"]
    assert {folder["datacenter"]["name"] for folder in found} == {"AZ06"}
    assert _names(platform, "folders", name="vm") == ["vm", "vm"]
    networks, machines = found
    assert _names(platform, "networks", folderId=networks["id"]) == ["alone", "front"]
    assert _names(platform, "networks", folderId=machines["id"]) == []


def test_datastores_by_every_filter(platform: Platform) -> None:
    made = platform.made
    host = platform.get(f"{COMPUTE}/hosts", name="az05-blade1")[0]["id"]
    here = ["second", "volume-AZ05"]
    for filters in (
        {"hostId": host},
        {"hostClusterId": made["pool-AZ05"]},
        {"datastoreClusterId": made["cluster"]},
        {"datacenterId": platform.zone("AZ05")},
    ):
        assert _names(platform, "datastores", **filters) == here, filters
    assert _names(platform, "datastores", hostId=host, hostClusterId=made["pool-AZ06"]) == []
    volume = _one(platform, "datastores", name="volume-AZ05")
    assert volume["accessible"] == 1
    assert type(volume["accessible"]) is int
    assert 0 < volume["freeCapacity"] < volume["maxCapacity"] == 500 * GIB
    assert (volume["hostsNumber"], volume["hostsNames"]) == (2, ["az05-blade1", "az05-blade2"])
    assert (volume["virtualMachinesNumber"], volume["associatedFolder"]) == (1, "fast")
    assert _one(platform, "datastores", name="volume-AZ06")["associatedFolder"] == "AZ06"


def test_a_list_of_datastores_asks_no_array_and_says_which_are_silent(platform: Platform) -> None:
    before = _one(platform, "datastores", name="volume-AZ06")
    platform.rack.faults.cut("az06-array")
    end = datetime.now(UTC).timestamp() + 20
    while (row := _one(platform, "datastores", name="volume-AZ06"))["accessible"] == 1:
        assert datetime.now(UTC).timestamp() < end
    assert row["freeCapacity"] == before["freeCapacity"], "what it said last"
    platform.rack.faults.join("az06-array")
    while _one(platform, "datastores", name="volume-AZ06")["accessible"] == 0:
        assert datetime.now(UTC).timestamp() < end
    platform.settled()


def test_networks_by_every_filter(platform: Platform) -> None:
    made = platform.made
    machine, switches = platform.made["machine"], platform.get(f"{COMPUTE}/virtual_switchs")
    here, there = (switch["id"] for switch in switches)
    host = platform.get(f"{COMPUTE}/hosts", name="az05-blade1")[0]["id"]
    for filters, names in (
        ({}, ["alone", "front"]),
        ({"type": "DistributedVirtualPortgroup"}, ["alone", "front"]),
        ({"type": "Network"}, []),
        ({"virtualMachineId": machine}, ["front"]),
        ({"virtualSwitchId": here}, ["front"]),
        ({"virtualSwitchId": there}, ["alone", "front"]),
        ({"virtualSwitchId": here, "datacenterId": platform.zone("AZ06")}, []),
        ({"hostId": host}, ["front"]),
        ({"hostClusterId": made["pool-AZ06"]}, ["alone", "front"]),
        ({"datacenterId": platform.zone("AZ05")}, ["front"]),
        ({"machineManagerId": platform.get(COMPUTE)[0]["id"]}, ["alone", "front"]),
        ({"name": "alone"}, ["alone"]),
    ):
        assert _names(platform, "networks", **filters) == names, filters
    front = _one(platform, "networks", name="front")
    assert "vpc" not in front
    assert (front["hostNumber"], front["virtualMachinesNumber"]) == (4, 1)
    assert front["hostNames"] == ["az05-blade1", "az05-blade2", "az06-blade1", "az06-blade2"]


def test_each_zone_with_blades_has_a_switch(platform: Platform) -> None:
    found = platform.get(f"{COMPUTE}/virtual_switchs")
    assert [(switch["name"], switch["vlans"], switch["drivers"]) for switch in found] == [
        ("switch-AZ05", 1, ["vxlan"]),
        ("switch-AZ06", 2, ["vxlan"]),
    ]
    assert _names(platform, "virtual_switchs", hostClusterId=platform.made["pool-AZ06"]) == ["switch-AZ06"]
    folder = platform.get(f"{COMPUTE}/folders/{found[0]['folderId']}")
    assert (folder["name"], folder["datacenter"]["name"]) == ("network", "AZ05")


# -------------------------------------------------------------------------------------------------- datastore clusters


def test_datastore_clusters_show_their_volumes(platform: Platform) -> None:
    made = platform.made
    cluster = _one(platform, "datastore_clusters", name="fast")
    assert cluster["datastores"] == [made["second"], made["volume-AZ05"]]
    assert (cluster["datacenter"]["name"], cluster["moref"][:7]) == ("AZ05", "group-p")
    metrics = cluster["metrics"]
    assert metrics["maxCapacity"] == 1100 * GIB > metrics["freeCapacity"] > 1000 * GIB
    assert metrics["enabled"] is True
    host = platform.get(f"{COMPUTE}/hosts", name="az05-blade1")[0]["id"]
    assert _names(platform, "datastore_clusters", hostId=host, hostClusterId=made["pool-AZ05"]) == ["fast"]
    assert _names(platform, "datastore_clusters", hostClusterId=made["pool-AZ06"]) == []


def test_a_datastore_cluster_keeps_its_rules(platform: Platform) -> None:
    path, made = f"{COMPUTE}/datastore_clusters", platform.made
    for body, code in (
        ({"name": "x", "datastoreIds": [made["volume-AZ06"], made["second"]]}, "storage.cluster_mixed"),
        ({"name": "x", "datastoreIds": [made["second"]]}, "storage.in_other_cluster"),
        ({"name": "fast", "datastoreIds": [made["volume-AZ06"]]}, "naos.name_taken"),
        ({"name": "x", "datastoreIds": [NEVER]}, "naos.unknown"),
        ({"name": "x", "datastoreIds": []}, "api.fields_invalid"),
    ):
        assert platform.refused("POST", path, body)["code"] == code
    both = [made["second"], made["volume-AZ05"]]
    error = platform.refused("PATCH", path, {"id": made["cluster"], "remove": both})
    assert error["code"] == "storage.last_of_cluster"
    far = platform.done("POST", path, {"name": "far", "datastoreIds": [made["volume-AZ06"]]})
    error = platform.refused("PATCH", path, {"id": far, "add": [made["second"]]})
    assert error["code"] == "storage.cluster_mixed"
    assert (
        platform.refused("DELETE", f"{COMPUTE}/datastores/{made['volume-AZ06']}")["code"] == "storage.last_of_cluster"
    )
    platform.done("PATCH", path, {"id": far, "name": "farther"})
    assert platform.get(f"{path}/{far}")["name"] == "farther"
    platform.done("PATCH", path, {"id": made["cluster"], "remove": [made["second"]]})
    assert platform.get(f"{path}/{made['cluster']}")["datastores"] == [made["volume-AZ05"]]
    platform.done("PATCH", path, {"id": made["cluster"], "add": both})
    assert platform.get(f"{path}/{made['cluster']}")["datastores"] == both
    platform.done("DELETE", f"{path}/{far}")
    assert platform.client.get(f"{path}/{far}").status_code == 404
    assert _one(platform, "datastores", name="volume-AZ06")["datastoreCluster"] is None


# ------------------------------------------------------------------------------------------------------------- many rows


def _statements(platform: Platform, path: str) -> int:
    with statements(platform.services.database.engine) as seen:
        assert platform.client.get(path).status_code == 200
    return len([statement for statement in seen if statement.startswith("SELECT")])


def test_the_number_of_statements_does_not_grow_with_rows(platform: Platform) -> None:
    """The last of this module: the rows that it adds stay."""
    paths = [COMPUTE, *(f"{COMPUTE}/{collection}" for collection in COLLECTIONS)]
    paths += [f"/backup/v1/spp/{name}" for name in ("jobs", "policies", "metrics/policies", "metrics/coverage")]
    few = {path: _statements(platform, path) for path in paths}
    _multiply(platform, 60)
    for path in paths:
        assert _statements(platform, path) <= few[path], path
    assert len(platform.get(f"{COMPUTE}/datastores")) == 63
    assert len(platform.get(f"{COMPUTE}/networks")) == 62
    assert max(few.values()) < 20


def _multiply(platform: Platform, count: int) -> None:
    """Rows alone: nothing of them is real, and nothing of them is started."""
    with platform.services.database.write() as session:
        pool = session.get_one(Cpool, platform.made["pool-AZ05"])
        tenant_id = pool.tenant_id
        for number in range(count):
            cpool = Cpool(
                tenant_id=tenant_id,
                name=f"p{number}",
                zone="AZ05",
                model=pool.model,
                memory=GIB,
                lifecycle=Lifecycle.CREATING,
            )
            lun = Lun(
                tenant_id=tenant_id,
                name=f"v{number}",
                zone="AZ05",
                array="az05-array",
                storage_class="standard",
                capacity=GIB,
                port=30000 + number,
                lifecycle=Lifecycle.CREATING,
            )
            vlan = Vlan(tenant_id=tenant_id, name=f"n{number}", tag=3000 + number, lifecycle=Lifecycle.CREATING)
            cluster = DatastoreCluster(tenant_id=tenant_id, name=f"c{number}", zone="AZ05")
            session.add_all([cpool, lun, vlan, cluster])
            session.flush()
            machine = VirtualMachine(
                tenant_id=tenant_id,
                cpool_id=cpool.id,
                lun_id=lun.id,
                name=f"m{number}",
                cpu=1,
                memory=GIB,
                power=Power.STOPPED,
                reserved=1,
                blade="az05-blade1",
                lifecycle=Lifecycle.CREATING,
            )
            session.add(machine)
            session.flush()
            session.add_all(
                [
                    Propagation(vlan_id=vlan.id, cpool_id=cpool.id),
                    ClusterMember(lun_id=lun.id, cluster_id=cluster.id),
                    LunSample(lun_id=lun.id, free=1, reachable=True),
                    Disk(
                        tenant_id=tenant_id,
                        lun_id=lun.id,
                        machine_id=machine.id,
                        unit=0,
                        name="Hard disk 1",
                        capacity=1,
                        provisioning="dynamic",
                    ),
                    Adapter(
                        tenant_id=tenant_id,
                        machine_id=machine.id,
                        vlan_id=vlan.id,
                        unit=0,
                        mac=f"00:50:56:00:00:{number:02x}",
                        mac_key=f"00:50:56:00:00:{number:02x}",
                        mac_type="ASSIGNED",
                    ),
                ]
            )
