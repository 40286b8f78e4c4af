"""What is refused because of what there is: things in use, of another tenant, taken, full, or a lie."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from simulated_platform import COMPUTE, GIB, POWER, Platform

MIB = 2**20
ADAPTERS, DISKS = f"{COMPUTE}/network_adapters", f"{COMPUTE}/virtual_disks"


@pytest.fixture(scope="module")
def used(simulated: Platform) -> Platform:
    """A platform with a machine in use of everything; it has a second disk."""
    simulated.made["machine"] = simulated.deploy("web-1")
    body = {"virtualMachineId": simulated.made["machine"], "capacity": GIB}
    simulated.made["disk"] = simulated.done("POST", DISKS, body)
    simulated.made["adapter"] = simulated.get(ADAPTERS, virtualMachineId=simulated.made["machine"])[0]["id"]
    return simulated


# --------------------------------------------------------------------------------------------------------------- in use


@pytest.mark.parametrize(
    ("place", "code", "count"),
    [
        ("host_clusters/pool-AZ05", "fleet.pool_in_use", "1 machine(s)"),
        ("datastores/volume-AZ05", "storage.lun_in_use", "2 disk(s)"),
        ("networks/vlan", "network.vlan_in_use", "1 adapter(s)"),
    ],
)
def test_what_a_machine_uses_is_not_deleted(used: Platform, place: str, code: str, count: str) -> None:
    """peers.md 22: refused with 409, naming who holds it; and nothing of it is touched."""
    kind, _, made = place.partition("/")
    path = f"{COMPUTE}/{kind}/{used.made[made]}"
    before = used.get(path)
    error = used.refused("DELETE", path)
    assert (error["code"], error["status"]) == (code, 409)
    assert count in error["message"]
    assert "web-1" in error["message"]
    assert "first" in error["message"]
    assert used.get(path) == before


def test_many_holders_are_counted_and_the_first_named(used: Platform) -> None:
    body = {
        "hostClusterId": used.made["pool-AZ06"],
        "datastoreId": used.made["volume-AZ06"],
        "memory": 64 * MIB,
        "cpu": 1,
    }
    made = [used.done("POST", f"{COMPUTE}/virtual_machines", {**body, "name": f"m{number:02}"}) for number in range(12)]
    error = used.refused("DELETE", f"{COMPUTE}/host_clusters/{used.made['pool-AZ06']}")
    assert "12 machine(s): m00, m01" in error["message"]
    assert "m09 and 2 more" in error["message"]
    for machine_id in made:
        used.done("DELETE", f"{COMPUTE}/virtual_machines/{machine_id}")


def test_a_running_machine_is_not_deleted(used: Platform) -> None:
    path = f"{COMPUTE}/virtual_machines/{used.made['machine']}"
    error = used.refused("DELETE", path)
    assert (error["code"], error["status"]) == ("compute.wrong_power", 409)
    assert "power it off first" in error["message"]
    assert used.get(path)["powerState"] == "running"
    assert used.settled() == []


def test_a_template_goes_and_its_clones_stay(used: Platform) -> None:
    """peers.md 23: deleting a cloned template leaves every clone whole, in whatever order they go."""
    template = used.add_template("parent")
    clones = [used.deploy(f"clone-{number}", contentLibraryItemId=template, powerOn=number == 0) for number in range(3)]
    used.done("DELETE", f"{COMPUTE}/content_libraries/{used.made['library']}/items/{template}")
    array, volume = used.rack.array("az05-array"), used.made["volume-AZ05"]
    used.remove(clones[1])
    for machine_id in (clones[0], clones[2]):
        (disk,) = used.get(DISKS, virtualMachineId=machine_id)
        facts = array.disk(volume, disk["id"])
        assert facts is not None
        assert facts.size == 64 * MIB
        used.done("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    error = used.refused("POST", used.deploy_path, used.deployment("late", contentLibraryItemId=template))
    assert error["code"] == "naos.unknown"
    for machine_id in (clones[2], clones[0]):
        used.remove(machine_id)
    assert used.settled() == [], "the template's base went with its last clone"
    assert template not in array.contents(volume).templates


# -------------------------------------------------------------------------------------------------------- other tenants


@pytest.fixture(scope="module")
def stranger(used: Platform) -> Iterator[TestClient]:
    with used.stranger() as client:
        yield client


def foreign_calls(platform: Platform) -> list[tuple[str, str, Any]]:
    """Every way to name an object of the first tenant: method, path, body."""
    made = platform.made
    machine, disk, adapter, vlan = made["machine"], made["disk"], made["adapter"], made["vlan"]
    pool, volume, library, template = made["pool-AZ05"], made["volume-AZ05"], made["library"], made["template"]
    blade = platform.get(f"{COMPUTE}/hosts")[0]["id"]
    places = {
        "virtual_machines": machine,
        "virtual_disks": disk,
        "network_adapters": adapter,
        "networks": vlan,
        "host_clusters": pool,
        "datastores": volume,
        "content_libraries": library,
        "hosts": blade,
        f"content_libraries/{library}/items": template,
    }
    calls: list[tuple[str, str, Any]] = [("GET", f"{COMPUTE}/{kind}/{known}", None) for kind, known in places.items()]
    calls += [
        ("DELETE", f"{COMPUTE}/{kind}/{known}", None)
        for kind, known in places.items()
        if kind not in {"hosts", "content_libraries"}
    ]
    machines = f"{COMPUTE}/virtual_machines"
    calls += [("PATCH", POWER, {"id": machine, "powerAction": action}) for action in ("on", "off", "shutdown", "reset")]
    return [
        *calls,
        ("GET", f"{COMPUTE}/content_libraries/{library}/items", None),
        ("GET", f"{machines}/{machine}/consoles", None),
        ("GET", f"{machines}/{machine}/consoles/log", None),
        ("GET", f"/activity/v1/activities/{made['activity']}", None),
        ("PATCH", machines, {"id": machine, "cpu": 2}),
        ("PATCH", f"{machines}/rename", {"id": machine, "name": "mine"}),
        ("POST", f"{machines}/relocate", {"virtualMachines": [machine]}),
        ("POST", machines, {"name": "x", "hostClusterId": pool, "datastoreId": volume}),
        ("POST", platform.deploy_path, platform.deployment("x")),
        ("PATCH", f"{COMPUTE}/datastores", {"id": volume, "capacity": 600 * GIB}),
        ("POST", f"{COMPUTE}/networks", {"name": "x", "hostClusterIds": [pool]}),
        ("POST", f"{COMPUTE}/networks/{vlan}/propagations", {"hostClusterIds": [pool]}),
        ("POST", DISKS, {"virtualMachineId": machine, "capacity": GIB}),
        ("PATCH", DISKS, {"id": disk, "newCapacity": 2 * GIB}),
        ("POST", ADAPTERS, {"virtualMachineId": machine, "networkId": vlan}),
        ("PATCH", ADAPTERS, {"id": adapter, "autoConnect": True}),
        ("PATCH", f"{ADAPTERS}/connect", {"id": adapter}),
        ("PATCH", f"{ADAPTERS}/disconnect", {"id": adapter}),
        ("POST", f"{COMPUTE}/content_libraries/{library}/templates", {"name": "x", "uploadId": made["upload"]}),
    ]


def test_another_tenants_objects_are_absent(used: Platform, stranger: TestClient) -> None:
    """peers.md 63: for every way to name a foreign object the answer is 404, word for word that of an id that never was."""
    used.made["upload"] = used.upload()
    used.made["activity"] = used.write("PATCH", POWER, {"id": used.made["machine"], "powerAction": "on"})
    used.ended(used.made["activity"])
    names = ("web-1", "pool-AZ05", "volume-AZ05", "front", "tiny", "az05-blade")
    calls = foreign_calls(used)
    for method, path, body in calls:
        answer = stranger.request(method, path, json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        assert not [name for name in names if name in answer.text.replace(path, "")], (path, answer.text)
    assert len(calls) > 35


def test_another_tenants_lists_are_empty_whatever_the_filter(used: Platform, stranger: TestClient) -> None:
    made = used.made
    for kind in (
        "virtual_machines",
        "virtual_disks",
        "network_adapters",
        "networks",
        "host_clusters",
        "datastores",
        "hosts",
    ):
        for query in (
            {},
            {"virtualMachineId": made["machine"]},
            {"hostClusterId": made["pool-AZ05"]},
            {"networks[]": made["vlan"]},
            {"name": "web-1"},
        ):
            answer = stranger.get(f"{COMPUTE}/{kind}", params=query)
            assert (answer.status_code, answer.json()) == (200, []), (kind, query)
    assert stranger.get("/activity/v1/activities").json() == []


def test_a_foreign_object_mixed_with_ones_own_is_absent_too(used: Platform, stranger: TestClient) -> None:
    own = {"name": "mine", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    accepted = stranger.post(f"{COMPUTE}/datastores", json=own)
    assert accepted.status_code == 201, accepted.text
    (volume,) = stranger.get(f"{COMPUTE}/datastores").json()
    (library,) = stranger.get(f"{COMPUTE}/content_libraries").json()
    vlan = stranger.post(f"{COMPUTE}/networks", json={"name": "front"})
    assert vlan.status_code == 201, "another tenant's names are nobody's business"
    body = {"virtualMachineId": used.made["machine"], "capacity": GIB, "datastoreId": volume["id"]}
    assert used.refused("POST", DISKS, body)["status"] == 404
    path = f"{COMPUTE}/content_libraries/{library['id']}/items"
    assert used.refused("POST", path, used.deployment("x"))["status"] == 404
    assert used.refused("POST", path, used.deployment("x"), client=stranger)["status"] == 404
    (network,) = stranger.get(f"{COMPUTE}/networks").json()
    wish = used.deployment("x", networkAdapters=[{"networkId": network["id"]}])
    assert used.refused("POST", used.deploy_path, wish)["status"] == 404
    assert used.settled() == []


def test_only_the_operator_asks_the_doctor(used: Platform) -> None:
    """A tenant's owner of another organisation sees nothing of the platform."""
    error = used.refused("GET", "/platform/v1/doctor", client=used.stranger(organisation="Elsewhere"))
    assert (error["code"], error["status"]) == ("doctor.operator_only", 403)


