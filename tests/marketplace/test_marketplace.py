"""The marketplace over the API: who publishes, what everybody reads, and machines of other tenants."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simulated_platform import COMPUTE, GIB, Platform, furnished_in

from naos.units import MIB

sys.path.insert(0, str(Path(__file__).parents[1] / "catalogue"))
from appliances import appliance

ITEMS = "/marketplace/v1/items"
TEXTS = {"overview": "Aperçu", "howToUse": "Usage", "support": "Aide", "termsAndConditions": "Conditions"}
TEXTS_EN = {"overview": "Overview", "howToUse": "Usage", "support": "Help", "termsAndConditions": "Terms"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("marketplace")
    with furnished_in(folder) as platform:
        platform.made["appliance"] = platform.add_template("appliance", appliance(folder / "a.ova"))
        platform.made["item"] = published(platform, "Appliance")["id"]
        yield platform


def publication(platform: Platform, name: str, /, **changes: Any) -> dict[str, Any]:
    return {
        "contentLibraryItemId": platform.made["appliance"],
        "name": name,
        "editor": "Exemple",
        "version": "12",
        "build": "20260901",
        "icon": "data:image/png;base64," + base64.b64encode(b"png").decode(),
        "description": "Une machine",
        "descriptionEn": "A machine",
        "categories": ["Linux"],
        "details": TEXTS,
        "detailsEn": TEXTS_EN,
        **changes,
    }


def published(platform: Platform, name: str, /, **changes: Any) -> dict[str, Any]:
    answer = platform.client.post(ITEMS, json=publication(platform, name, **changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_offer_is_shaped_as_the_contract_says(platform: Platform) -> None:
    found = platform.get(f"{ITEMS}/{platform.made['item']}")
    assert found in platform.get(ITEMS)
    assert set(found) == {
        *("id", "name", "editor", "icon", "description", "descriptionEn", "creationDate", "lastUpdate", "categories"),
        *("type", "version", "build", "details", "detailsEn", "deploymentOptions"),
    }
    assert (found["type"], found["details"], found["detailsEn"]) == ("Virtual Machine Image", TEXTS, TEXTS_EN)
    (target,) = found["deploymentOptions"]["targets"]
    assert target == {"key": "vmware", "name": "VMware", "skus": [], "files": ["appliance.ova"]}


def test_the_info_tells_what_a_deployment_makes(platform: Platform) -> None:
    info = platform.get(f"{ITEMS}/{platform.made['item']}/vmware/info")
    assert info["cpu"] == {"count": 4, "numCoresPerSocket": 2}
    assert (info["memory"], info["hardwareVersion"]) == (512 * MIB, "vmx-14")
    assert info["operatingSystem"] == {"id": "debian12_64Guest", "name": "Debian 12"}
    assert info["networkAdapters"] == [{"name": "Network adapter 1", "networkName": "Réseau", "type": "VmxNet3"}]
    assert info["controllers"] == [{"id": "3", "name": "SCSI 0", "type": "SCSI", "subType": "VirtualSCSI"}]
    assert [(disk["name"], disk["capacity"], disk["controllerId"]) for disk in info["disks"]] == [
        ("System", 2 * MIB, "3"),
        ("Data", 3 * MIB, "3"),
    ]
    assert all(type(disk["populatedSize"]) is int for disk in info["disks"])
    assert [(entry["key"], entry["required"]) for entry in info["extraConfig"]] == [
        ("hostname", False),
        ("password", False),
        ("workers", False),
        ("mode", False),
        ("org.example.licence.1", True),
    ]
    assert platform.refused("GET", f"{ITEMS}/{platform.made['item']}/open_iaas/info")["status"] == 404
    bare = published(platform, "Bare", contentLibraryItemId=platform.made["template"])
    info = platform.get(f"{ITEMS}/{bare['id']}/vmware/info")
    assert (info["cpu"], info["networkAdapters"], len(info["disks"])) == ({"count": 1, "numCoresPerSocket": 1}, [], 1)


@pytest.mark.parametrize("name", ["sourceNetworkName", "networkAdapterName"])
def test_another_tenant_deploys_what_it_cannot_read(platform: Platform, name: str) -> None:
    other = platform.stranger("Another company")
    place = other_place(platform, other)
    mapping = {"sourceNetworkName": "Réseau", "networkAdapterName": "Network adapter 1"}[name]
    body = {
        "id": platform.made["item"],
        "name": f"bought-{name}",
        "datacenterId": platform.zone("AZ06"),
        "datastoreId": place["volume"],
        "networkData": [{name: mapping, "destinationNetworkId": place["vlan"]}],
        "deployOptions": [{"id": "org.example.licence.1", "value": "L-9"}],
    }
    theirs = Platform(platform.services, other, platform.folder)
    machine = theirs.machine(theirs.done("POST", f"{ITEMS}/vmware/deploy", body))
    assert (machine["cpu"], machine["memory"]) == (4, 512 * MIB)
    (adapter,) = theirs.get(f"{COMPUTE}/network_adapters", virtualMachineId=machine["id"])
    assert (adapter["network"]["id"], adapter["connected"]) == (place["vlan"], True)
    library = platform.made["library"]
    path = f"{COMPUTE}/content_libraries/{library}/items/{platform.made['appliance']}"
    assert other.get(path).status_code == 404, "the image itself stays the publisher's"
    own = theirs.get(f"{COMPUTE}/content_libraries")[0]["id"]
    wish = {"contentLibraryItemId": platform.made["appliance"], "name": "taken", "datastoreId": place["volume"]}
    assert theirs.refused("POST", f"{COMPUTE}/content_libraries/{own}/items", wish)["status"] == 404
    export = {"contentLibraryItemId": platform.made["appliance"]}
    assert theirs.refused("POST", f"{COMPUTE}/exports", export)["status"] == 404


def other_place(platform: Platform, other: Any) -> dict[str, str]:
    """A cpool, a volume and a VLAN of another tenant, made once."""
    if "other-volume" not in platform.made:
        for machine in platform.get(f"{COMPUTE}/virtual_machines"):
            platform.remove(machine["id"])
        platform.done("DELETE", f"{COMPUTE}/host_clusters/{platform.made['pool-AZ06']}")
        theirs = Platform(platform.services, other, platform.folder)
        pool = theirs.done(
            "POST",
            f"{COMPUTE}/host_clusters",
            {"name": "theirs", "datacenterId": "AZ06", "model": "LAB v1", "hosts": 2},
        )
        volume = {"name": "theirs", "datacenterId": "AZ06", "storageClass": "standard", "capacity": 500 * GIB}
        platform.made["other-volume"] = theirs.done("POST", f"{COMPUTE}/datastores", volume)
        vlan = {"name": "theirs", "hostClusterIds": [pool]}
        platform.made["other-vlan"] = theirs.done("POST", f"{COMPUTE}/networks", vlan)
    return {"volume": platform.made["other-volume"], "vlan": platform.made["other-vlan"]}


def test_only_the_platforms_owners_publish(platform: Platform) -> None:
    other = platform.stranger("A third company")
    path = f"{ITEMS}/{platform.made['item']}"
    for method, address, body in (
        ("POST", ITEMS, publication(platform, "Theirs")),
        ("PATCH", path, {"version": "13"}),
        ("DELETE", path, None),
    ):
        error = platform.refused(method, address, body, client=other)
        assert (error["code"], error["status"]) == ("marketplace.not_the_platforms", 403)
    assert other.get(path).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"version": "12"}, 409),
        ({"version": ""}, 422),
        ({"icon": "javascript:alert(1)"}, 422),
        ({"icon": "data:image/svg+xml;base64,AAAA"}, 422),
        ({"name": ""}, 422),
        ({"contentLibraryItemId": "5d0f8c0e-6f0e-4a53-9c3c-7b1d0f0a9a63"}, 404),
        ({"details": {"overview": 3}}, 422),
        ({"colour": "red"}, 422),
    ],
)
def test_publications_that_are_refused(platform: Platform, changes: dict[str, Any], status: int) -> None:
    answer = platform.client.post(ITEMS, json=publication(platform, "Appliance", **changes))
    assert answer.status_code in {status, 400 if status == 422 else status}, answer.text


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"sourceNetworkName": "Réseau", "networkAdapterName": "Network adapter 1"},
        {"sourceNetworkName": "elsewhere"},
    ],
)
def test_mappings_that_say_nothing_are_refused(platform: Platform, network: dict[str, str]) -> None:
    body = {
        "id": platform.made["item"],
        "name": "unmapped",
        "datastoreId": platform.made["volume-AZ05"],
        "networkData": [{**network, "destinationNetworkId": platform.made["vlan"]}],
    }
    assert platform.refused("POST", f"{ITEMS}/vmware/deploy", body)["status"] in {400, 422}
    assert platform.get(f"{COMPUTE}/virtual_machines", name="unmapped") == []


def test_a_published_image_is_kept_until_it_is_withdrawn(platform: Platform, tmp_path: Path) -> None:
    template = platform.add_template("once", appliance(tmp_path / "a.ova"))
    item = published(platform, "Once", contentLibraryItemId=template)
    path = f"{COMPUTE}/content_libraries/{platform.made['library']}/items/{template}"
    error = platform.refused("DELETE", path)
    assert error["code"] == "catalogue.template_in_use"
    changed = platform.client.patch(f"{ITEMS}/{item['id']}", json={"version": "13", "details": {"overview": "Neuf"}})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["version"], changed.json()["details"]["overview"]) == ("13", "Neuf")
    assert changed.json()["name"] == "Once"
    assert changed.json()["lastUpdate"] > item["lastUpdate"]
    assert platform.client.delete(f"{ITEMS}/{item['id']}").status_code == 204
    assert platform.client.get(f"{ITEMS}/{item['id']}").status_code == 404
    body = {"id": item["id"], "name": "late", "datastoreId": platform.made["volume-AZ05"]}
    assert platform.refused("POST", f"{ITEMS}/vmware/deploy", body)["status"] == 404
    platform.done("DELETE", path)
