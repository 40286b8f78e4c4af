"""Names, sizes, numbers, ids and types that are none, for every kind of object: refused in words, and nothing is left."""

import json
import unicodedata
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, POWER, Platform

ODD_NAMES = [
    "../x",
    "a;b",
    "-rf",
    "$(reboot)",
    "%s{name}",
    "名前",
    "👩‍💻",
    "e\u0301te\u0301",
    "a\u200fb",
    "<b>'\"&",
    "x" * 255,
]
"""Names like any other: a name is shown, never used."""

BAD_NAMES: list[tuple[Any, str]] = [
    ("", "name.empty"),
    (" \t\u200b", "name.empty"),
    ("x" * 256, "name.too_long"),
    ("a\nb", "name.character"),
    ("abc\u202egpj", "name.character"),
    ("a\uffffb", "name.character"),
    ("a\x00b", "api.text_unsound"),
    (7, "api.fields_invalid"),
    (None, "api.fields_invalid"),
    (["a"], "api.fields_invalid"),
]
NOBODY = "6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11"
NO_IDS = ["x", "../../etc/passwd", "' OR 1=1 --", "5d0f8c0e6f0e4a539c3c7b1d0f0a9a63", "名" * 36]


def bodies(platform: Platform) -> dict[str, tuple[str, dict[str, Any]]]:
    """How each kind of object is made: path and a sound body, all but its name."""
    volume = {"datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    machine = {
        "hostClusterId": platform.made["pool-AZ05"],
        "datastoreId": platform.made["volume-AZ05"],
        "memory": 64 * 2**20,
        "cpu": 1,
    }
    templates = f"{COMPUTE}/content_libraries/{platform.made['library']}/templates"
    return {
        "host_clusters": (f"{COMPUTE}/host_clusters", {"datacenterId": "AZ05", "model": "LAB v1", "hosts": 1}),
        "datastores": (f"{COMPUTE}/datastores", volume),
        "networks": (f"{COMPUTE}/networks", {"hostClusterIds": [platform.made["pool-AZ05"]]}),
        "virtual_machines": (f"{COMPUTE}/virtual_machines", machine),
        "deployed": (platform.deploy_path, platform.deployment("", powerOn=True)),
        "templates": (templates, {"uploadId": platform.upload()}),
    }


def place_of(platform: Platform, kind: str) -> str:
    """Where objects of a kind are listed, read and deleted."""
    if kind == "templates":
        return f"{COMPUTE}/content_libraries/{platform.made['library']}/items"
    return f"{COMPUTE}/{'virtual_machines' if kind == 'deployed' else kind}"


KINDS = ["host_clusters", "datastores", "networks", "virtual_machines", "deployed", "templates"]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_names_are_kept_shown_and_never_used(roomy: Platform, kind: str) -> None:
    """peers.md 59: Unicode names, slashes, quotes and leading dashes; files and domains are named by ids alone."""
    names = ODD_NAMES if kind == "deployed" else ODD_NAMES[::2]
    for name in names:
        path, body = bodies(roomy)[kind]
        made = roomy.done("POST", path, {**body, "name": name})
        place = place_of(roomy, kind)
        shown = roomy.get(f"{place}/{made}")["name"]
        assert shown == unicodedata.normalize("NFC", name)
        assert [found["id"] for found in roomy.get(place, name=shown)] == [made]
        if kind == "deployed":
            roomy.done("PATCH", POWER, {"id": made, "powerAction": "off"})
        roomy.done("DELETE", f"{place}/{made}")
    assert roomy.settled() == []


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_none_are_refused_and_leave_nothing(roomy: Platform, kind: str) -> None:
    path, body = bodies(roomy)[kind]
    before = roomy.get(place_of(roomy, kind))
    for name, code in BAD_NAMES:
        error = roomy.refused("POST", path, {**body, "name": name})
        assert error["code"] == code, (name, error)
    assert roomy.get(place_of(roomy, kind)) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_taken_however_it_is_written(roomy: Platform, kind: str) -> None:
    path, body = bodies(roomy)[kind]
    made = roomy.done("POST", path, {**body, "name": "caf\u00e9"})
    for again in ("caf\u00e9", "cafe\u0301", "  cafe\u0301 "):
        error = roomy.refused("POST", path, {**bodies(roomy)[kind][1], "name": again})
        assert (error["code"], error["status"], error["details"]["name"]) == ("naos.name_taken", 409, "caf\u00e9")
    if kind == "deployed":
        roomy.done("PATCH", POWER, {"id": made, "powerAction": "off"})
    roomy.done("DELETE", f"{place_of(roomy, kind)}/{made}")


