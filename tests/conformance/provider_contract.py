"""The public provider's contract: its 108 calls, which answers each one takes, and the shapes that it decodes them into.

A shape is a type (`str`, `int`, `float`, `bool`), `Time`, a list of one shape, or an object of named shapes. As in the
provider's decoder, `null` and a missing key stand for the zero value, keys match without regard to case, and keys that
the shape does not name are passed over; a value of another type breaks the whole answer.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

Shape = Any


class Time:
    """RFC 3339, as a string; `null` is tolerated, an empty string is not."""


class Answers(Enum):
    """Which status codes a call takes. See `provider_client.Client`."""

    LIST = "L"
    TOLERANT = "LR"
    ONE = "R"
    ONE_OR_FAULT = "R500"
    STRICT = "LS"
    ACTIVITY = "A"
    CREATED = "exactly 201"
    DONE = "200, 201, 206"
    GONE = "204 or 201"


@dataclass(frozen=True)
class Call:
    """`query`: what may stand in the query; `body`: whether one is sent; `answer`: the shape, None when not decoded."""

    method: str
    path: str
    answers: Answers
    answer: Shape = None
    query: frozenset[str] = frozenset()
    body: bool = False


REFERENCE = {"id": str, "name": str}
COMPANY = {"id": str, "name": str}
TENANT = {"id": str, "name": str, "snc": bool, "companyId": str}
USER = {
    "id": str,
    "internalId": str,
    "name": str,
    "type": str,
    "source": [str],
    "sourceId": str,
    "emailVerified": bool,
    "email": str,
}
ROLE = {"id": str, "name": str}
FEATURE = {
    "id": str,
    "name": str,
    "subFeatures": [{"id": str, "name": str, "subFeatures": [{"id": str, "name": str, "subFeatures": [REFERENCE]}]}],
}
TOKEN = {
    "id": str,
    "name": str,
    "secret": str,
    "roles": [str],
    "expirationDate": str,
    "userId": str,
    "tenantId": str,
    "tenantName": str,
}
NEW_TOKEN = {key: shape for key, shape in TOKEN.items() if key != "expirationDate"}
ACTIVITY_STATE = {"startDate": str, "stopDate": str, "reason": str, "result": str, "progression": float}
ACTIVITY = {
    "id": str,
    "tenantId": str,
    "description": str,
    "type": str,
    "tags": [str],
    "creationDate": Time,
    "concernedItems": [{"id": str, "type": str}],
    "state": {"*": ACTIVITY_STATE},
}
WORKER = {
    "id": str,
    "name": str,
    "fullName": str,
    "vendor": str,
    "version": str,
    "build": int,
    "localeVersion": str,
    "localeBuild": int,
    "osType": str,
    "productLineId": str,
    "apiType": str,
    "apiVersion": str,
    "instanceUuid": str,
    "licenseProductName": str,
    "licenseProductVersion": int,
    "tenantId": str,
    "tenantName": str,
}
DATACENTER = {"id": str, "name": str, "tenantId": str, "machineManager": REFERENCE, "vCenter": REFERENCE}
MEMBER = {"id": str, "type": str}
HOST_CLUSTER = {
    "id": str,
    "name": str,
    "moref": str,
    "hosts": [MEMBER],
    "metrics": {
        "totalCpu": int,
        "totalMemory": int,
        "totalStorage": int,
        "cpuUsed": int,
        "memoryUsed": int,
        "storageUsed": int,
    },
    "virtualMachinesNumber": int,
    "machineManager": REFERENCE,
    "datacenter": REFERENCE,
}
HOST = {
    "id": str,
    "name": str,
    "moref": str,
    "machineManager": REFERENCE,
    "metrics": {
        "esx": {"version": str, "build": int, "fullName": str},
        "cpu": {"overallCpuUsage": int, "cpuMhz": int, "cpuCores": int, "cpuThreads": int},
        "memory": {"memorySize": int, "memoryUsage": int},
        "maintenanceMode": bool,
        "uptime": int,
        "connected": bool,
    },
    "virtualMachines": [MEMBER],
}
RESOURCE_POOL = {
    "id": str,
    "name": str,
    "moref": str,
    "parent": MEMBER,
    "metrics": {
        "cpu": {"maxUsage": int, "reservationUsed": int},
        "memory": {"maxUsage": int, "reservationUsed": int, "balloonedMemory": int},
    },
    "machineManager": REFERENCE,
}
FOLDER = {"id": str, "name": str, "machineManager": REFERENCE}
DATASTORE_CLUSTER = {
    "id": str,
    "name": str,
    "moref": str,
    "datastores": [str],
    "metrics": {
        "freeCapacity": int,
        "maxCapacity": int,
        "enabled": bool,
        "defaultVmBehavior": str,
        "loadBalanceInterval": int,
        "spaceThresholdMode": str,
        "spaceUtilizationThreshold": int,
        "minSpaceUtilizationDifference": int,
        "reservablePercentThreshold": int,
        "reservableThresholdMode": str,
        "ioLatencyThreshold": int,
        "ioLoadImbalanceThreshold": int,
        "ioLoadBalanceEnabled": bool,
    },
    "machineManager": REFERENCE,
    "datacenter": REFERENCE,
}
DATASTORE = {
    "id": str,
    "name": str,
    "machineManager": REFERENCE,
    "moref": str,
    "maxCapacity": int,
    "freeCapacity": int,
    "accessible": int,
    "maintenanceMode": bool,
    "uniqueId": str,
    "type": str,
    "virtualMachinesNumber": int,
    "hostsNumber": int,
    "hostsNames": [str],
    "associatedFolder": str,
}
VPC = {"id": str, "name": str, "privateNetwork": REFERENCE, "staticIpAddress": str}
NETWORK = {
    "id": str,
    "name": str,
    "moref": str,
    "machineManager": REFERENCE,
    "virtualMachinesNumber": int,
    "hostNumber": int,
    "hostNames": [str],
    "vpc": VPC,
}
VIRTUAL_SWITCH = {"id": str, "name": str, "moref": str, "folderId": str, "machineManager": REFERENCE}
CONTENT_LIBRARY = {"id": str, "name": str, "machineManager": REFERENCE, "datastore": REFERENCE}
CONTENT_LIBRARY_ITEM = {
    "id": str,
    "name": str,
    "description": str,
    "type": str,
    "creationTime": Time,
    "size": int,
    "lastModifiedTime": str,
    "ovfProperties": [str],
}
GUEST_SYSTEM = {"moref": str, "family": str, "fullName": str}
PAIR = {"key": str, "value": str}
MACHINE = {
    "id": str,
    "name": str,
    "moref": str,
    "machineManager": REFERENCE,
    "datacenter": REFERENCE,
    "hostCluster": REFERENCE,
    "datastore": REFERENCE,
    "datastoreCluster": REFERENCE,
    "consolidationNeeded": bool,
    "template": bool,
    "powerState": str,
    "hardwareVersion": str,
    "numCoresPerSocket": int,
    "cpu": int,
    "memory": int,
    "operatingSystem": {"name": str},
    "operatingSystemMoref": str,
    "cpuHotAddEnabled": bool,
    "cpuHotRemoveEnabled": bool,
    "memoryHotAddEnabled": bool,
    "cpuUsage": int,
    "memoryUsage": int,
    "tools": str,
    "toolsVersion": int,
    "distributedVirtualPortGroupIds": [str],
    "sppMode": str,
    "snapshoted": bool,
    "triggeredAlarms": [{"id": str, "status": str}],
    "replicationConfig": {"generation": int, "vmReplicationId": str, "rpo": int, "quiesceGuestEnabled": bool},
    "extraConfig": [PAIR],
    "storage": {"committed": int, "uncommitted": int},
    "bootOptions": {
        "firmware": str,
        "bootDelay": int,
        "enterBIOSSetup": bool,
        "bootRetryEnabled": bool,
        "bootRetryDelay": int,
        "efiSecureBootEnabled": bool,
    },
    "exposeHardwareVirtualization": bool,
}
RECOMMENDATION = {"key": int, "hostClusterId": str, "hostId": str, "hostClusterName": str, "hostName": str}
SNAPSHOT = {"id": str, "virtualMachineId": str, "name": str, "createTime": int}
CONTROLLER = {
    "id": str,
    "virtualMachineId": str,
    "hotAddRemove": bool,
    "type": str,
    "subType": str,
    "label": str,
    "summary": str,
    "virtualDisks": [str],
}
DISK = {
    "id": str,
    "name": str,
    "virtualMachineId": str,
    "machineManager": REFERENCE,
    "datastore": REFERENCE,
    "capacity": int,
    "diskUnitNumber": int,
    "instantAccess": bool,
    "nativeId": str,
    "diskPath": str,
    "provisioningType": str,
    "diskMode": str,
    "editable": bool,
    "controller": {"id": str, "busNumber": int, "type": str},
}
ADAPTER = {
    "id": str,
    "virtualMachineId": str,
    "name": str,
    "network": REFERENCE,
    "type": str,
    "macType": str,
    "macAddress": str,
    "connected": bool,
    "autoConnect": bool,
    "vpc": VPC,
}
JOB = {"id": str, "name": str, "displayName": str, "type": str, "status": str, "policyId": str}
SESSION = {
    "id": str,
    "jobName": str,
    "slaPolicyType": str,
    "jobId": str,
    "type": str,
    "duration": int,
    "start": int,
    "end": int,
    "status": str,
    "statistics": {"total": int, "success": int, "failed": int, "skipped": int},
    "slaPolicies": [{"id": str, "name": str, "href": str}],
}
HISTORY = {"totalRuns": int, "sucessPercent": float, "failed": int, "warning": int, "success": int, "running": int}
COVERAGE = {"failedResources": int, "protectedResources": int, "unprotectedResources": int, "totalResources": int}
MACHINES_METRICS = {
    "inSPP": int,
    "inCompute": int,
    "withBackup": int,
    "inSLA": int,
    "inOffloadingSLA": int,
    "tsmOffloadingFactor": int,
}
POLICY_METRICS = {"name": str, "triggerType": str, "numberOfProtectedVM": int}
PLATFORM_METRICS = {"version": str, "build": str, "date": str, "product": str, "epoch": int, "deploymentType": str}
POLICY = {
    "id": str,
    "name": str,
    "subPolicies": [
        {
            "type": str,
            "useEncryption": bool,
            "software": bool,
            "site": str,
            "retention": {"age": int},
            "trigger": {"frequency": int, "type": str, "activateDate": int},
            "target": {"id": str, "href": str, "resourceType": str},
        }
    ],
}
SERVER = {"id": str, "name": str, "address": str}
STORAGE = {
    "id": str,
    "resourceType": str,
    "type": str,
    "site": str,
    "name": str,
    "storageId": str,
    "hostAddress": str,
    "portNumber": int,
    "sslConnection": bool,
    "initializeStatus": str,
    "version": str,
    "isReady": bool,
    "capacity": {"free": int, "total": int, "updateTime": int},
}
BACKUP_MANAGER = {"id": str, "internalId": int, "instanceId": str, "sppServerId": str, "name": str}
BACKUP_DISK = {
    "id": str,
    "name": str,
    "internalId": str,
    "instanceId": str,
    "sppServerId": str,
    "virtualMachineId": str,
}
BACKUP_MACHINE = {
    "id": str,
    "name": str,
    "moref": str,
    "internalId": str,
    "internalVCenterId": int,
    "vCenterId": str,
    "href": str,
    "metadataPath": str,
    "storageProfiles": [str],
    "datacenterName": str,
    "volumes": [{"name": str, "key": str, "size": int, "configVolume": bool}],
}
TAG = {"key": str, "value": str, "tenant": str, "resource": str}
WORDS = {"overview": str, "howToUse": str, "support": str, "termsAndConditions": str}
ITEM = {
    "id": str,
    "name": str,
    "editor": str,
    "icon": str,
    "description": str,
    "descriptionEn": str,
    "creationDate": str,
    "lastUpdate": str,
    "categories": [str],
    "type": str,
    "version": str,
    "build": str,
    "details": WORDS,
    "detailsEn": WORDS,
    "deploymentOptions": {"targets": [{"key": str, "name": str, "skus": [str], "files": [str]}]},
}
ITEM_INFO = {
    "name": str,
    "cpu": {"count": int, "numCoresPerSocket": int},
    "memory": int,
    "operatingSystem": REFERENCE,
    "hardwareVersion": str,
    "networkAdapters": [{"name": str, "networkName": str, "type": str}],
    "controllers": [{"id": str, "name": str, "type": str, "subType": str}],
    "disks": [{"name": str, "capacity": int, "controllerId": str, "populatedSize": int}],
    "extraConfig": [{"key": str, "value": str, "required": bool}],
}
STATIC_ADDRESS = {"id": str, "ipAddress": str, "macAddress": str, "source": str, "vpc": REFERENCE}

IAM, COMPUTE, BACKUP, MARKET = "/iam/v2", "/compute/v1/vcenters", "/backup/v1/spp", "/marketplace/v1"
LIST, TOLERANT, ONE, ACTIVITY_OF = Answers.LIST, Answers.TOLERANT, Answers.ONE, Answers.ACTIVITY


def _read(path: str, answers: Answers, answer: Shape, query: str = "") -> Call:
    return Call("GET", path, answers, answer, frozenset(query.split()))


def _write(method: str, path: str, *, body: bool = True) -> Call:
    return Call(method, path, ACTIVITY_OF, body=body)


CALLS: tuple[Call, ...] = (
    _read(f"{IAM}/companies/{{id}}", ONE, COMPANY),
    _read(f"{IAM}/tenants", LIST, [TENANT]),
    _read(f"{IAM}/users", LIST, [USER], "companyId"),
    _read(f"{IAM}/users/{{id}}", ONE, USER),
    _read(f"{IAM}/roles", LIST, [ROLE]),
    _read(f"{IAM}/roles/{{id}}", ONE, ROLE),
    _read(f"{IAM}/features", LIST, [FEATURE]),
    _read(f"{IAM}/features/assignments", LIST, [{"featureId": str, "tenantId": str}], "tenantId"),
    _read(
        f"{IAM}/assignments/tenant", LIST, [{"userId": str, "tenantId": str, "roleId": str}], "userId tenantId roleId"
    ),
    _read(f"{IAM}/personal_access_tokens", LIST, [TOKEN]),
    _read(f"{IAM}/personal_access_tokens/{{id}}", Answers.ONE_OR_FAULT, TOKEN),
    Call("POST", f"{IAM}/personal_access_tokens", Answers.CREATED, NEW_TOKEN, body=True),
    Call("DELETE", f"{IAM}/personal_access_tokens/{{id}}", Answers.DONE),
    _read("/activity/v1/activities", LIST, [ACTIVITY]),
    _read("/activity/v1/activities/{id}", ONE, ACTIVITY),
    _read(COMPUTE, LIST, [WORKER]),
    _read(f"{COMPUTE}/{{id}}", ONE, WORKER),
    _read(f"{COMPUTE}/virtual_datacenters", LIST, [DATACENTER], "name machineManagerId"),
    _read(f"{COMPUTE}/virtual_datacenters/{{id}}", ONE, DATACENTER),
    _read(
        f"{COMPUTE}/host_clusters",
        LIST,
        [HOST_CLUSTER],
        "name machineManagerId datacenterId datastoreId datastoreClusterId",
    ),
    _read(f"{COMPUTE}/host_clusters/{{id}}", ONE, HOST_CLUSTER),
    _read(f"{COMPUTE}/hosts", LIST, [HOST], "name machineManagerId datacenterId hostClusterId datastoreId"),
    _read(f"{COMPUTE}/hosts/{{id}}", ONE, HOST),
    _read(f"{COMPUTE}/resource_pools", LIST, [RESOURCE_POOL], "machineManagerId datacenterId hostClusterId"),
    _read(f"{COMPUTE}/resource_pools/{{id}}", ONE, RESOURCE_POOL),
    _read(f"{COMPUTE}/folders", LIST, [FOLDER], "name machineManagerId datacenterId"),
    _read(f"{COMPUTE}/folders/{{id}}", ONE, FOLDER),
    _read(
        f"{COMPUTE}/datastore_clusters",
        LIST,
        [DATASTORE_CLUSTER],
        "name machineManagerId datacenterId hostId hostClusterId",
    ),
    _read(f"{COMPUTE}/datastore_clusters/{{id}}", ONE, DATASTORE_CLUSTER),
    _read(
        f"{COMPUTE}/datastores",
        LIST,
        [DATASTORE],
        "name machineManagerId datacenterId hostId hostClusterId datastoreClusterId",
    ),
    _read(f"{COMPUTE}/datastores/{{id}}", ONE, DATASTORE),
    _read(
        f"{COMPUTE}/networks",
        LIST,
        [NETWORK],
        "name machineManagerId datacenterId virtualMachineId type virtualSwitchId hostId hostClusterId folderId",
    ),
    _read(f"{COMPUTE}/networks/{{id}}", ONE, NETWORK),
    _read(f"{COMPUTE}/virtual_switchs", LIST, [VIRTUAL_SWITCH], "name machineManagerId datacenterId hostClusterId"),
    _read(f"{COMPUTE}/virtual_switchs/{{id}}", ONE, VIRTUAL_SWITCH),
    _read(f"{COMPUTE}/content_libraries", LIST, [CONTENT_LIBRARY], "name machineManagerId"),
    _read(f"{COMPUTE}/content_libraries/{{id}}", ONE, CONTENT_LIBRARY),
    _read(f"{COMPUTE}/content_libraries/{{id}}/items", TOLERANT, [CONTENT_LIBRARY_ITEM], "name"),
    _read(f"{COMPUTE}/content_libraries/{{id}}/items/{{item}}", ONE, CONTENT_LIBRARY_ITEM),
    _write("POST", f"{COMPUTE}/content_libraries/{{id}}/items"),
    _read(f"{COMPUTE}/guest_operating_systems", TOLERANT, [GUEST_SYSTEM], "hostId hostClusterId osFamily version"),
    _read(f"{COMPUTE}/guest_operating_systems/{{id}}", Answers.ONE_OR_FAULT, GUEST_SYSTEM, "hostId hostClusterId"),
    _read(
        f"{COMPUTE}/virtual_machines",
        LIST,
        [MACHINE],
        "name machineManagerId allOptions datacenters[] networks[] datastores[] hosts[] hostClusters[]",
    ),
    _read(f"{COMPUTE}/virtual_machines/{{id}}", ONE, MACHINE),
    _write("POST", f"{COMPUTE}/virtual_machines"),
    _write("PATCH", f"{COMPUTE}/virtual_machines"),
    _write("DELETE", f"{COMPUTE}/virtual_machines/{{id}}", body=False),
    _write("PATCH", f"{COMPUTE}/virtual_machines/power"),
    _read(
        f"{COMPUTE}/virtual_machines/power/recommendations",
        TOLERANT,
        [RECOMMENDATION],
        "virtualMachineId datacenterId hostClusterId",
    ),
    _write("PATCH", f"{COMPUTE}/virtual_machines/rename"),
    _write("POST", f"{COMPUTE}/virtual_machines/{{id}}/clone"),
    _write("POST", f"{COMPUTE}/virtual_machines/relocate"),
    _write("PATCH", f"{COMPUTE}/virtual_machines/{{id}}/guest"),
    _write("PATCH", f"{COMPUTE}/virtual_machines/{{id}}/guest/customize"),
    _write("PATCH", f"{COMPUTE}/virtual_machines/{{id}}/extra_config"),
    _read(f"{COMPUTE}/snapshots", TOLERANT, [SNAPSHOT], "virtualMachineId"),
    _read(f"{COMPUTE}/virtual_controllers", TOLERANT, [CONTROLLER], "virtualMachineId types[]"),
    _read(f"{COMPUTE}/virtual_controllers/{{id}}", ONE, CONTROLLER),
    _write("POST", f"{COMPUTE}/virtual_controllers"),
    _write("PATCH", f"{COMPUTE}/virtual_controllers/cdrom/mount"),
    _write("PATCH", f"{COMPUTE}/virtual_controllers/cdrom/unmount"),
    _write("PATCH", f"{COMPUTE}/virtual_controllers/cdrom/connect"),
    _write("PATCH", f"{COMPUTE}/virtual_controllers/cdrom/disconnect"),
    _write("DELETE", f"{COMPUTE}/virtual_controllers/{{id}}", body=False),
    _read(f"{COMPUTE}/virtual_disks", TOLERANT, [DISK], "name virtualMachineId"),
    _read(f"{COMPUTE}/virtual_disks/{{id}}", ONE, DISK),
    _write("POST", f"{COMPUTE}/virtual_disks"),
    _write("PATCH", f"{COMPUTE}/virtual_disks"),
    _write("DELETE", f"{COMPUTE}/virtual_disks/{{id}}", body=False),
    _write("POST", f"{COMPUTE}/virtual_disks/mount"),
    _write("POST", f"{COMPUTE}/virtual_disks/unmount"),
    _read(f"{COMPUTE}/network_adapters", TOLERANT, [ADAPTER], "virtualMachineId"),
    _read(f"{COMPUTE}/network_adapters/{{id}}", ONE, ADAPTER),
    _write("POST", f"{COMPUTE}/network_adapters"),
    _write("PATCH", f"{COMPUTE}/network_adapters"),
    _write("PATCH", f"{COMPUTE}/network_adapters/connect"),
    _write("PATCH", f"{COMPUTE}/network_adapters/disconnect"),
    _write("DELETE", f"{COMPUTE}/network_adapters/{{id}}", body=False),
    _read(f"{BACKUP}/jobs", LIST, [JOB], "type"),
    _read(f"{BACKUP}/jobs/{{id}}", ONE, JOB),
    _write("POST", f"{BACKUP}/jobs/run"),
    _read(f"{BACKUP}/jobs/session", LIST, [SESSION]),
    _read(f"{BACKUP}/metrics/backup/history", ONE, HISTORY, "range"),
    _read(f"{BACKUP}/metrics/coverage", LIST, COVERAGE),
    _read(f"{BACKUP}/metrics/vm", LIST, MACHINES_METRICS),
    _read(f"{BACKUP}/metrics/policies", LIST, [POLICY_METRICS]),
    _read(f"{BACKUP}/metrics/plateform", LIST, PLATFORM_METRICS),
    _read(f"{BACKUP}/metrics/plateform/cpu", ONE, {"cpuUtil": int}),
    _read(f"{BACKUP}/sites", LIST, [REFERENCE]),
    _read(f"{BACKUP}/policies", LIST, [POLICY], "virtualMachineId virtualDiskId"),
    _read(f"{BACKUP}/policies/{{id}}", ONE, POLICY),
    _write("POST", f"{BACKUP}/policies/assign/virtual_machine"),
    _write("POST", f"{BACKUP}/policies/assign/virtual_disk"),
    _read(f"{BACKUP}/servers", LIST, [SERVER], "tenantId"),
    _read(f"{BACKUP}/servers/{{id}}", ONE, SERVER),
    _read(f"{BACKUP}/storages", LIST, [STORAGE]),
    _read(f"{BACKUP}/vcenters", LIST, [BACKUP_MANAGER], "sppServerId"),
    _read(f"{BACKUP}/virtual_disks/{{id}}", ONE, BACKUP_DISK),
    _read(f"{BACKUP}/virtual_machines/{{id}}", ONE, BACKUP_MACHINE),
    Call("POST", "/tag/v1/tags", Answers.DONE, body=True),
    _read("/tag/v1/tags/resources/{id}", LIST, [TAG]),
    Call("DELETE", "/tag/v1/tags/resources/{id}/keys/{key}", Answers.GONE),
    _read(f"{MARKET}/items", LIST, [ITEM]),
    _write("POST", f"{MARKET}/items/vmware/deploy"),
    _read(f"{MARKET}/items/{{id}}", ONE, ITEM),
    _read(f"{MARKET}/items/{{id}}/vmware/info", ONE, ITEM_INFO),
    _read("/vpc/v1/static_ips/mac/{mac}", ONE, STATIC_ADDRESS),
)
"""All but the login, which has no JSON answer."""

BY_NAME: dict[tuple[str, str], Call] = {(call.method, call.path): call for call in CALLS}


class Misshapen(AssertionError):
    """A value that the provider's decoder refuses. The text says where."""


