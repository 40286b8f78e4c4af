"""A labelled fake of the HTTP API for the command line's tests: the wire's shapes, no rules, every request kept."""

import base64
import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
from typer.testing import CliRunner, Result

from naos.cli.client import Connection
from naos.cli.main import app

GIB = 2**30
Json = dict[str, Any]
COMPUTE = "/compute/v1/vcenters"
TOKEN = "3f5bb7f6-6f3e-4f6b-9c1a-0a54f4f6f001"


def identifier(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def refusal(status: int, code: str, message: str, **details: Any) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"code": code, "status": status, "message": message, "details": details}}
    )


def session(lifetime: float = 1800.0) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + lifetime}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{claims}.{uuid.uuid4().hex}"


ZONE = {"id": identifier(1), "name": "par1", "tenantId": identifier(9), "machineManager": {"id": "r", "name": "fr1"}}
POOL: Json = {
    "id": identifier(2),
    "name": "web",
    "hosts": [{"id": "host-1", "type": "HostSystem"}, {"id": "host-2", "type": "HostSystem"}],
    "metrics": {
        "totalCpu": 4000,
        "totalMemory": 256 * GIB,
        "totalStorage": 0,
        "cpuUsed": 1000,
        "memoryUsed": GIB,
        "storageUsed": 0,
    },
    "virtualMachinesNumber": 1,
    "datacenter": {"id": identifier(1), "name": "par1"},
    "model": "ECO v3",
    "status": "active",
}
VOLUME: Json = {
    "id": identifier(3),
    "name": "fast",
    "maxCapacity": 500 * GIB,
    "freeCapacity": 499 * GIB,
    "storageClass": "standard",
    "iops": 750,
    "bandwidth": None,
    "virtualMachinesNumber": 1,
    "datacenter": {"id": identifier(1), "name": "par1"},
    "status": "active",
}
VLAN: Json = {
    "id": identifier(4),
    "name": "front",
    "vlanId": 100,
    "hostClusters": [{"id": identifier(2), "name": "web"}],
    "hostNumber": 2,
    "hostNames": ["par1-blade1", "par1-blade2"],
    "virtualMachinesNumber": 1,
    "status": "active",
}
BLADE: Json = {
    "id": identifier(5),
    "name": "par1-blade1",
    "hostCluster": {"id": identifier(2), "name": "web"},
    "metrics": {
        "esx": {"version": "7.2.22", "fullName": "QEMU 7.2.22"},
        "cpu": {"cpuCores": 2},
        "memory": {"memorySize": 128 * GIB, "memoryUsage": 1024},
        "connected": True,
    },
    "virtualMachines": [],
    "acceleration": "tcg",
}
LIBRARY: Json = {"id": identifier(6), "name": "Templates"}
TEMPLATE: Json = {
    "id": identifier(7),
    "name": "naos-tiny",
    "description": "",
    "source": "qcow2",
    "size": 20 * 2**20,
    "virtualSize": 64 * 2**20,
    "checksum": "sha256:00",
    "warnings": [],
    "creationTime": "2026-11-25T07:00:00+00:00",
    "status": "active",
    "cpu": 0,
    "memory": 0,
    "operatingSystem": "",
    "disks": [{"name": "Hard disk 1", "capacity": 64 * 2**20}],
    "networkAdapters": [],
    "properties": [],
}
OFFER: Json = {
    "id": identifier(8),
    "name": "debian",
    "editor": "Debian",
    "version": "12",
    "build": "",
    "descriptionEn": "A machine",
    "lastUpdate": "2026-11-25T07:00:00+00:00",
}
OFFERED: Json = {
    "name": "debian",
    "cpu": {"count": 2, "numCoresPerSocket": 1},
    "memory": GIB,
    "networkAdapters": [{"name": "Network adapter 1", "networkName": "lan", "type": "VmxNet3"}],
    "extraConfig": [{"key": "hostname", "value": "debian", "required": False}],
}
OVA = b"an archive"