def test_renaming_follows_the_same_rules(roomy: Platform) -> None:
    path, body = bodies(roomy)["virtual_machines"]
    first = roomy.done("POST", path, {**body, "name": "first"})
    second = roomy.done("POST", path, {**body, "name": "second"})
    rename = f"{COMPUTE}/virtual_machines/rename"
    for name, code in BAD_NAMES:
        assert roomy.refused("PATCH", rename, {"id": second, "name": name})["code"] == code
    assert roomy.refused("PATCH", rename, {"id": second, "name": " first "})["code"] == "naos.name_taken"
    roomy.done("PATCH", rename, {"id": second, "name": "second"})
    roomy.done("PATCH", rename, {"id": second, "name": "-rf"})
    assert roomy.machine(second)["name"] == "-rf"
    for machine_id in (first, second):
        roomy.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")


# ---------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [0, 1, 2**20 - 512, 2**20 + 1, -1, -(2**63), 500 * GIB + 512, 2**63, 2**80])
def test_a_disk_has_a_size_that_a_volume_can_hold(roomy: Platform, size: int) -> None:
    if "sized" not in roomy.made:
        path, body = bodies(roomy)["virtual_machines"]
        roomy.made["sized"] = roomy.done("POST", path, {**body, "name": "sized"})
    error = roomy.refused(
        "POST", f"{COMPUTE}/virtual_disks", {"virtualMachineId": roomy.made["sized"], "capacity": size}
    )
    assert (error["code"], error["status"]) == ("storage.disk_size", 422)
    details = error["details"]
    assert (details["size"], details["minimum"], details["maximum"]) == (size, 2**20, 500 * GIB)
    assert details["minimum"] <= details["nearest"] <= details["maximum"]
    assert details["nearest"] % 512 == 0
    assert str(details["nearest"]) in error["message"]
    deploy = roomy.refused("POST", roomy.deploy_path, roomy.deployment("too odd", diskCapacity=size))
    assert deploy["code"] in {"storage.disk_size", "compute.template_larger"}
    assert roomy.get(f"{COMPUTE}/virtual_machines", name="too odd") == []


@pytest.mark.parametrize(
    "change",
    [{"memory": value} for value in (0, -1, 1, 32 * 2**20 - 1, 64 * 2**20 + 1, 4 * GIB + 2**20, 2**63, 2**80)]
    + [{"cpu": value} for value in (0, -1, 5, 2**31, 2**63)],
)
def test_a_machine_fits_one_blade(roomy: Platform, change: dict[str, int]) -> None:
    for kind in ("virtual_machines", "deployed"):
        path, body = bodies(roomy)[kind]
        error = roomy.refused("POST", path, {**body, "name": "giant", **change})
        assert (error["code"], error["status"]) == ("compute.machine_size", 422)
        assert error["details"]["maximum"] in {"4", "4 GiB"}
        assert "4" in error["message"]
    assert roomy.get(f"{COMPUTE}/virtual_machines", name="giant") == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ram": 8 * GIB}, "compute.machine_size"),
        ({"ram": -1}, "compute.machine_size"),
        ({"cpu": 5}, "compute.machine_size"),
        ({"cpu": -4}, "compute.machine_size"),
        ({"cpu": 4, "corePerSocket": 3}, "compute.cores_uneven"),
        ({"corePerSocket": -1}, "compute.cores_uneven"),
        ({"corePerSocket": 2**63}, "compute.cores_uneven"),
        ({"cpu": 2.5}, "api.fields_invalid"),
        ({"cpu": True}, "api.fields_invalid"),
        ({"cpu": "2"}, "api.fields_invalid"),
    ],
)
def test_another_size_follows_the_same_rules(roomy: Platform, change: dict[str, Any], code: str) -> None:
    """peers.md 35: what could not be created cannot be reached by editing either."""
    if "edited" not in roomy.made:
        path, body = bodies(roomy)["virtual_machines"]
        roomy.made["edited"] = roomy.done("POST", path, {**body, "name": "edited"})
    machine_id = roomy.made["edited"]
    before = roomy.machine(machine_id)
    assert roomy.refused("PATCH", f"{COMPUTE}/virtual_machines", {"id": machine_id, **change})["code"] == code
    assert roomy.machine(machine_id) == before


