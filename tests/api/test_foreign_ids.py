"""Every route with every id of another tenant's object: absent, never its data, never an effect on it.

The tables of kinds below name what every path parameter, query filter and field of a body stands for. A route with one
that they do not know fails here, so that nothing new stays unwalked.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from api_operations import Bodies, Operation, operations
from simulated_platform import Platform, inventory_text, platform_in
from two_tenants import MARK, Home, rows_about, settle_in

SHARED = "shared"
"""What every tenant may see: regions, zones, backup servers, permissions."""

PATHS = {
    "activity_id": "activity",
    "adapter_id": "adapter",
    "blade_id": "blade",
    "company_id": "company",
    "cpool_id": "cpool",
    "disk_id": "disk",
    "entry_id": "address",
    "item_id": "item",
    "job_id": "job",
    "key": SHARED,
    "library_id": "library",
    "lun_id": "volume",
    "machine_id": "machine",
    "policy_id": "policy",
    "resource_id": "resource",
    "role_id": SHARED,
    "server_id": SHARED,
    "tenant_id": "tenant",
    "token_id": "token",
    "user_id": "user",
    "vlan_id": "vlan",
    "worker_id": SHARED,
    "zone_id": SHARED,
}
FILTERS = {
    "companyId": "company",
    "datacenterId": SHARED,
    "datacenters[]": SHARED,
    "datastores[]": "volume",
    "hostClusterId": "cpool",
    "hostClusters[]": "cpool",
    "hosts[]": "blade",
    "machineManagerId": SHARED,
    "networks[]": "vlan",
    "roleId": SHARED,
    "sppServerId": SHARED,
    "tenantId": "tenant",
    "token": "token",
    "user": "user",
    "userId": "user",
    "virtualDiskId": "disk",
    "virtualMachineId": "machine",
}
NO_IDS = {
    "address",
    "allOptions",
    "before",
    "force",
    "format",
    "last",
    "limit",
    "name",
    "outcome",
    "path",
    "range",
    "since",
    "type",
    "until",
}
FIELDS = {
    "contentLibraryItemId": "item",
    "datacenterId": SHARED,
    "datastoreId": "volume",
    "hostClusterId": "cpool",
    "hostClusterIds": "cpool",
    "hostId": "blade",
    "jobId": "job",
    "networkId": "vlan",
    "newNetworkId": "vlan",
    "policyId": SHARED,  # of jobs/run: not looked at
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
}
SUBJECTS = {
    "virtual_machines": "machine",
    "virtual_disks": "disk",
    "network_adapters": "adapter",
    "virtual_controllers": "controller",
    "datastores": "volume",
}
"""What a field that is only named `id` means, by the collection that the path names."""

QUIET = {"DELETE /tag/v1/tags/resources/{resource_id}/keys/{key}"}
"""Deleting what is not there has nothing to do and says so; that nothing was done, `unharmed` sees."""

WORDS: dict[str, Any] = {
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


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, Home]]:
    """Mine and theirs. Theirs are of another organisation."""
    folder: Path = tmp_path_factory.mktemp("two-tenants")
    vault = 'vaults = [{ name = "v", zone = "AZ07", access = { driver = "namespace", target = "/none" }, path = "/v" }]'
    text = inventory_text(5).replace('{ name = "AZ06" } ]', '{ name = "AZ06" }, { name = "AZ07" } ]')
    (folder / "inventory.toml").write_text(f"{vault}\n{text}", encoding="utf-8")
    with platform_in(folder, blades_per_zone=5) as platform:
        mine = settle_in(platform, "mine")
        theirs = settle_in(replace(platform, client=platform.stranger("rivals"), made={}), MARK)
        yield mine, theirs


@pytest.fixture(scope="module")
def document(homes: tuple[Home, Home]) -> dict[str, Any]:
    found: dict[str, Any] = homes[0].client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def walk(document: dict[str, Any]) -> list[Operation]:
    return list(operations(document))


def kind_of(operation: Operation, field: str) -> str | None:
    """The kind of object whose id a field of an operation's body holds; None for a field that holds none."""
    if field == "id" and "/content_libraries/" not in operation.path:
        return next((kind for name, kind in SUBJECTS.items() if f"/{name}" in operation.path), None)
    return FIELDS.get(field)


def mine_for(platform: Platform, kind: str, name: str, ids: dict[str, str]) -> str:
    """A sound value for a parameter of mine."""
    if kind != SHARED:
        return ids[kind]
    values = {"datacenterId": "zone_id", "datacenters[]": "zone_id", "machineManagerId": "worker_id"}
    if values.get(name, name) == "zone_id":
        return platform.zone("AZ05")
    if values.get(name, name) == "worker_id":
        return str(platform.get("/compute/v1/vcenters")[0]["id"])
    if name in {"server_id", "sppServerId"}:
        return str(platform.get("/backup/v1/spp/servers")[0]["id"])
    if name in {"role_id", "roleId", "roleIds", "roles"}:
        return str(platform.get("/iam/v2/roles")[0]["id"])
    return "owner"


def test_every_parameter_that_holds_an_id_is_of_a_known_kind(walk: list[Operation]) -> None:
    for operation in walk:
        assert set(operation.in_path) <= set(PATHS), operation
        unknown = set(operation.query) - set(FILTERS) - NO_IDS
        assert not unknown, (str(operation), unknown)


