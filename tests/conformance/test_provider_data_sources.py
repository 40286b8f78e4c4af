"""The provider's data sources: by list, by id and by name, with the attributes that its own tests want to be set."""

from dataclasses import dataclass
from typing import Any

import pytest
from provider_client import Client
from provider_contract import BACKUP, COMPUTE, IAM, MARKET
from served_platform import Served
from simulated_platform import Platform

UNKNOWN = "12345678-1234-5678-1234-567812345678"


@dataclass(frozen=True)
class Source:
    """path: of the list; the read by id is `path/{id}` unless `single` is false.

    wanted: dotted names that must be set on every element; `[]` stands for at least one element.
    scope: the list's filters, by names of `scopes`.
    """

    path: str
    wanted: str
    single: bool = True
    scope: tuple[str, ...] = ()


SOURCES = [
    Source(f"{BACKUP}/jobs", "id name displayName type status policyId"),
    Source(f"{BACKUP}/sites", "id name", single=False),
    Source(f"{BACKUP}/policies", "id name"),
    Source(f"{BACKUP}/servers", "id name address"),
    Source(f"{BACKUP}/storages", "id name type site resourceType hostAddress isReady", single=False),
    Source(f"{BACKUP}/vcenters", "id name internalId instanceId", single=False, scope=("sppServerId",)),
    Source(COMPUTE, "id name version vendor fullName tenantId tenantName"),
    Source(f"{COMPUTE}/virtual_datacenters", "id name tenantId machineManager.id"),
    Source(
        f"{COMPUTE}/host_clusters",
        "id name moref hosts.[] metrics.totalCpu virtualMachinesNumber machineManager.id datacenter.id",
    ),
    Source(f"{COMPUTE}/hosts", "id name moref machineManager.id metrics.cpu.cpuCores"),
    Source(f"{COMPUTE}/resource_pools", "id name moref parent.id parent.type machineManager.id"),
    Source(f"{COMPUTE}/folders", "id name machineManager.id"),
    Source(
        f"{COMPUTE}/datastores",
        "id name moref maxCapacity freeCapacity type virtualMachinesNumber hostsNumber machineManager.id uniqueId",
    ),
    Source(f"{COMPUTE}/networks", "id name moref virtualMachinesNumber hostNumber machineManager.id"),
    Source(f"{COMPUTE}/virtual_switchs", "id name moref folderId machineManager.id"),
    Source(f"{COMPUTE}/content_libraries", "id name machineManager.id"),
    Source(f"{COMPUTE}/virtual_machines", "id name moref machineManager.id powerState"),
    Source(f"{COMPUTE}/snapshots", "id virtualMachineId name createTime", single=False, scope=("virtualMachineId",)),
    Source(
        f"{COMPUTE}/virtual_controllers",
        "id virtualMachineId type label hotAddRemove",
        single=False,
        scope=("virtualMachineId",),
    ),
    Source(
        f"{COMPUTE}/virtual_disks", "id name virtualMachineId capacity machineManager.id", scope=("virtualMachineId",)
    ),
    Source(
        f"{COMPUTE}/network_adapters",
        "id name virtualMachineId network.id type macAddress connected autoConnect",
        scope=("virtualMachineId",),
    ),
    Source(f"{IAM}/features", "id name", single=False),
    Source(f"{IAM}/personal_access_tokens", "id name expirationDate roles.[]"),
    Source(f"{IAM}/roles", "id name"),
    Source(f"{IAM}/tenants", "id name snc companyId", single=False),
    Source(f"{IAM}/users", "id internalId name type email emailVerified"),
    Source(f"{MARKET}/items", "id name type"),
]


@pytest.fixture(scope="module")
def scopes(provider: Served, client: Client) -> dict[str, str]:
    """A machine with a snapshot, a controller, a disk and an adapter; and the first backup server."""
    platform = provider.platform
    machine = platform.deploy("known", powerOn=False)
    body = {"virtualMachineId": machine, "name": "known snapshot", "description": "", "quiesce": False, "memory": False}
    platform.done("POST", f"{COMPUTE}/snapshots", body)
    offer = {"contentLibraryItemId": platform.made["template"], "name": "offered", "editor": "naos", "version": "1"}
    assert platform.client.post(f"{MARKET}/items", json=offer).is_success
    servers = client.list(f"{BACKUP}/servers", tenantId=client.tenant)
    return {"virtualMachineId": machine, "sppServerId": servers[0]["id"]}


def settings(platform: Platform, source: Source, scopes: dict[str, str]) -> dict[str, Any]:
    return {name: scopes[name] for name in source.scope}


