"""Controllers, drives, disk modes, mounting, adapters: what the API promises, on a simulated rack."""

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from counting import statements
from simulated_platform import COMPUTE, GIB, POWER, Platform

from naos.compute import media
from naos.engines.simulated import definitions
from naos.storage import disks
from naos.storage.errors import ControllerFull
from naos.storage.models import Lun, VirtualController

MIB = 2**20
CONTROLLERS, DISKS, ADAPTERS = (
    f"{COMPUTE}/virtual_controllers",
    f"{COMPUTE}/virtual_disks",
    f"{COMPUTE}/network_adapters",
)
CDROM = f"{CONTROLLERS}/cdrom"
SNAPSHOTS = f"{COMPUTE}/snapshots"


@pytest.fixture(autouse=True)
def _healthy(roomy: Platform) -> Iterator[None]:
    yield
    assert roomy.settled() == []


@pytest.fixture(scope="module")
def iso(roomy: Platform, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of an ISO image in the library."""
    folder: Path = tmp_path_factory.mktemp("iso")
    (folder / "content").mkdir()
    (folder / "content/hello").write_text("hello\n")
    image = folder / "tools.iso"
    subprocess.run(["genisoimage", "-quiet", "-J", "-o", image, folder / "content"], check=True)
    return roomy.add_template("tools", image)


def _controller(platform: Platform, machine_id: str, kind: str, sub_type: str | None = None) -> str:
    body = {"virtualMachineId": machine_id, "type": kind} | ({"subType": sub_type} if sub_type else {})
    return platform.done("POST", CONTROLLERS, body)


def _live(platform: Platform, machine_id: str) -> Any:
    """What the guest has plugged in."""
    blade = platform.machine(machine_id)["host"]["name"]
    with closing(sqlite3.connect(platform.folder / "world" / "world.db")) as db:
        query = "SELECT live FROM domains WHERE blade = ? AND id = ?"
        (live,) = db.execute(query, (blade, machine_id)).fetchone()
    return live


def _power(platform: Platform, machine_id: str, action: str) -> None:
    platform.done("PATCH", POWER, {"id": machine_id, "powerAction": action})


# ---------------------------------------------------------------------------------------------------------- controllers


def test_a_disk_hangs_on_the_controller_that_is_named_and_says_so(roomy: Platform) -> None:
    machine_id = roomy.deploy("hung")
    (boot,) = roomy.get(DISKS, virtualMachineId=machine_id)
    (first,) = roomy.get(CONTROLLERS, virtualMachineId=machine_id)
    assert (first["type"], first["label"], first["subType"]) == ("PCI", "PCI controller 0", "")
    assert boot["controller"] == {"id": first["id"], "busNumber": 0, "type": "PCI"}
    activity = roomy.ended(
        roomy.write("POST", CONTROLLERS, {"virtualMachineId": machine_id, "type": "SCSI", "subType": "ParaVirtual"})
    )
    assert activity["concernedItems"][0]["type"] == "virtual_controller"
    scsi = roomy.get(f"{CONTROLLERS}/{activity['concernedItems'][0]['id']}")
    assert (scsi["label"], scsi["subType"], scsi["hotAddRemove"]) == ("SCSI controller 0", "ParaVirtual", True)
    body = {"virtualMachineId": machine_id, "capacity": GIB, "controllerId": scsi["id"]}
    disk = roomy.get(f"{DISKS}/{roomy.done('POST', DISKS, body)}")
    assert (disk["name"], disk["diskUnitNumber"]) == ("Hard disk 2", 0)
    assert disk["controller"] == {"id": scsi["id"], "busNumber": 0, "type": "SCSI"}
    assert roomy.get(f"{CONTROLLERS}/{scsi['id']}")["virtualDisks"] == [disk["id"]]
    seen = {entry.id: entry for entry in definitions.disks(_live(roomy, machine_id))}
    assert (seen[disk["id"]].bus, seen[disk["id"]].controller, seen[disk["id"]].slot) == ("scsi", 0, 0)
    error = roomy.refused("DELETE", f"{CONTROLLERS}/{scsi['id']}")
    assert (error["code"], error["details"]["disks"]) == ("storage.controller_in_use", "Hard disk 2")
    assert roomy.get(CONTROLLERS, **{"virtualMachineId": machine_id, "types[]": ["SCSI"]})[0]["id"] == scsi["id"]
    assert roomy.get(CONTROLLERS, **{"virtualMachineId": machine_id, "types[]": ["IDE"]}) == []
    roomy.done("DELETE", f"{DISKS}/{disk['id']}")
    roomy.done("DELETE", f"{CONTROLLERS}/{scsi['id']}")
    assert definitions.controllers(_live(roomy, machine_id)) == []
    assert roomy.refused("GET", f"{CONTROLLERS}/{scsi['id']}")["status"] == 404
    roomy.remove(machine_id)


def test_a_machine_has_four_controllers_of_a_type_with_fifteen_or_sixty_four_disks(roomy: Platform) -> None:
    machine_id = roomy.deploy("many", powerOn=False)
    for _ in range(3):
        _controller(roomy, machine_id, "SCSI")
    wide = _controller(roomy, machine_id, "SCSI", "ParaVirtual")
    error = roomy.refused("POST", CONTROLLERS, {"virtualMachineId": machine_id, "type": "SCSI"})
    assert (error["code"], error["details"]["count"], error["details"]["limit"]) == (
        "storage.too_many_controllers",
        4,
        4,
    )
    plain = next(
        entry for entry in roomy.get(CONTROLLERS, virtualMachineId=machine_id) if entry["label"] == "SCSI controller 0"
    )
    for controller_id, limit in ((plain["id"], 15), (wide, 64)):
        with roomy.services.database.write() as session:
            controller = session.get_one(VirtualController, controller_id)
            lun = session.get_one(Lun, roomy.made["volume-AZ05"])
            place = {"machine_id": machine_id, "machine_name": "many", "controller": controller}
            made = [disks.reserve(session, roomy.services.world, lun=lun, size=MIB, **place) for _ in range(limit)]
            assert [disk.slot for disk in made] == list(range(limit))
            with pytest.raises(ControllerFull) as refusal:
                disks.reserve(session, roomy.services.world, lun=lun, size=MIB, **place)
            assert (refusal.value.count, refusal.value.limit) == (limit, limit)
            session.rollback()
    roomy.remove(machine_id)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"type": "SCSI", "subType": "BusLogic"}, "storage.controller_unsupported"),
        ({"type": "NVME"}, "storage.controller_unsupported"),
        ({"type": "USB3", "subType": "ParaVirtual"}, "storage.sub_type_misplaced"),
    ],
)
def test_what_cannot_be_real_is_refused_with_its_reason(roomy: Platform, body: dict[str, Any], code: str) -> None:
    machine_id = roomy.deploy("unreal", powerOn=False)
    assert roomy.refused("POST", CONTROLLERS, {"virtualMachineId": machine_id, **body})["code"] == code
    roomy.remove(machine_id)


def test_what_cannot_be_plugged_in_waits_for_a_stopped_machine(roomy: Platform) -> None:
    machine_id = roomy.deploy("plugged")
    for body in ({"type": "USB3"}, {"type": "SCSI", "subType": "LSILogic"}):
        error = roomy.refused("POST", CONTROLLERS, {"virtualMachineId": machine_id, **body})
        assert (error["code"], "power it off" in error["message"]) == ("compute.wrong_power", True)
    _power(roomy, machine_id, "off")
    usb = [_controller(roomy, machine_id, kind) for kind in ("USB2", "USB3")]
    lsi = _controller(roomy, machine_id, "SCSI", "LSILogic")
    _power(roomy, machine_id, "on")
    assert set(definitions.controllers(_live(roomy, machine_id))) == {*usb, lsi}
    body = {"virtualMachineId": machine_id, "capacity": MIB, "controllerId": lsi}
    assert "power it off" in roomy.refused("POST", DISKS, body)["message"]
    _power(roomy, machine_id, "off")
    body["controllerId"] = usb[0]
    assert roomy.refused("POST", DISKS, body)["code"] == "storage.not_for_disks"
    roomy.remove(machine_id)


def test_another_machines_controller_is_unknown_to_a_disk(roomy: Platform) -> None:
    one, other = roomy.deploy("one", powerOn=False), roomy.deploy("other", powerOn=False)
    controller_id = _controller(roomy, other, "SCSI")
    body = {"virtualMachineId": one, "capacity": MIB, "controllerId": controller_id}
    assert roomy.refused("POST", DISKS, body)["status"] == 404
    for machine_id in (one, other):
        roomy.remove(machine_id)


# --------------------------------------------------------------------------------------------------------------- drives


def _images(platform: Platform, machine_id: str) -> set[str]:
    return set(definitions.images(_live(platform, machine_id)).values())


def _copies(platform: Platform) -> list[tuple[str, str]]:
    world = platform.services.world
    return [copy for blade in world.inventory.blades for copy in media.on_blade(world, blade.name)]


def test_an_image_is_mounted_seen_ejected_and_its_copy_goes(roomy: Platform, iso: str) -> None:
    """As the provider does it: on a running machine, mount and then connect."""
    machine_id = roomy.deploy("reader")
    drive_id = _controller(roomy, machine_id, "CD/DVD")
    drive = roomy.get(f"{CONTROLLERS}/{drive_id}")
    assert (drive["type"], drive["label"], drive["subType"]) == ("CD/DVD", "CD/DVD drive 1", "")
    path = media.path_on_blade(drive_id, iso)
    roomy.done("PATCH", f"{CDROM}/mount", {"id": drive_id, "contentLibraryItemId": iso})
    assert path not in _images(roomy, machine_id)
    roomy.done("PATCH", f"{CDROM}/connect", {"id": drive_id})
    assert path in _images(roomy, machine_id)
    error = roomy.refused("DELETE", f"{COMPUTE}/content_libraries/{roomy.made['library']}/items/{iso}")
    assert "reader" in error["message"], error
    here = roomy.machine(machine_id)["host"]["id"]
    target = next(
        host for host in roomy.get(f"{COMPUTE}/hosts", hostClusterId=roomy.made["pool-AZ05"]) if host["id"] != here
    )
    roomy.done(
        "POST", f"{COMPUTE}/virtual_machines/relocate", {"virtualMachines": [machine_id], "hostId": target["id"]}
    )
    assert path in _images(roomy, machine_id)
    assert media.on_blade(roomy.services.world, target["name"]) == [(drive_id, iso)] == _copies(roomy)
    roomy.done("PATCH", f"{CDROM}/disconnect", {"id": drive_id})
    assert path not in _images(roomy, machine_id)
    roomy.done("PATCH", f"{CDROM}/unmount", {"id": drive_id})
    assert _copies(roomy) == []
    roomy.done("DELETE", f"{CONTROLLERS}/{drive_id}")
    roomy.remove(machine_id)


def test_a_drive_of_a_stopped_machine_shows_its_image_at_the_start(roomy: Platform, iso: str) -> None:
    machine_id = roomy.deploy("later", powerOn=False)
    drive_id = _controller(roomy, machine_id, "CD/DVD")
    roomy.done("PATCH", f"{CDROM}/mount", {"id": drive_id, "isoPath": "[Templates] tools.iso"})
    roomy.done("PATCH", f"{CDROM}/connect", {"id": drive_id})
    _power(roomy, machine_id, "on")
    assert media.path_on_blade(drive_id, iso) in _images(roomy, machine_id)
    error = roomy.refused("DELETE", f"{CONTROLLERS}/{drive_id}")
    assert "power it off" in error["message"]
    roomy.remove(machine_id)
    assert _copies(roomy) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "storage.medium_choice"),
        ({"isoPath": "../../etc/passwd"}, "storage.medium_unknown"),
        ({"isoPath": "[Templates] ../tools.iso"}, "storage.medium_unknown"),
        ({"isoPath": "[Templates] absent.iso"}, "naos.unknown"),
        ({"contentLibraryItemId": "TEMPLATE"}, "storage.no_image"),
    ],
)
def test_what_is_no_image_is_not_mounted(roomy: Platform, body: dict[str, Any], code: str) -> None:
    machine_id = roomy.deploy("picky", powerOn=False)
    drive_id = _controller(roomy, machine_id, "CD/DVD")
    wanted = {key: roomy.made["template"] if value == "TEMPLATE" else value for key, value in body.items()}
    assert roomy.refused("PATCH", f"{CDROM}/mount", {"id": drive_id, **wanted})["code"] == code
    scsi = _controller(roomy, machine_id, "SCSI")
    assert roomy.refused("PATCH", f"{CDROM}/unmount", {"id": scsi})["code"] == "storage.not_a_drive"
    roomy.remove(machine_id)


# ---------------------------------------------------------------------------------------------------------------- disks


def _volatile(platform: Platform) -> list[str]:
    contents = platform.rack.array("az05-array").contents(platform.made["volume-AZ05"])
    return [disk_id for disk_id, _ in contents.volatile]


def test_a_nonpersistent_disk_drops_its_writes_at_power_off_only(roomy: Platform) -> None:
    machine_id = roomy.deploy("volatile")
    body = {"virtualMachineId": machine_id, "capacity": GIB, "diskMode": "independent_nonpersistent"}
    disk_id = roomy.done("POST", DISKS, body)
    assert roomy.get(f"{DISKS}/{disk_id}")["diskMode"] == "independent_nonpersistent"
    assert _volatile(roomy) == [disk_id]
    _power(roomy, machine_id, "reset")
    roomy.rack.faults.kill_daemon(roomy.made["volume-AZ05"])
    assert roomy.settled() == []
    assert _volatile(roomy) == [disk_id]
    assert roomy.refused("PATCH", DISKS, {"id": disk_id, "newCapacity": 2 * GIB})["code"] == "storage.volatile_disk"
    assert roomy.refused("PATCH", DISKS, {"id": disk_id, "diskMode": "persistent"})["code"] == "compute.wrong_power"
    _power(roomy, machine_id, "off")
    assert _volatile(roomy) == []
    roomy.done("PATCH", DISKS, {"id": disk_id, "newCapacity": 2 * GIB, "diskMode": "persistent"})
    disk = roomy.get(f"{DISKS}/{disk_id}")
    assert (disk["capacity"], disk["diskMode"]) == (2 * GIB, "persistent")
    _power(roomy, machine_id, "on")
    assert _volatile(roomy) == []
    roomy.remove(machine_id)


def test_a_patch_that_changes_nothing_completes_and_a_shrink_fails(roomy: Platform) -> None:
    machine_id = roomy.deploy("patched", powerOn=False)
    disk_id = roomy.done("POST", DISKS, {"virtualMachineId": machine_id, "capacity": GIB})
    roomy.done("PATCH", DISKS, {"id": disk_id, "newCapacity": GIB, "diskMode": "persistent"})
    roomy.done("PATCH", DISKS, {"id": disk_id})
    assert "would shrink" in roomy.failed("PATCH", DISKS, {"id": disk_id, "newCapacity": GIB // 2})
    both = {"datastoreId": roomy.made["volume-AZ05"], "datastoreClusterId": roomy.made["volume-AZ05"]}
    error = roomy.refused("POST", DISKS, {"virtualMachineId": machine_id, "capacity": GIB, **both})
    assert error["code"] == "storage.datastore_choice"
    roomy.remove(machine_id)


def test_an_unmounted_disk_keeps_its_file_and_is_mounted_elsewhere(roomy: Platform) -> None:
    one, other = roomy.deploy("giver"), roomy.deploy("taker")
    disk_id = roomy.done("POST", DISKS, {"virtualMachineId": one, "capacity": GIB})
    path = roomy.get(f"{DISKS}/{disk_id}")["diskPath"]
    roomy.done("POST", f"{DISKS}/mount", {"virtualMachineId": one, "path": path})
    error = roomy.refused("POST", f"{DISKS}/mount", {"virtualMachineId": other, "path": path})
    assert (error["code"], error["details"]["machine"]) == ("storage.disk_elsewhere", "giver")
    roomy.done("POST", f"{DISKS}/unmount", {"virtualDiskId": disk_id})
    disk = roomy.get(f"{DISKS}/{disk_id}")
    assert (disk["virtualMachineId"], disk["controller"]["id"], disk["diskPath"]) == ("", "", path)
    assert disk_id not in {entry.id for entry in definitions.disks(_live(roomy, one))}
    assert roomy.settled() == []
    roomy.remove(one)
    error = roomy.refused("PATCH", DISKS, {"id": disk_id, "newCapacity": 2 * GIB})
    assert error["code"] == "storage.disk_unattached"
    roomy.done("POST", f"{DISKS}/mount", {"virtualMachineId": other, "path": path})
    disk = roomy.get(f"{DISKS}/{disk_id}")
    assert (disk["virtualMachineId"], disk["name"]) == (other, "Hard disk 2")
    assert disk_id in {entry.id for entry in definitions.disks(_live(roomy, other))}
    roomy.done("POST", f"{DISKS}/unmount", {"virtualDiskId": disk_id})
    roomy.done("DELETE", f"{DISKS}/{disk_id}")
    roomy.remove(other)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("[volume-AZ05] disks/../../../etc/passwd", "storage.disk_path"),
        ("/etc/passwd", "storage.disk_path"),
        ("[volume-AZ05] templates/{id}.qcow2", "storage.disk_path"),
        ("[volume-AZ06] disks/{id}.qcow2", "naos.unknown"),
        ("[volume-AZ05] disks/6a7d3f0e-0d5b-4f4e-9d6a-2f0c8c1b7e11.qcow2", "naos.unknown"),
    ],
)
def test_only_a_disk_of_the_tenant_is_mounted(roomy: Platform, path: str, code: str) -> None:
    machine_id = roomy.deploy("wary", powerOn=False)
    (disk,) = roomy.get(DISKS, virtualMachineId=machine_id)
    body = {"virtualMachineId": machine_id, "path": path.format(id=disk["id"])}
    assert roomy.refused("POST", f"{DISKS}/mount", body)["code"] == code
    roomy.remove(machine_id)


# ------------------------------------------------------------------------------------------------------------- adapters


def test_an_adapter_starts_disconnected_and_auto_connect_is_the_cable_at_the_start(roomy: Platform) -> None:
    machine_id = roomy.deploy("wired", networkAdapters=[], powerOn=False)
    body = {"virtualMachineId": machine_id, "networkId": roomy.made["vlan"], "type": "VMXNET3"}
    adapter = roomy.get(f"{ADAPTERS}/{roomy.done('POST', ADAPTERS, {**body, 'macAddress': '00:50:56:86:4A:27'})}")
    assert (adapter["connected"], adapter["autoConnect"], adapter["macType"]) == (False, False, "MANUAL")
    assert (adapter["macAddress"], adapter["name"]) == ("00:50:56:86:4A:27", "Network adapter 1")
    unchanged = {"id": adapter["id"], "newNetworkId": roomy.made["vlan"], "autoConnect": False}
    roomy.done("PATCH", ADAPTERS, unchanged)
    after = roomy.get(f"{ADAPTERS}/{adapter['id']}")
    assert (after["macType"], after["macAddress"]) == ("ASSIGNED", "00:50:56:86:4A:27")
    _power(roomy, machine_id, "on")
    assert roomy.get(f"{ADAPTERS}/{adapter['id']}")["connected"] is False
    roomy.done("PATCH", ADAPTERS, {**unchanged, "autoConnect": True})
    assert roomy.get(f"{ADAPTERS}/{adapter['id']}")["connected"] is False
    _power(roomy, machine_id, "off")
    _power(roomy, machine_id, "on")
    assert roomy.get(f"{ADAPTERS}/{adapter['id']}")["connected"] is True
    assert [nic.connected for nic in definitions.nics(_live(roomy, machine_id))] == [True]
    roomy.done("PATCH", f"{ADAPTERS}/disconnect", {"id": adapter["id"]})
    assert [nic.connected for nic in definitions.nics(_live(roomy, machine_id))] == [False]
    roomy.remove(machine_id)


@pytest.mark.parametrize(("kind", "model"), [("VMXNET3", "virtio"), ("E1000", "e1000"), ("E1000E", "e1000e")])
def test_an_adapters_type_is_what_the_guest_gets(roomy: Platform, kind: str, model: str) -> None:
    machine_id = roomy.deploy("typed", networkAdapters=[])
    body = {"virtualMachineId": machine_id, "networkId": roomy.made["vlan"], "type": kind}
    assert roomy.get(f"{ADAPTERS}/{roomy.done('POST', ADAPTERS, body)}")["type"] == kind
    assert [nic.model for nic in definitions.nics(_live(roomy, machine_id))] == [model]
    roomy.remove(machine_id)


def test_an_address_needs_a_managed_network(roomy: Platform) -> None:
    machine_id = roomy.deploy("addressed", powerOn=False)
    body = {"virtualMachineId": machine_id, "networkId": roomy.made["vlan"], "ipAddress": "10.0.0.9"}
    assert roomy.refused("POST", ADAPTERS, body)["code"] == "network.no_vpc"
    (adapter,) = roomy.get(ADAPTERS, virtualMachineId=machine_id)
    change = {"id": adapter["id"], "newNetworkId": roomy.made["vlan"], "ipAddress": "10.0.0.9"}
    assert roomy.refused("PATCH", ADAPTERS, change)["code"] == "network.no_vpc"
    assert roomy.refused("POST", ADAPTERS, {**body, "type": "TOKENRING"})["status"] == 422
    roomy.remove(machine_id)


def test_two_adapters_with_one_mac_are_refused_whatever_the_case_of_its_letters(roomy: Platform) -> None:
    machine_id = roomy.deploy("twin", powerOn=False)
    body = {"virtualMachineId": machine_id, "networkId": roomy.made["vlan"]}
    roomy.done("POST", ADAPTERS, {**body, "macAddress": "02:AB:CD:00:00:01"})
    assert roomy.refused("POST", ADAPTERS, {**body, "macAddress": "02:ab:cd:00:00:01"})["code"] == "network.mac_taken"
    roomy.remove(machine_id)


# ---------------------------------------------------------------------------------------------------------------- lists


def test_lists_take_as_many_statements_for_twenty_as_for_two(roomy: Platform) -> None:
    def asked(path: str) -> int:
        with statements(roomy.services.database.engine) as seen:
            roomy.get(path)
        return len(seen)

    machine_id = roomy.deploy("listed", powerOn=False)
    paths = (DISKS, CONTROLLERS, ADAPTERS, SNAPSHOTS)
    few = [asked(path) for path in paths]
    for _ in range(8):
        roomy.done("POST", DISKS, {"virtualMachineId": machine_id, "capacity": MIB})
        roomy.done("POST", ADAPTERS, {"virtualMachineId": machine_id, "networkId": roomy.made["vlan"]})
        roomy.done("POST", SNAPSHOTS, {"virtualMachineId": machine_id, "name": "one of many"})
    for kind in ("SCSI", "USB2", "USB3", "CD/DVD"):
        _controller(roomy, machine_id, kind)
    assert [asked(path) for path in paths] == few
    roomy.remove(machine_id)