# ------------------------------------------------------------------------------------------------------- taken and full


def test_one_mac_address_is_one_adapters(used: Platform) -> None:
    """peers.md 52: two machines with one MAC in a tenant cannot be, whatever the letters' case."""
    mac = "02:4E:00:AA:00:01"
    network = {"networkId": used.made["vlan"]}
    first = used.deploy("mac-1", powerOn=False, networkAdapters=[{**network, "macAddress": mac}])
    twice = [{**network, "macAddress": "02:4e:00:bb:00:01"}, {**network, "macAddress": "02:4E:00:BB:00:01"}]
    for wish in ([{**network, "macAddress": mac.lower()}], twice):
        error = used.refused("POST", used.deploy_path, used.deployment("mac-2", networkAdapters=wish))
        assert (error["code"], error["status"]) == ("network.mac_taken", 409)
        assert "mac-" in error["message"]
    body = {"virtualMachineId": used.made["machine"], **network, "macAddress": mac}
    assert "'mac-1'" in used.refused("POST", ADAPTERS, body)["message"]
    second = used.deploy("mac-2", powerOn=False)
    adapter = used.get(ADAPTERS, virtualMachineId=second)[0]["id"]
    assert used.refused("PATCH", ADAPTERS, {"id": adapter, "macAddress": mac})["code"] == "network.mac_taken"
    for machine_id in (first, second):
        used.remove(machine_id)