def values(item: Any, path: str) -> Any:
    for name in path.split("."):
        item = bool(item) if name == "[]" else (item or {}).get(name)
    return item


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.path)
def test_a_data_source_finds_its_objects(
    provider: Served, client: Client, scopes: dict[str, str], source: Source
) -> None:
    found = client.list(source.path, **settings(provider.platform, source, scopes))
    assert found, "an empty list"
    for item in found:
        unset = [path for path in source.wanted.split() if _unset(values(item, path), path)]
        assert not unset, (item, unset)
    names = [item["name"] for item in found if "name" in item]
    assert all(names)
    if source.single:
        path = f"{source.path}/{{id}}"
        for item in found[:3]:
            assert still(client.one(path, item["id"])) == still(item)
        assert client.one(path, "123456" if "/jobs" in source.path else UNKNOWN) is None


def still(item: dict[str, Any] | None) -> dict[str, Any]:
    """An object without what is measured: that may move between two reads."""
    assert item is not None
    return {name: value for name, value in item.items() if name not in {"freeCapacity", "metrics"}}


def _unset(value: Any, path: str) -> bool:
    """0 and false are values; nothing, an empty text and an empty list that shall have elements are none."""
    return value is None or value == "" or (path.endswith("[]") and not value)


def test_the_users_data_source_finds_a_user_by_each_of_its_names(client: Client) -> None:
    client.session()
    found = client.list(f"{IAM}/users", companyId=client.claims["companyId"])
    me = next(user for user in found if user["id"] == client.claims["userId"])
    for name in ("name", "email", "internalId"):
        assert [user["id"] for user in found if user[name] == me[name]] == [me["id"]]
    assert client.list(f"{IAM}/users", companyId=UNKNOWN) == []
    assert client.one(f"{IAM}/companies/{{id}}", client.claims["companyId"]) is not None


def test_the_metrics_data_source_reads_all_six(client: Client) -> None:
    history = client.one(f"{BACKUP}/metrics/backup/history", range=4)
    assert history is not None
    assert history["totalRuns"] == history["failed"] + history["warning"] + history["success"] + history["running"]
    assert client.one(f"{BACKUP}/metrics/plateform/cpu") is not None
    coverage = client.list(f"{BACKUP}/metrics/coverage")
    assert coverage["totalResources"] == coverage["protectedResources"] + coverage["unprotectedResources"]
    platform = client.list(f"{BACKUP}/metrics/plateform")
    assert all(platform[name] for name in ("version", "product", "deploymentType"))
    assert client.list(f"{BACKUP}/metrics/policies")
    assert client.list(f"{BACKUP}/metrics/vm")


def test_the_guest_systems_are_those_of_a_cluster(provider: Served, client: Client) -> None:
    cluster = provider.platform.made["pool-AZ05"]
    path = f"{COMPUTE}/guest_operating_systems"
    found = client.list(path, hostClusterId=cluster)
    assert found == client.list(path)
    assert all(item["moref"] and item["family"] and item["fullName"] for item in found)
    for item in found[:3]:
        assert client.one(f"{path}/{{id}}", item["moref"], hostClusterId=cluster) == item
        assert client.one(f"{path}/{{id}}", item["moref"]) == item
    assert {"vmwarePhoton64Guest", "debian12_64Guest"} <= {item["moref"] for item in found}
    assert client.list(path, hostClusterId="f7336dc8-7a91-461f-933d-3642aa415446") == []


def test_the_items_of_a_library_are_found_by_name(provider: Served, client: Client) -> None:
    path = f"{COMPUTE}/content_libraries/{{id}}/items"
    library = provider.platform.made["library"]
    (item,) = client.list(path, library, name="tiny")
    assert client.one(f"{path}/{{item}}", library, item["id"]) == item
    assert item in client.list(path, library)
    assert item["size"] > 0
    assert item["creationTime"]
    assert client.list(path, library, name="tin") == []
    assert client.one(f"{path}/{{item}}", library, UNKNOWN) is None


def test_the_machines_list_takes_every_filter(provider: Served, client: Client, scopes: dict[str, str]) -> None:
    path, made = f"{COMPUTE}/virtual_machines", provider.platform.made
    machine = client.one(f"{path}/{{id}}", scopes["virtualMachineId"])
    assert machine is not None
    filters: dict[str, Any] = {
        "datacenters[]": [machine["datacenter"]["id"], UNKNOWN],
        "hostClusters[]": [machine["hostCluster"]["id"]],
        "datastores[]": [machine["datastore"]["id"]],
        "networks[]": [made["vlan"]],
    }
    for name, value in filters.items():
        assert machine["id"] in {item["id"] for item in client.list(path, allOptions=True, **{name: value})}, name
    sparse = client.list(path)
    assert {"id", "name", "powerState"} <= set(sparse[0])
    assert client.list(
        path, name=machine["name"], allOptions=True, machineManagerId=machine["machineManager"]["id"]
    ) == [machine]