@pytest.mark.parametrize(
    ("storage_class", "size"),
    [
        ("standard", 0),
        ("standard", -GIB),
        ("standard", 499 * GIB),
        ("standard", 500 * GIB + 1),
        ("ultra", 20481 * GIB),
        ("mass", 1536 * GIB),
        ("standard", 2**63),
        ("standard", 2**80),
    ],
)
def test_a_volume_has_a_size_of_its_class(roomy: Platform, storage_class: str, size: int) -> None:
    body = {"name": "odd", "datacenterId": "AZ05", "storageClass": storage_class, "capacity": size}
    error = roomy.refused("POST", f"{COMPUTE}/datastores", body)
    assert (error["code"], error["status"]) == ("storage.lun_size", 422)
    assert error["details"]["nearest"] in error["message"]
    grow = {"id": roomy.made["volume-AZ05"], "capacity": size}
    if size > 500 * GIB and storage_class == "standard":
        assert roomy.refused("PATCH", f"{COMPUTE}/datastores", grow)["code"] == "storage.lun_size"
    if size < 500 * GIB:
        assert roomy.refused("PATCH", f"{COMPUTE}/datastores", grow)["code"] == "storage.volume_shrinks"
    assert len(roomy.get(f"{COMPUTE}/datastores")) == 2


@pytest.mark.parametrize("hosts", [0, -1, 3, 33, 2**63])
def test_a_cpool_has_blades_that_there_are(roomy: Platform, hosts: int) -> None:
    body = {"name": "odd", "datacenterId": "AZ05", "model": "LAB v1", "hosts": hosts}
    error = roomy.refused("POST", f"{COMPUTE}/host_clusters", body)
    assert error["code"] == ("fleet.blades_missing" if hosts == 3 else "fleet.blade_count")
    assert str(hosts) in error["message"]


@pytest.mark.parametrize("memory", [0, -1, GIB - 1, 4 * GIB + 1, 2**63])
def test_a_cpool_enables_memory_between_floor_and_what_is_there(roomy: Platform, memory: int) -> None:
    body = {"name": "odd", "datacenterId": "AZ05", "model": "LAB v1", "hosts": 1, "memory": memory}
    error = roomy.refused("POST", f"{COMPUTE}/host_clusters", body)
    assert (error["code"], error["details"]["floor"], error["details"]["ceiling"]) == (
        "fleet.pool_memory",
        "1 GiB",
        "4 GiB",
    )


@pytest.mark.parametrize("tag", [0, 1, 4095, 4096, -1, 2**63])
def test_a_vlan_id_is_one_of_those_that_vlans_have(roomy: Platform, tag: int) -> None:
    error = roomy.refused("POST", f"{COMPUTE}/networks", {"name": "odd", "vlanId": tag})
    assert (error["code"], error["status"]) == ("network.tag_invalid", 422)
    assert "2 to 4094" in error["message"]


def test_a_vlan_id_in_use_is_refused_and_the_next_free_one_named(roomy: Platform) -> None:
    tag = roomy.get(f"{COMPUTE}/networks/{roomy.made['vlan']}")["vlanId"]
    error = roomy.refused("POST", f"{COMPUTE}/networks", {"name": "same", "vlanId": tag})
    assert (error["code"], error["status"]) == ("network.tag_taken", 409)
    free = roomy.done("POST", f"{COMPUTE}/networks", {"name": "same", "vlanId": error["details"]["free"]})
    assert roomy.get(f"{COMPUTE}/networks/{free}")["vlanId"] == error["details"]["free"]
    roomy.done("DELETE", f"{COMPUTE}/networks/{free}")


def test_a_cpool_named_twice_carries_a_vlan_once(roomy: Platform) -> None:
    pool, other = roomy.made["pool-AZ05"], roomy.made["pool-AZ06"]
    vlan = roomy.done("POST", f"{COMPUTE}/networks", {"name": "twice", "hostClusterIds": [pool, pool.upper(), pool]})
    roomy.done("POST", f"{COMPUTE}/networks/{vlan}/propagations", {"hostClusterIds": [other, pool, other]})
    shown = roomy.get(f"{COMPUTE}/networks/{vlan}")
    assert sorted(found["id"] for found in shown["hostClusters"]) == sorted([pool, other])
    roomy.done("DELETE", f"{COMPUTE}/networks/{vlan}")
    assert roomy.settled() == []