def machine(number: int, name: str, **changes: Any) -> Json:
    return {
        "id": identifier(number),
        "name": name,
        "powerState": "stopped",
        "cpu": 1,
        "memory": GIB,
        "hostCluster": {"id": identifier(2), "name": "web"},
        "host": None,
        "datacenter": {"id": identifier(1), "name": "par1"},
        "datastore": {"id": identifier(3), "name": "fast"},
        "addresses": ["10.1.0.11/24"],
        "storage": {"committed": 10 * GIB, "uncommitted": 0},
        "status": "active",
        **changes,
    }


def disk(number: int, machine_id: str, name: str = "Hard disk 1") -> Json:
    return {
        "id": identifier(number),
        "name": name,
        "virtualMachineId": machine_id,
        "datastore": {"id": identifier(3), "name": "fast"},
        "capacity": 10 * GIB,
        "provisioningType": "dynamic",
        "status": "active",
    }


def adapter(number: int, machine_id: str, name: str = "Network adapter 1") -> Json:
    return {
        "id": identifier(number),
        "name": name,
        "virtualMachineId": machine_id,
        "network": {"id": identifier(4), "name": "front"},
        "macAddress": "02:4e:00:00:00:01",
        "connected": True,
        "autoConnect": True,
    }


@dataclass
class Platform:
    """The API: `lists` holds each collection; every write makes an activity that ends after a few reads.

    story: the states that an activity shows, one a read; the last stays.
    before: asked first; its answer, where it has one, is the answer.
    """

    lists: dict[str, list[Json]] = field(
        default_factory=lambda: {
            "virtual_machines": [],
            "virtual_datacenters": [dict(ZONE)],
            "host_clusters": [dict(POOL)],
            "hosts": [dict(BLADE)],
            "datastores": [dict(VOLUME)],
            "networks": [dict(VLAN)],
            "content_libraries": [dict(LIBRARY)],
            "items": [dict(TEMPLATE)],
            "exports": [],
            "offers": [dict(OFFER)],
            "virtual_disks": [],
            "network_adapters": [],
        }
    )
    findings: list[list[Json]] = field(default_factory=lambda: [[]])
    story: list[Json] = field(
        default_factory=lambda: [
            {"waiting": {}},
            {"running": {"status": "copy", "startDate": "2026-11-25T08:00:00+00:00", "progression": 0.5}},
            {"completed": {"startDate": "2026-11-25T08:00:00+00:00", "stopDate": "2026-11-25T08:00:02+00:00"}},
        ]
    )
    before: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
    requests: list[httpx.Request] = field(default_factory=list)
    activities: dict[str, Json] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    logins: int = 0
    session_lifetime: float = 1800.0

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.before(request)
        if answer is not None:
            return answer
        path = request.url.path.removeprefix("/api")
        if path == "/iam/v2/auth/personal_access_token":
            self.logins += 1
            if json.loads(request.content) != {"id": TOKEN, "secret": "s3cret"}:
                return refusal(401, "tenancy.credential_wrong", "Not logged in: no such token.")
            return httpx.Response(200, text=session(self.session_lifetime))
        if not request.headers.get("Authorization", "").startswith("Bearer eyJ"):
            return refusal(401, "identity.unauthenticated", "Not logged in: no session.")
        for pattern, answer_to in ROUTES:
            found = re.fullmatch(pattern, f"{request.method} {path}")
            if found:
                return answer_to(self, request, *found.groups())
        return refusal(404, "api.path_unknown", f"There is nothing at {path}; GET /openapi.json lists every path.")

    def writes(self) -> list[httpx.Request]:
        reading = ("/iam/v2/auth/personal_access_token",)
        return [item for item in self.requests if item.method != "GET" and item.url.path not in reading]

    def start(self, description: str, kind: str, concerned: str) -> httpx.Response:
        activity = str(uuid.uuid4())
        self.activities[activity] = {
            "id": activity,
            "description": description,
            "creationDate": f"2026-11-25T08:00:{len(self.activities):02d}+00:00",
            "concernedItems": [{"id": concerned, "type": kind}],
        }
        return httpx.Response(
            201,
            headers={"Location": activity},
            json={"id": activity, "activity": f"/activity/v1/activities/{activity}"},
        )

    def activity(self, activity: str) -> Json:
        reads = self.reads.get(activity, 0)
        self.reads[activity] = reads + 1
        return {**self.activities[activity], "state": self.story[min(reads, len(self.story) - 1)]}