def decoded(shape: Shape, value: Any, where: str = "answer") -> Any:
    """`value` as the provider has it after decoding. Raises Misshapen."""
    if isinstance(shape, dict):
        return _object(shape, value, where)
    if isinstance(shape, list):
        if value is None:
            return []
        if not isinstance(value, list):
            raise Misshapen(f"{where}: {value!r} is no list")
        return [decoded(shape[0], item, f"{where}[{number}]") for number, item in enumerate(value)]
    if shape is Time:
        return _time(value, where)
    if value is None:
        return shape()
    if shape is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if type(value) is not shape:
        raise Misshapen(f"{where}: {value!r} is no {shape.__name__}")
    return value


def _object(shape: dict[str, Shape], value: Any, where: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Misshapen(f"{where}: {value!r} is no object")
    if "*" in shape:
        return {key: decoded(shape["*"], item, f"{where}.{key}") for key, item in value.items()}
    folded = {key.casefold(): item for key, item in value.items()}
    return {key: decoded(inner, folded.get(key.casefold()), f"{where}.{key}") for key, inner in shape.items()}


def _time(value: Any, where: str) -> str | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise Misshapen(f"{where}: {value!r} is no time of RFC 3339") from error
    if moment.tzinfo is None or "T" not in value:
        raise Misshapen(f"{where}: {value!r} is no time of RFC 3339")
    return str(value)