# ------------------------------------------------------------------------------------------- every field of every write


def writes(platform: Platform) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every write that has a body: method, path, a sound body."""
    machine, disk, adapter = platform.made["target"], platform.made["target-disk"], platform.made["target-adapter"]
    made = {
        f"create {kind}": ("POST", path, {**body, "name": "odd"}) for kind, (path, body) in bodies(platform).items()
    }
    adapters, machines = f"{COMPUTE}/network_adapters", f"{COMPUTE}/virtual_machines"
    return made | {
        "grow volume": ("PATCH", f"{COMPUTE}/datastores", {"id": platform.made["volume-AZ05"], "capacity": 500 * GIB}),
        "propagate": (
            "POST",
            f"{COMPUTE}/networks/{platform.made['vlan']}/propagations",
            {"hostClusterIds": [platform.made["pool-AZ05"]]},
        ),
        "update": ("PATCH", machines, {"id": machine, "ram": 0, "cpu": 0, "corePerSocket": 0}),
        "power": (
            "PATCH",
            POWER,
            {"id": machine, "powerAction": "off", "datacenterId": platform.zone("AZ05"), "timeout": 1},
        ),
        "rename": ("PATCH", f"{machines}/rename", {"id": machine, "name": "target"}),
        "relocate": (
            "POST",
            f"{machines}/relocate",
            {
                "virtualMachines": [machine],
                "priority": "highPriority",
                "datacenterId": platform.zone("AZ05"),
                "hostId": platform.made["target-blade"],
                "hostClusterId": platform.made["pool-AZ05"],
                "datastoreId": platform.made["volume-AZ05"],
            },
        ),
        "create disk": (
            "POST",
            f"{COMPUTE}/virtual_disks",
            {
                "virtualMachineId": machine,
                "capacity": GIB,
                "provisioningType": "dynamic",
                "diskMode": "persistent",
                "datastoreId": platform.made["volume-AZ05"],
            },
        ),
        "extend disk": ("PATCH", f"{COMPUTE}/virtual_disks", {"id": disk, "newCapacity": GIB}),
        "create adapter": (
            "POST",
            adapters,
            {"virtualMachineId": machine, "networkId": platform.made["vlan"], "macAddress": "02:4e:00:00:00:01"},
        ),
        "update adapter": (
            "PATCH",
            adapters,
            {"id": adapter, "newNetworkId": platform.made["vlan"], "macAddress": "02:4e:00:00:00:01"},
        ),
        "connect": ("PATCH", f"{adapters}/connect", {"id": adapter}),
        "disconnect": ("PATCH", f"{adapters}/disconnect", {"id": adapter}),
    }


@pytest.fixture(scope="module")
def target(roomy: Platform) -> Platform:
    """A platform with a machine that has a disk and an adapter."""
    made = roomy.deploy("target", powerOn=False)
    roomy.made["target"] = made
    roomy.made["target-disk"] = roomy.get(f"{COMPUTE}/virtual_disks", virtualMachineId=made)[0]["id"]
    roomy.made["target-adapter"] = roomy.get(f"{COMPUTE}/network_adapters", virtualMachineId=made)[0]["id"]
    roomy.made["target-blade"] = roomy.get(f"{COMPUTE}/hosts")[0]["id"]
    return roomy


WRONG: list[Any] = [{"a": 1}, [], [None], 1.5, "x" * 70_000, "\u202e", -(2**80)]


def test_no_value_of_any_field_breaks_the_api(target: Platform) -> None:
    """What fits no field is a refusal in the one shape; never a fault of the API's own."""
    tried = 0
    for name, (method, path, body) in writes(target).items():
        for field in body:
            for value in WRONG:
                if value == [] and field in {"hostClusterIds", "networkAdapters", "deployOptions"}:
                    continue  # none of them is a sound wish
                if field == "newCapacity" and isinstance(value, int):
                    continue  # the activity refuses it: see the next test
                answer = target.client.request(method, path, json={**body, field: value})
                assert 400 <= answer.status_code < 500, (name, field, value, answer.text)
                assert set(answer.json()["error"]) == {"code", "status", "message", "details"}
                tried += 1
    assert tried > 400


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (-1, "would shrink"),
        (0, "would shrink"),
        (64 * 2**20 - 512, "would shrink"),
        (64 * 2**20 + 1, "in whole sectors of 512 bytes"),
        (500 * GIB + 512, f"at most {500 * GIB} bytes"),
        (2**80, f"at most {500 * GIB} bytes"),
    ],
)
def test_a_disk_grows_to_what_a_volume_can_hold(target: Platform, size: int, said: str) -> None:
    """The wire API's users expect the activity to fail, not the call."""
    path, before = f"{COMPUTE}/virtual_disks", target.get(f"{COMPUTE}/virtual_disks/{target.made['target-disk']}")
    assert said in target.failed("PATCH", path, {"id": before["id"], "newCapacity": size})
    assert target.get(f"{path}/{before['id']}") == before


