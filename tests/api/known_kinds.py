"""What the API's parameters and fields stand for, and sound calls of every operation as the owner of a tenant.

The tables name what every path parameter, query filter and field of a body holds. A route with one that they do not know
fails the tests that walk every route, so that nothing new stays unwalked.
"""

import re
from typing import Any

from api_operations import Bodies, Operation
from simulated_platform import Platform
from two_tenants import Home

SHARED = "shared"
"""What every tenant may see: regions, zones, backup servers, permissions."""

PATHS = {
    "activity_id": "activity",
    "adapter_id": "adapter",
    "blade_id": "blade",
    "build_id": SHARED,
    "cluster_id": "cluster",
    "company_id": "company",
    "controller_id": "controller",
    "cpool_id": "cpool",
    "disk_id": "disk",
    "entry_id": "address",
    "export_id": "export",
    "folder_id": SHARED,
    "item_id": "item",
    "job_id": "job",
    "key": SHARED,
    "library_id": "library",
    "lun_id": "volume",
    "machine_id": "machine",
    "moref": SHARED,
    "plan_id": "recovery_plan",
    "notice_id": "notice",
    "number": SHARED,  # a number means nothing to another tenant; tests/protection tries it
    "point_id": "restore_point",
    "policy_id": "policy",
    "pool_id": "resource_pool",
    "provider_id": "provider",
    "replica_id": "replica",
    "restore_id": "restore",
    "replication_id": "replication",
    "resource_id": "resource",
    "role_id": SHARED,
    "rule_id": "rule",
    "run_id": "recovery_run",
    "server_id": SHARED,
    "snapshot_id": "snapshot",
    "switch_id": SHARED,
    "target": SHARED,
    "target_id": "notice_target",
    "tenant_id": "tenant",
    "token_id": "token",
    "update_id": "update",
    "user_id": "user",
    "vlan_id": "vlan",
    "worker_id": SHARED,
    "zone_id": SHARED,
}
FILTERS = {
    "companyId": "company",
    "concernedItem": "machine",
    "datacenterId": SHARED,
    "datacenters[]": SHARED,
    "datastoreClusterId": "cluster",
    "datastoreId": "volume",
    "datastores[]": "volume",
    "folderId": SHARED,
    "hostClusterId": "cpool",
    "hostClusters[]": "cpool",
    "hostId": "blade",
    "hosts[]": "blade",
    "initiator": "user",
    "machineManagerId": SHARED,
    "networks[]": "vlan",
    "policyId": "policy",
    "roleId": SHARED,
    "sppServerId": SHARED,
    "subjectId": "recovery_plan",
    "targetId": "notice_target",
    "tenantId": "tenant",
    "token": "token",
    "user": "user",
    "userId": "user",
    "virtualDiskId": "disk",
    "virtualMachineId": "machine",
    "volumeId": "volume",
    "virtualSwitchId": SHARED,
}
NO_IDS = {
    "address",
    "after",
    "allOptions",
    "archived",
    "before",
    "cpu",
    "days",
    "email",
    "everywhere",
    "force",
    "format",
    "from",
    "hours",
    "inherited",
    "unfinished",
    "kind",
    "last",
    "limit",
    "memory",
    "name",
    "osFamily",
    "outcome",
    "path",
    "range",
    "since",
    "state",
    "text",
    "to",
    "type",
    "types[]",
    "until",
    "version",
    "volume",  # of a restore point's own
}
FIELDS = {
    "add": "volume",
    "buildId": SHARED,
    "controllerId": "controller",
    "contentLibraryItemId": "item",
    "datacenterId": SHARED,
    "datastoreClusterId": "cluster",
    "datastoreId": "volume",
    "datastoreIds": "volume",
    "destinationNetworkId": "vlan",
    "diskIds": "disk",
    "hostClusterId": "cpool",
    "hostClusterIds": "cpool",
    "hostId": "blade",
    "jobId": "job",
    "networkAdapterId": "adapter",
    "networkId": "vlan",
    "newNetworkId": "vlan",
    "pointId": "replica_point",
    "policyId": SHARED,  # of jobs/run: not looked at
    "remove": "volume",
    "roleIds": SHARED,
    "roles": SHARED,
    "slaPolicies": "policy",
    "tenantId": "tenant",
    "uploadId": "upload",
    "userId": "user",
    "uuid": "machine",
    "virtualDiskId": "disk",
    "virtualMachineId": "machine",
    "virtualMachineIds": "machine",
    "virtualMachines": "machine",
    "volumeId": "volume",
    "zoneId": SHARED,
}
SUBJECTS = {
    "virtual_machines": "machine",
    "virtual_disks": "disk",
    "network_adapters": "adapter",
    "virtual_controllers": "controller",
    "datastores": "volume",
    "datastore_clusters": "cluster",
    "snapshots": "snapshot",
    "items/vmware": "offer",
}
"""What a field that is only named `id` means, by the collection that the path names."""

