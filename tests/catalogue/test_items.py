"""Items of a content library over the API: what they show, and the machines that they become, on the simulated rack."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from appliances import appliance
from simulated_platform import COMPUTE, GIB, Platform, furnished_in

from naos.catalogue import library
from naos.compute.models import VirtualMachine
from naos.storage.models import Disk
from naos.units import MIB


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with furnished_in(tmp_path_factory.mktemp("items")) as platform:
        platform.made["appliance"] = platform.add_template(
            "appliance", appliance(tmp_path_factory.mktemp("appliance") / "appliance.ova")
        )
        yield platform


def items(platform: Platform) -> str:
    return f"{COMPUTE}/content_libraries/{platform.made['library']}/items"


def request(platform: Platform, name: str, **changes: Any) -> dict[str, Any]:
    """As the Terraform provider deploys."""
    body = {
        "contentLibraryItemId": platform.made["appliance"],
        "name": name,
        "hostClusterId": platform.made["pool-AZ05"],
        "datastoreId": platform.made["volume-AZ05"],
        "deployOptions": [{"id": "org.example.licence.1", "value": "L-1"}],
    }
    return {key: value for key, value in {**body, **changes}.items() if value is not None}


def deployed(platform: Platform, name: str, **changes: Any) -> dict[str, Any]:
    return platform.machine(platform.done("POST", items(platform), request(platform, name, **changes)))


def disks_of(platform: Platform, machine_id: str) -> list[Disk]:
    with platform.services.database.read() as session:
        return list(session.scalars(sa.select(Disk).where(Disk.machine_id == machine_id).order_by(Disk.unit)))


def adapters_of(platform: Platform, machine_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = platform.get(f"{COMPUTE}/network_adapters", virtualMachineId=machine_id)
    return found


def seed_of(platform: Platform, machine_id: str) -> dict[str, Any]:
    with platform.services.database.read() as session:
        return session.get_one(VirtualMachine, machine_id).seed


def test_an_item_is_shaped_as_the_contract_says(platform: Platform) -> None:
    found = platform.get(f"{items(platform)}/{platform.made['appliance']}")
    assert found == next(item for item in platform.get(items(platform)) if item["id"] == found["id"])
    assert found["ovfProperties"] == ["hostname", "password", "workers", "mode", "org.example.licence.1"]
    assert (found["type"], found["source"], found["status"]) == ("ovf", "ova", "active")
    for key in ("size", "virtualSize", "cpu", "memory"):
        assert type(found[key]) is int
    assert "T" in found["creationTime"]
    assert (found["cpu"], found["coresPerSocket"], found["memory"]) == (4, 2, 512 * MIB)
    assert [(disk["name"], disk["capacity"]) for disk in found["disks"]] == [("System", 2 * MIB), ("Data", 3 * MIB)]
    assert found["networkAdapters"] == [
        {"id": "6", "name": "Network adapter 1", "networkName": "Réseau", "type": "VmxNet3"}
    ]
    bare = platform.get(f"{items(platform)}/{platform.made['template']}")
    assert (bare["ovfProperties"], bare["networkAdapters"], len(bare["disks"])) == ([], [], 1)


def test_libraries_are_filtered_and_have_no_datastore(platform: Platform) -> None:
    (found,) = platform.get(f"{COMPUTE}/content_libraries")
    assert found["datastore"] is None
    assert platform.get(f"{COMPUTE}/content_libraries", machineManagerId=found["machineManager"]["id"]) == [found]
    stray = "5d0f8c0e-6f0e-4a53-9c3c-7b1d0f0a9a63"
    assert platform.get(f"{COMPUTE}/content_libraries", machineManagerId=stray) == []
    stranger = platform.stranger()
    for path in (items(platform), f"{items(platform)}/{platform.made['appliance']}"):
        assert stranger.get(path).status_code == 404
    assert platform.client.get(f"{COMPUTE}/content_libraries/{stray}/items").status_code == 404


def test_the_item_says_what_the_request_does_not(platform: Platform) -> None:
    machine = deployed(platform, "as-it-says")
    assert (machine["cpu"], machine["numCoresPerSocket"], machine["memory"]) == (4, 2, 512 * MIB)
    assert machine["powerState"] == "stopped"
    disks = disks_of(platform, machine["id"])
    assert [(disk.unit, disk.capacity, disk.provisioning) for disk in disks] == [
        (0, 2 * MIB, "dynamic"),
        (1, 3 * MIB, "dynamic"),
    ]
    (adapter,) = adapters_of(platform, machine["id"])
    assert (adapter["network"]["name"], adapter["connected"], adapter["type"]) == ("front", False, "VMXNET3"), (
        "nobody chose a network, so its cable is out"
    )
    smaller = deployed(platform, "as-asked", cpu=1, memory=256 * MIB, diskCapacity=GIB)
    assert (smaller["cpu"], smaller["numCoresPerSocket"], smaller["memory"]) == (1, 1, 256 * MIB)
    assert [disk.capacity for disk in disks_of(platform, smaller["id"])] == [GIB, 3 * MIB]


@pytest.mark.parametrize("kind", ["staticImmediate", "staticDiffered"])
def test_reserved_disks_take_their_space_and_share_nothing(platform: Platform, kind: str) -> None:
    before = platform.rack.array("az05-array").usage(platform.made["volume-AZ05"]).used
    machine = deployed(platform, f"reserved-{kind}", disksProvisioningType=kind, diskCapacity=GIB)
    disks = disks_of(platform, machine["id"])
    assert [(disk.provisioning, disk.backing) for disk in disks] == [(kind, None)] * 2
    taken = platform.rack.array("az05-array").usage(platform.made["volume-AZ05"]).used - before
    assert taken >= GIB + 3 * MIB


@pytest.mark.parametrize("reference", ["6", "Network adapter 1", "Réseau"])
def test_adapters_are_mapped_by_id_name_and_network(platform: Platform, reference: str) -> None:
    mapping = [{"networkAdapterId": reference, "networkId": platform.made["vlan"]}]
    machine = deployed(platform, f"mapped-{reference}", networkData=mapping)
    (adapter,) = adapters_of(platform, machine["id"])
    assert (adapter["network"]["id"], adapter["connected"]) == (platform.made["vlan"], True)


def test_a_network_of_the_same_name_is_taken(platform: Platform) -> None:
    pools = [platform.made["pool-AZ05"]]
    vlan = platform.done("POST", f"{COMPUTE}/networks", {"name": "Réseau", "hostClusterIds": pools})
    machine = deployed(platform, "same-name")
    (adapter,) = adapters_of(platform, machine["id"])
    assert (adapter["network"]["id"], adapter["connected"]) == (vlan, True)
    platform.done("DELETE", f"{COMPUTE}/virtual_machines/{machine['id']}")
    platform.done("DELETE", f"{COMPUTE}/networks/{vlan}")


@pytest.mark.parametrize(
    ("place", "pool"),
    [
        ({"hostId": "az05-blade2"}, "pool-AZ05"),
        ({"datacenterId": "AZ05"}, "pool-AZ05"),
        ({}, "pool-AZ05"),
        ({"datastoreId": "volume-AZ06"}, "pool-AZ06"),
    ],
)
def test_the_place_may_be_a_host_or_a_zone(platform: Platform, place: dict[str, str], pool: str) -> None:
    place = {key: platform.made.get(value, value) for key, value in place.items()}
    if "datacenterId" in place:
        place["datacenterId"] = platform.zone(place["datacenterId"])
    machine = deployed(platform, f"in-{pool}-{len(place)}-{'-'.join(place)}", hostClusterId=None, **place)
    assert machine["hostCluster"]["id"] == platform.made[pool]


def test_properties_and_cloud_init_travel_together(platform: Platform) -> None:
    text = base64.b64encode(b"#cloud-config\n{}\n").decode()
    options = {
        "workers": "7",
        "hostname": "front-1",
        "org.example.licence.1": "L-2",
        "user-data": text,
        "instance-id": "i-1",
        "seedfrom": "http://192.0.2.7/seed/",
    }
    machine = deployed(platform, "opted", deployOptions=[{"id": key, "value": value} for key, value in options.items()])
    seed = seed_of(platform, machine["id"])
    assert seed["properties"] == {
        "hostname": "front-1",
        "password": "",
        "workers": "7",
        "mode": "small",
        "build": "42",
        "org.example.licence.1": "L-2",
    }
    assert (seed["hostname"], seed["instance_id"], seed["user_data"]) == ("front-1", "i-1", "#cloud-config\n{}\n")
    assert seed["seedfrom"] == "http://192.0.2.7/seed/"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"deployOptions": []}, "catalogue.property_missing"),
        ({"deployOptions": [{"id": "workers", "value": "999"}]}, "catalogue.property_invalid"),
        ({"deployOptions": [{"id": "build", "value": "1"}]}, "catalogue.property_invalid"),
        ({"deployOptions": [{"id": "mode", "value": "small"}] * 2}, "compute.option_invalid"),
        ({"deployOptions": [{"id": "colour", "value": "red"}]}, "compute.option_unknown"),
        ({"deployOptions": [{"id": "user-data", "value": "é"}]}, "compute.option_invalid"),
        ({"deployOptions": [{"id": "seedfrom", "value": "file:///etc/shadow"}]}, "compute.option_invalid"),
        ({"networkData": [{"networkAdapterId": "7", "networkId": "vlan"}]}, "compute.mapping_unknown"),
        ({"networkData": [{"networkAdapterId": "6", "networkId": "volume-AZ05"}]}, "naos.unknown"),
        (
            {"networkData": [{"networkAdapterId": "6", "networkId": "vlan"}], "networkAdapters": []},
            "compute.mapping_ambiguous",
        ),
        ({"hostClusterId": None, "hostId": "az09-blade1"}, "naos.unknown"),
        ({"hostId": "az06-blade1"}, "compute.blade_foreign"),
        ({"disksProvisioningType": "thin"}, "api.request_invalid"),
        ({"datastoreId": None}, "api.request_invalid"),
        ({"diskCapacity": MIB}, "compute.template_larger"),
    ],
)
def test_deployments_that_are_refused_leave_nothing(platform: Platform, changes: dict[str, Any], code: str) -> None:
    for mapping in changes.get("networkData", []):
        mapping["networkId"] = platform.made.get(mapping["networkId"], mapping["networkId"])
    error = platform.refused("POST", items(platform), request(platform, "refused", **changes))
    if code != "api.request_invalid":
        assert error["code"] == code, error
    assert platform.get(f"{COMPUTE}/virtual_machines", name="refused") == []


def test_an_appliance_that_fails_in_the_middle_leaves_no_file(platform: Platform, tmp_path: Path) -> None:
    path = f"{COMPUTE}/content_libraries/{platform.made['library']}/templates"
    folder = platform.services.settings.library
    before = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    for number, spoil in enumerate((b"SHA256(data.vmdk)= " + b"0" * 64, b"nonsense")):
        broken = appliance(tmp_path / f"{number}.ova", manifest=spoil)
        reason = platform.failed("POST", path, {"name": "broken", "uploadId": platform.upload(broken)})
        assert "data.vmdk" in reason or "manifest" in reason
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_file()) == before
    assert platform.get(items(platform), name="broken") == []


def test_an_item_in_use_is_not_deleted(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    template = platform.add_template("mounted")
    users: list[str] = ["machine web-1, in its CD drive"]
    monkeypatch.setattr(library, "USERS", [lambda _session, item: users if item == template else []])
    error = platform.refused("DELETE", f"{items(platform)}/{template}")
    assert (error["code"], error["status"]) == ("catalogue.template_in_use", 409)
    assert "machine web-1" in error["message"]
    users.clear()
    platform.done("DELETE", f"{items(platform)}/{template}")


def test_nothing_is_left_of_a_deleted_appliance(platform: Platform, tmp_path: Path) -> None:
    template = platform.add_template("short-lived", appliance(tmp_path / "a.ova"))
    images = [library.image(platform.services.world, library.image_id(template, number)) for number in range(2)]
    assert all(image.is_file() for image in images)
    assert [subprocess.check_output(["qemu-img", "info", image]) != b"" for image in images] == [True, True]
    platform.done("DELETE", f"{items(platform)}/{template}")
    assert not any(image.exists() for image in images)


def test_the_owner_of_a_bare_image_says_what_its_machines_get(platform: Platform) -> None:
    path = f"{COMPUTE}/content_libraries/{platform.made['library']}/templates"
    hardware = {"cpu": 2, "memory": 256 * MIB, "networks": ["front"]}
    template = platform.done("POST", path, {"name": "sized", "uploadId": platform.upload(), "hardware": hardware})
    machine = deployed(platform, "sized-1", contentLibraryItemId=template, deployOptions=None)
    assert (machine["cpu"], machine["numCoresPerSocket"], machine["memory"]) == (2, 1, 256 * MIB)
    (adapter,) = adapters_of(platform, machine["id"])
    assert (adapter["network"]["name"], adapter["connected"]) == ("front", True)
    for wrong in ({"memory": 1}, {"cpu": 0}, {"networks": [""]}, {"disks": 2}):
        platform.refused("POST", path, {"name": "wrong", "uploadId": platform.upload(), "hardware": wrong})