Answer = Callable[..., httpx.Response]
ROUTES: list[tuple[str, Answer]] = []
FILTERS = {"hostClusterId": "hostCluster", "hostClusters[]": "hostCluster", "datacenterId": "datacenter"}


def route(pattern: str) -> Callable[[Answer], Answer]:
    def register(answer: Answer) -> Answer:
        ROUTES.append((pattern, answer))
        return answer

    return register


ENTRY: Json = {
    "sequence": 7,
    "time": "2026-11-25T08:00:00Z",
    "userName": "Ada",
    "address": "192.0.2.1",
    "method": "POST",
    "path": "/x",
    "outcome": "refused",
    "status": 403,
}


@route(r"GET /audit/v1/entries")
def _entries(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[ENTRY])


@route(r"GET /audit/v1/verification")
def _verification(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    found = {"sound": True, "checked": 7, "first": 1, "last": 7, "began": None, "bad": None, "reason": ""}
    return httpx.Response(200, json=found)


@route(r"POST /tag/v1/tags")
def _tag(_platform: Platform, request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    tag = {
        "key": body["key"],
        "value": body["value"],
        "tenant": identifier(9),
        "resource": body["resources"][0]["uuid"],
    }
    return httpx.Response(201, json=[tag])


@route(r"GET /tag/v1/tags/resources/[^/]+")
def _tags(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[])


@route(r"DELETE /tag/v1/tags/resources/[^/]+/keys/.+")
def _untag(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(204)


@route(r"GET /activity/v1/activities")
def _activities(platform: Platform, request: httpx.Request) -> httpx.Response:
    (state,) = platform.story[-1]
    newest = sorted(platform.activities.values(), key=lambda item: item.get("creationDate", ""), reverse=True)
    shown = newest if request.url.params.get("state", state) == state else []
    limit = int(request.url.params.get("limit", 200))
    return httpx.Response(200, json=[{**item, "state": platform.story[-1]} for item in shown[:limit]])


@route(r"GET /activity/v1/activities/([^/]+)")
def _activity(platform: Platform, _request: httpx.Request, activity: str) -> httpx.Response:
    if activity not in platform.activities:
        return refusal(404, "naos.unknown", f"There is no activity {activity} in this tenant.")
    return httpx.Response(200, json=platform.activity(activity))


@route(r"GET /platform/v1/doctor")
def _findings(platform: Platform, _request: httpx.Request) -> httpx.Response:
    found = platform.findings[0]
    if len(platform.findings) > 1:
        platform.findings.pop(0)
    return httpx.Response(200, json=found)


@route(r"POST /platform/v1/doctor/repair")
def _repair(platform: Platform, _request: httpx.Request) -> httpx.Response:
    return platform.start("Repair", "doctor", "")


@route(rf"GET {COMPUTE}/content_libraries/([^/]+)/items")
def _items(platform: Platform, _request: httpx.Request, _library: str) -> httpx.Response:
    return httpx.Response(200, json=platform.lists["items"])


@route(rf"GET {COMPUTE}/content_libraries/[^/]+/(items)/([^/]+)")
@route(rf"GET {COMPUTE}/(\w+)/([^/]+)")
def _read(platform: Platform, _request: httpx.Request, kind: str, reference: str) -> httpx.Response:
    for item in platform.lists[kind]:
        if item["id"] == unquote(reference):
            return httpx.Response(200, json=item)
    return refusal(404, "naos.unknown", f"There is no {kind} {reference} in this tenant.")


@route(rf"GET {COMPUTE}/(\w+)")
def _list(platform: Platform, request: httpx.Request, kind: str) -> httpx.Response:
    found = platform.lists[kind]
    for key, value in request.url.params.items():
        if key in ("name", "virtualMachineId"):
            if kind == "network_adapters" and key == "name":
                raise AssertionError("adapters have no filter by name")
            found = [item for item in found if item.get(key) == value]
        elif kind not in ("networks", "datastore_figures") and (kind, key) != ("hosts", "datacenterId"):
            found = [item for item in found if item[FILTERS[key]]["id"] == value]
    return httpx.Response(200, json=found)


@route(rf"GET {COMPUTE}/virtual_machines/([^/]+)/consoles/log")
def _log(_platform: Platform, _request: httpx.Request, _machine: str) -> httpx.Response:
    return httpx.Response(200, text="Linux\r\n\x1b[31mready\x1b[0m\r\n")


@route(rf"POST {COMPUTE}/content_libraries/uploads")
def _upload(_platform: Platform, request: httpx.Request) -> httpx.Response:
    digest = hashlib.sha256(request.content).hexdigest()
    return httpx.Response(201, json={"id": identifier(99), "size": len(request.content), "sha256": digest})


def _created(platform: Platform, kind: str, wire_kind: str, made: Json) -> httpx.Response:
    platform.lists[kind].append(made)
    return platform.start(f"Create {made['name']}", wire_kind, made["id"])


@route(rf"POST {COMPUTE}/content_libraries/([^/]+)/(items|templates)")
@route(rf"POST {COMPUTE}/(virtual_machines)()")
def _create(platform: Platform, request: httpx.Request, _library: str, kind: str) -> httpx.Response:
    body = json.loads(request.content)
    if kind == "templates":
        made = {**TEMPLATE, "id": identifier(71), "name": body["name"]}
        return _created(platform, "items", "content_library_item", made)
    made = machine(50, body["name"], cpu=body.get("cpu", 1), memory=body.get("memory", 128 * 2**20))
    return _created(platform, "virtual_machines", "virtual_machine", made)


@route(rf"POST {COMPUTE}/exports")
def _export(platform: Platform, request: httpx.Request) -> httpx.Response:
    facts = {"size": len(OVA), "checksum": f"sha256:{hashlib.sha256(OVA).hexdigest()}", "status": "active"}
    (source,) = json.loads(request.content).values()
    return _created(
        platform, "exports", "export", {"id": identifier(90), "name": "export", "sourceId": source, **facts}
    )


@route(rf"GET {COMPUTE}/exports/[^/]+/file")
def _fetch(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=OVA)


@route(r"GET /marketplace/v1/items")
def _offers(platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=platform.lists["offers"])


@route(r"GET /marketplace/v1/items/[^/]+/vmware/info")
def _offered(_platform: Platform, _request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=OFFERED)


@route(r"POST /marketplace/v1/items")
def _publish(platform: Platform, request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    made = {**OFFER, "id": identifier(81), **{key: body[key] for key in ("name", "editor", "version", "build")}}
    platform.lists["offers"].append(made)
    return httpx.Response(201, json=made)


@route(r"DELETE /marketplace/v1/items/([^/]+)")
def _withdraw(platform: Platform, _request: httpx.Request, reference: str) -> httpx.Response:
    platform.lists["offers"] = [item for item in platform.lists["offers"] if item["id"] != reference]
    return httpx.Response(204)


@route(r"POST /marketplace/v1/items/vmware/deploy")
def _buy(platform: Platform, request: httpx.Request) -> httpx.Response:
    made = machine(51, json.loads(request.content)["name"])
    return _created(platform, "virtual_machines", "virtual_machine", made)


WIRE_KINDS = {
    "host_clusters": ("host_cluster", POOL),
    "datastores": ("datastore", VOLUME),
    "networks": ("network", VLAN),
    "virtual_disks": ("virtual_disk", disk(60, "")),
    "network_adapters": ("network_adapter", adapter(61, "")),
}


@route(rf"POST {COMPUTE}/(host_clusters|datastores|networks|virtual_disks|network_adapters)")
def _make(platform: Platform, request: httpx.Request, kind: str) -> httpx.Response:
    body, (wire_kind, example) = json.loads(request.content), WIRE_KINDS[kind]
    named = {"name": body["name"]} if "name" in body else {}
    return _created(platform, kind, wire_kind, {**example, "id": identifier(60), **named})


@route(rf"POST {COMPUTE}/networks/([^/]+)/propagations")
def _propagate(platform: Platform, _request: httpx.Request, vlan: str) -> httpx.Response:
    return platform.start("Propagate", "network", vlan)


@route(rf"POST {COMPUTE}/virtual_machines/relocate")
def _relocate(platform: Platform, request: httpx.Request) -> httpx.Response:
    return platform.start("Move", "virtual_machine", json.loads(request.content)["virtualMachines"][0])


@route(rf"POST {COMPUTE}/virtual_machines/([^/]+)/clone")
def _clone(platform: Platform, request: httpx.Request, machine_id: str) -> httpx.Response:
    (source,) = [item for item in platform.lists["virtual_machines"] if item["id"] == machine_id]
    made = source | {
        "id": identifier(90 + len(platform.lists["virtual_machines"])),
        "name": json.loads(request.content)["name"],
    }
    platform.lists["virtual_machines"].append(made)
    return platform.start("Clone", "virtual_machine", made["id"])


@route(rf"PATCH {COMPUTE}/virtual_machines/power")
def _power(platform: Platform, request: httpx.Request) -> httpx.Response:
    body = json.loads(request.content)
    for item in platform.lists["virtual_machines"]:
        if item["id"] == body["id"]:
            item["powerState"] = "stopped" if body["powerAction"] in ("off", "shutdown") else "running"
    return platform.start("Power", "virtual_machine", body["id"])


@route(
    rf"PATCH {COMPUTE}/(virtual_machines|datastores|virtual_disks|network_adapters)(?:/rename|/connect|/disconnect)?"
)
def _change(platform: Platform, request: httpx.Request, kind: str) -> httpx.Response:
    wire_kind = "virtual_machine" if kind == "virtual_machines" else WIRE_KINDS[kind][0]
    return platform.start("Change", wire_kind, json.loads(request.content)["id"])


@route(rf"PATCH {COMPUTE}/virtual_machines/([^/]+)/(?:guest|guest/customize|extra_config)")
def _configure(platform: Platform, _request: httpx.Request, machine_id: str) -> httpx.Response:
    return platform.start("Configure", "virtual_machine", machine_id)


@route(rf"DELETE {COMPUTE}/content_libraries/[^/]+/(items)/([^/]+)")
@route(rf"DELETE {COMPUTE}/(\w+)/([^/]+)")
def _delete(platform: Platform, _request: httpx.Request, kind: str, reference: str) -> httpx.Response:
    platform.lists[kind] = [item for item in platform.lists[kind] if item["id"] != reference]
    return platform.start("Delete", kind, reference)


@dataclass
class Cli:
    """The command line before a `Platform`; pauses are noted, not slept."""

    folder: Path
    platform: Platform = field(default_factory=Platform)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.credentials = self.folder / "credentials"
        self.credentials.write_text(f"{TOKEN}:s3cret\n", encoding="ascii")

    @property
    def connection(self) -> Connection:
        return Connection(
            credentials=self.credentials,
            transport=httpx.MockTransport(self.platform.handle),
            sleep=self.pauses.append,
        )

    def __call__(self, *args: str, stdin: str | None = None, env: dict[str, str | None] | None = None) -> Result:
        clean = {"NAOS_URL": None, "NAOS_CREDENTIALS": None, "TZ": "UTC", "COLUMNS": "200", **(env or {})}
        return CliRunner().invoke(app, list(args), input=stdin, env=clean, obj=self.connection, prog_name="naos")

    def ok(self, *args: str, **options: Any) -> str:
        """Standard output of a command that must end well."""
        result = self(*args, **options)
        assert result.exit_code == 0, (args, result.output, result.exception)
        return result.stdout

    def refused(self, *args: str, code: int = 1, **options: Any) -> str:
        """Standard error of a command that must end with `code`."""
        result = self(*args, **options)
        assert result.exit_code == code, (args, result.exit_code, result.output, result.exception)
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())

    def bodies(self) -> Sequence[tuple[str, str, Any]]:
        """Every write: method, path below the compute product, and body."""
        return [
            (
                request.method,
                request.url.path.removeprefix(COMPUTE),
                json.loads(request.content) if request.content.startswith(b"{") else request.content,
            )
            for request in self.platform.writes()
        ]