@pytest.mark.parametrize(
    "mac",
    [
        "x",
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "02-4e-00-00-00-01",
        "02:4e:00:00:00:01\n",
        "x" * 9000,
    ],
)
def test_a_mac_address_is_one_of_a_station(used: Platform, mac: str) -> None:
    wish = [{"networkId": used.made["vlan"], "macAddress": mac}]
    error = used.refused("POST", used.deploy_path, used.deployment("odd", networkAdapters=wish))
    assert error["code"] == "network.mac_invalid"
    assert "Write six bytes such as" in error["message"]
    assert len(error["message"]) < 300


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"networkAdapters": [{"address": "10.0.0.1"}]}, "prefix length"),
        ({"networkAdapters": [{"address": "10.0.0.300/24"}]}, "10.0.0.300"),
        ({"networkAdapters": [{"address": "10.0.0.1/24", "gateway": "fe80::1"}]}, "gateway"),
        ({"deployOptions": [{"id": "hostname", "value": "a b"}]}, "host name"),
        ({"deployOptions": [{"id": "public-keys", "value": "ssh-rsa"}]}, "SSH key"),
        ({"deployOptions": [{"id": "user-data", "value": "%%%"}]}, "base64"),
        ({"deployOptions": [{"id": "instance-id", "value": "../x"}]}, "instance id"),
        ({"deployOptions": [{"id": "colour", "value": "red"}]}, "the options are hostname"),
    ],
)
def test_what_a_guest_could_not_be_told_is_refused_at_once(used: Platform, change: dict[str, Any], said: str) -> None:
    for wish in change.get("networkAdapters", []):
        wish["networkId"] = used.made["vlan"]
    error = used.refused("POST", used.deploy_path, used.deployment("odd", **change))
    assert error["status"] == 422
    assert said in error["message"]
    assert used.get(f"{COMPUTE}/virtual_machines", name="odd") == []