QUIET = {"DELETE /tag/v1/tags/resources/{resource_id}/keys/{key}"}
"""Deleting what is not there has nothing to do and says so; that nothing was done, `unharmed` sees."""

WORDS: dict[str, Any] = {
    "digestAt": "07:00",
    "events": ["digest"],
    "timeZone": "UTC",
    "webhook": None,
    "command": "true",
    "count": 1,
    "severity": "low",
    "capacity": 500 * 2**30,
    "name": "walked",
    "email": "walked@naos.invalid",
    "cidr": "192.0.2.0/24",
    "macAddress": "02:4e:00:00:00:09",
    "site": "AZ07",
    "retention": 7,
    "storageClass": "standard",
    "model": "LAB v1",
    "type": "vcenter_virtual_machine",
    "source": "vmware",
    "memory": 64 * 2**20,
    "newCapacity": 2**30,
}


def path_kind(operation: Operation, name: str) -> str:
    """The kind of object that a parameter of an operation's path names."""
    if name == "item_id" and operation.path.startswith("/marketplace/"):
        return SHARED  # offers are there for every tenant
    return PATHS[name]


def own_path(home: Home, operation: Operation) -> dict[str, str]:
    """Sound values for all parameters of an operation's path."""
    return {
        name: home.ids["offer"]
        if name == "item_id" and operation.path.startswith("/marketplace/")
        else mine_for(home.platform, PATHS[name], name, home.ids)
        for name in operation.in_path
    }


def kind_of(operation: Operation, field: str) -> str | None:
    """The kind of object whose id a field of an operation's body holds; None for a field that holds none."""
    if field == "id" and "/content_libraries/" not in operation.path:
        found = [kind for name, kind in SUBJECTS.items() if f"/{name}" in operation.path]
        return found[-1] if found else None
    return FIELDS.get(field)


def mine_for(platform: Platform, kind: str, name: str, ids: dict[str, str]) -> str:
    """A sound value for a parameter of mine."""
    if kind != SHARED:
        return ids[kind]
    values = {
        "datacenterId": "zone_id",
        "zoneId": "zone_id",
        "datacenters[]": "zone_id",
        "machineManagerId": "worker_id",
    }
    if values.get(name, name) == "zone_id":
        return platform.zone("AZ05")
    if values.get(name, name) == "worker_id":
        return str(platform.get("/compute/v1/vcenters")[0]["id"])
    if name in {"server_id", "sppServerId"}:
        return str(platform.get("/backup/v1/spp/servers")[0]["id"])
    if name in {"role_id", "roleId", "roleIds", "roles"}:
        return str(platform.get("/iam/v2/roles")[0]["id"])
    if name in {"build_id", "buildId"}:
        return str(platform.get("/compute/v1/vcenters/hypervisor_builds")[0]["id"])
    if name in {"folder_id", "folderId"}:
        return str(platform.get("/compute/v1/vcenters/folders")[0]["id"])
    if name in {"switch_id", "virtualSwitchId"}:
        return str(platform.get("/compute/v1/vcenters/virtual_switchs")[0]["id"])
    return {"moref": "debian12_64Guest", "target": "vmware"}.get(name, "owner")


def path_of(operation: Operation, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)[^}]*}", lambda match: values[match[1]], operation.path)


def query_of(mine: Home, operation: Operation) -> dict[str, str]:
    """The query that an operation cannot do without."""
    return {
        name: mine_for(mine.platform, FILTERS[name], name, mine.ids) if name in FILTERS else "4"
        for name in operation.needed
    }


def body_of(
    mine: Home, document: dict[str, Any], operation: Operation, only: str | None = None
) -> tuple[dict[str, Any], list[Any]]:
    """A sound body, and where its ids are; see `Bodies.make`."""

    def value(field: str) -> str | None:
        kind = kind_of(operation, field)
        return None if kind is None else mine_for(mine.platform, kind, field, mine.ids)

    assert operation.body is not None
    body, places = Bodies(document, value, WORDS.get).make(operation.body, only)
    for mapping in body.get("networkData", []):
        if "destinationNetworkId" in mapping:  # which stands beside the name of what it is for
            mapping["networkAdapterName"] = "Network adapter 1"
    return body, places