def test_a_field_that_does_not_exist_is_named(target: Platform) -> None:
    for name, (method, path, body) in writes(target).items():
        error = target.refused(method, path, {**body, "colour": "red"})
        assert error["code"] == "api.fields_invalid", name
        assert [fault["field"] for fault in error["details"]["fields"]] == ["body.colour"], name
        empty = target.refused(method, path, {})
        assert empty["code"] in {"api.fields_invalid", "compute.place_needed"}, name


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", '"x"', "{", '{"name": NaN}', '{"name": 1e999}', "[" * 20_000, '{"name": ' + "9" * 5000 + "}"],
)
def test_a_body_that_is_no_object_is_refused(target: Platform, text: str) -> None:
    for method, path, _ in writes(target).values():
        answer = target.client.request(method, path, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in {400, 422}, answer.text
        assert set(json.loads(answer.text)["error"]) == {"code", "status", "message", "details"}


def reference_fields(body: dict[str, Any]) -> list[tuple[str, Callable[[str], Any]]]:
    """Fields that hold an id, each with the way to put another id there. Blades go by name too."""
    found: list[tuple[str, Callable[[str], Any]]] = []
    for field, value in body.items():
        if field == "hostId":
            continue
        if isinstance(value, str) and is_id(value):
            found.append((field, lambda wanted: wanted))
        elif field in {"hostClusterIds", "virtualMachines"}:
            found.append((field, lambda wanted: [wanted]))
        elif field == "networkAdapters":
            found.append((field, lambda wanted: [{"networkId": wanted}]))
    return found


def is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def test_malformed_and_unknown_ids_are_told_apart_in_every_field(target: Platform) -> None:
    tried = 0
    for name, (method, path, body) in writes(target).items():
        for field, put in reference_fields(body):
            for no_id in NO_IDS:
                error = target.refused(method, path, {**body, field: put(no_id)})
                assert (error["code"], error["status"]) == ("api.id_malformed", 400), (name, field, error)
            error = target.refused(method, path, {**body, field: put(NOBODY)})
            assert error["status"] == (422 if field == "datacenterId" else 404), (name, field)
            tried += 1
    assert tried >= 20


def test_malformed_and_unknown_ids_are_told_apart_in_every_path(target: Platform) -> None:
    library = f"content_libraries/{target.made['library']}/items"
    kinds = [
        "host_clusters",
        "hosts",
        "datastores",
        "networks",
        "virtual_machines",
        "virtual_disks",
        "network_adapters",
        "content_libraries",
        "virtual_datacenters",
        library,
    ]
    for kind in kinds:
        for method in ("GET", "DELETE"):
            unknown = target.client.request(method, f"{COMPUTE}/{kind}/{NOBODY}")
            assert unknown.status_code in {404, 405}, (kind, unknown.text)
            malformed = target.client.request(method, f"{COMPUTE}/{kind}/..%5Cx")
            assert malformed.status_code in {400, 405}, (kind, malformed.text)


def test_filters_that_match_nothing_are_empty_lists(target: Platform) -> None:
    for kind in ("host_clusters", "hosts", "datastores", "networks", "virtual_machines", "virtual_disks"):
        for value in ("../x", "' OR 1=1 --", "%", NOBODY, "x" * 4000):
            assert target.get(f"{COMPUTE}/{kind}", name=value) == []


def test_after_all_that_tables_and_world_agree(target: Platform) -> None:
    assert target.settled() == []