def test_a_cpool_and_a_volume_share_a_zone(used: Platform) -> None:
    error = used.refused("POST", used.deploy_path, used.deployment("odd", datastoreId=used.made["volume-AZ06"]))
    assert (error["code"], error["status"]) == ("compute.wrong_zone", 422)
    assert "AZ05" in error["message"]
    assert "AZ06" in error["message"]


def test_a_vlan_must_reach_the_cpool(used: Platform) -> None:
    vlan = used.done("POST", f"{COMPUTE}/networks", {"name": "back", "hostClusterIds": [used.made["pool-AZ06"]]})
    wish = used.deployment("odd", networkAdapters=[{"networkId": vlan}])
    error = used.refused("POST", used.deploy_path, wish)
    assert (error["code"], error["details"]["available"]) == ("network.not_propagated", "front")
    used.done("DELETE", f"{COMPUTE}/networks/{vlan}")


def test_memory_runs_out_with_every_blades_numbers(used: Platform) -> None:
    """peers.md 35: a stopped machine may be made larger; its start passes the same rule as everybody's."""
    machine_id = used.deploy("large", powerOn=False)
    used.done("PATCH", f"{COMPUTE}/virtual_machines", {"id": machine_id, "ram": 2 * GIB})
    reason = used.failed("PATCH", POWER, {"id": machine_id, "powerAction": "on"})
    assert "'pool-AZ05' has 2 GiB of memory enabled, 128 MiB in use" in reason
    assert "needs 2 GiB: 128 MiB missing" in reason
    used.remove(machine_id)
    assert used.settled() == []


def test_an_array_is_never_overcommitted(used: Platform) -> None:
    body = {"name": "huge", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 4000 * GIB}
    error = used.refused("POST", f"{COMPUTE}/datastores", body)
    assert (error["code"], error["status"]) == ("storage.array_full", 507)
    assert "3.51 TiB of 4 TiB left" in error["message"]