@pytest.fixture
def unharmed(homes: tuple[Home, Home]) -> Iterator[None]:
    """Nothing of theirs is another afterwards."""
    _, theirs = homes
    before = rows_about(theirs.platform, theirs.ids)
    assert sum(len(rows) for rows in before.values()) > len(theirs.ids)
    yield
    after = rows_about(theirs.platform, theirs.ids)
    assert after == before


def path_of(operation: Operation, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)[^}]*}", lambda match: values[match[1]], operation.path)


def check(operation: Operation, answer: Any, foreign: str, what: str) -> None:
    """The answer to a call with one foreign id: absent, in the one shape, and without a word of the object."""
    assert MARK not in answer.text, (str(operation), what)
    assert "Location" not in answer.headers, (str(operation), what)
    if operation.method == "GET" and answer.status_code == 200:
        empty = len(answer.text.splitlines()) == 1 if operation.path.endswith("/export") else answer.json() == []
        assert empty, (str(operation), what, answer.text)
        return
    if str(operation) in QUIET and answer.status_code == 204:
        return
    error = answer.json()["error"]
    assert answer.status_code in {403, 404, 422}, (str(operation), what, answer.text)
    assert not error["code"].startswith("api."), (str(operation), what, answer.text)
    if answer.status_code == 404 and len(operation.in_path) + (operation.body is not None) == 1:
        assert foreign in answer.text, (str(operation), what, answer.text)


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_path_is_absent(homes: tuple[Home, Home], document: dict[str, Any]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in operations(document):
        own = {name: mine_for(mine.platform, PATHS[name], name, mine.ids) for name in operation.in_path}
        for name in operation.in_path:
            kind = PATHS[name]
            if kind == SHARED:
                continue
            foreign = theirs.ids[kind]
            call: dict[str, Any] = {"params": query_of(mine, operation)}
            if operation.body is not None:
                call["json"] = body_of(mine, document, operation)[0]
            answer = mine.client.request(
                operation.method, path_of(operation, {**own, name: foreign}), **call, follow_redirects=False
            )
            check(operation, answer, foreign, name)
            tried += 1
    assert tried > 40


def query_of(mine: Home, operation: Operation) -> dict[str, str]:
    """The query that an operation cannot do without."""
    return {
        name: mine_for(mine.platform, FILTERS[name], name, mine.ids) if name in FILTERS else "4"
        for name in operation.needed
    }


def body_of(mine: Home, document: dict[str, Any], operation: Operation) -> tuple[dict[str, Any], list[Any]]:
    def value(field: str) -> str | None:
        kind = kind_of(operation, field)
        return None if kind is None else mine_for(mine.platform, kind, field, mine.ids)

    assert operation.body is not None
    return Bodies(document, value, WORDS.get).make(operation.body)


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_filter_finds_nothing(homes: tuple[Home, Home], walk: list[Operation]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in walk:
        own = {name: mine_for(mine.platform, PATHS[name], name, mine.ids) for name in operation.in_path}
        for name in operation.query:
            if operation.method == "GET" and FILTERS.get(name, SHARED) != SHARED:
                foreign = theirs.ids[FILTERS[name]]
                params = {**query_of(mine, operation), name: foreign}
                answer = mine.client.get(path_of(operation, own), params=params)
                check(operation, answer, foreign, name)
                tried += 1
    assert tried > 10


@pytest.mark.usefixtures("unharmed")
def test_a_foreign_id_in_a_body_is_absent(homes: tuple[Home, Home], document: dict[str, Any]) -> None:
    mine, theirs = homes
    tried = 0
    for operation in operations(document):
        if operation.body is None or operation.path.startswith("/iam/v2/auth"):
            continue
        own = {name: mine_for(mine.platform, PATHS[name], name, mine.ids) for name in operation.in_path}
        body, places = body_of(mine, document, operation)
        for place in places:
            kind = kind_of(operation, place.field)
            if kind in {None, SHARED}:
                continue
            foreign = theirs.ids[str(kind)]
            answer = mine.client.request(
                operation.method,
                path_of(operation, own),
                json=place.put(body, foreign),
                params=query_of(mine, operation),
            )
            check(operation, answer, foreign, ".".join(str(step) for step in place.steps))
            tried += 1
    assert tried > 20


@pytest.mark.usefixtures("unharmed")
def test_no_list_shows_anything_of_theirs(homes: tuple[Home, Home], walk: list[Operation]) -> None:
    mine, theirs = homes
    hidden = {identifier for kind, identifier in theirs.ids.items() if kind != "job"}
    for operation in walk:
        if operation.method != "GET" or operation.path in {"/openapi.json", "/platform/v1/doctor"}:
            continue
        own = {name: mine_for(mine.platform, PATHS[name], name, mine.ids) for name in operation.in_path}
        answer = mine.client.get(path_of(operation, own), params=query_of(mine, operation))
        assert MARK not in answer.text, operation
        if not operation.path.startswith("/audit"):  # which has what I asked for, by their ids
            assert not [identifier for identifier in hidden if identifier in answer.text], operation