def test_a_full_volume_ends_a_create_with_numbers_and_nothing_left(used: Platform) -> None:
    """peers.md 20, 25: the disk is full in the middle of a create: undone, and the reason says how much is missing."""
    volume, faults = used.made["volume-AZ05"], used.rack.faults
    before = used.rack.array("az05-array").contents(volume)
    faults.fill(volume, left=100)
    try:
        reason = used.failed("POST", used.deploy_path, used.deployment("no room"))
        assert "100 bytes free" in reason
        assert "Grow the volume or free space on it" in reason
        assert "gave the name no room back" in reason
        static = {"virtualMachineId": used.made["machine"], "capacity": GIB, "provisioningType": "staticImmediate"}
        error = used.refused("POST", DISKS, static)
        assert (error["code"], error["status"]) == ("storage.volume_room", 507)
        assert (error["details"]["needed"], error["details"]["free"]) == ("1 GiB", "100 B")
        assert used.get(f"{COMPUTE}/virtual_machines", name="no room") == []
        assert used.rack.array("az05-array").contents(volume) == before
    finally:
        faults.empty(volume)
    assert used.settled() == []


def test_a_machine_carries_a_bounded_number_of_disks_and_adapters(used: Platform) -> None:
    machine_id = used.deploy("bus", powerOn=False)
    for _ in range(23):
        used.write("POST", DISKS, {"virtualMachineId": machine_id, "capacity": MIB})
    error = used.refused("POST", DISKS, {"virtualMachineId": machine_id, "capacity": MIB})
    assert (error["code"], error["details"]["limit"]) == ("storage.controller_full", 24)
    for _ in range(9):
        used.write("POST", ADAPTERS, {"virtualMachineId": machine_id, "networkId": used.made["vlan"]})
    error = used.refused("POST", ADAPTERS, {"virtualMachineId": machine_id, "networkId": used.made["vlan"]})
    assert (error["code"], error["details"]["limit"]) == ("network.too_many_adapters", 10)
    used.remove(machine_id)
    assert used.settled() == []


# --------------------------------------------------------------------------------------------------------------- images


def lying_images(folder: Path) -> dict[str, Path]:
    """Images that are attacks or accidents, each in a file of its own."""
    images = {name: folder / name for name in ("backing", "garbage", "truncated", "external", "descriptor", "empty")}
    secret = folder / "secret.raw"
    secret.write_bytes(b"secret" * 200)
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, "-b", str(secret), "-F", "raw", str(images["backing"]), "1M"], check=True)
    data = f"data_file={folder / 'outside.raw'},data_file_raw=on"
    subprocess.run([*create, "-o", data, str(images["external"]), "1M"], check=True)
    images["garbage"].write_bytes(b"QFI\xfb" + b"\xff" * 4096)
    images["truncated"].write_bytes(b"QFI\xfb\x00\x00")
    images["descriptor"].write_text(
        f'# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 2048 FLAT "{secret}" 0\n', encoding="utf-8"
    )
    images["empty"].write_bytes(b"")
    return images


def test_an_image_that_lies_is_no_template(used: Platform, tmp_path: Path) -> None:
    path = f"{COMPUTE}/content_libraries/{used.made['library']}/templates"
    for name, image in lying_images(tmp_path).items():
        reason = used.failed("POST", path, {"name": name, "uploadId": used.upload(image)})
        assert "unexpected" not in reason.lower(), reason
        assert f"gave the name {name} back" in reason
    backing = used.failed("POST", path, {"name": "b", "uploadId": used.upload(tmp_path / "backing")})
    assert "backing" in backing
    wrong = {"name": "sum", "uploadId": used.upload(), "checksum": "sha256:" + "0" * 64}
    assert "checksum" in used.failed("POST", path, wrong)
    assert [item["name"] for item in used.get(f"{COMPUTE}/content_libraries/{used.made['library']}/items")] == ["tiny"]
    assert used.settled() == []


def test_a_template_comes_from_exactly_one_place(used: Platform) -> None:
    path = f"{COMPUTE}/content_libraries/{used.made['library']}/templates"
    for sources in ({}, {"uploadId": used.made["upload"], "url": "http://192.0.2.1/x"}):
        assert used.refused("POST", path, {"name": "x", **sources})["code"] == "catalogue.source_ambiguous"
    assert used.refused("POST", path, {"name": "x", "uploadId": used.made["template"]})["status"] == 404
