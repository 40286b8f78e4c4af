"""Controllers, drives, disks on SCSI and adapters' models in a definition."""

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from naos.engines.hypervisor import devices, drives, xml
from naos.engines.hypervisor.xml import Traits
from naos.engines.ports import DomainCdrom, DomainController, DomainDisk, DomainNic, DomainSpec, NbdAddress
from naos.units import GIB

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
TCG = Traits("tcg", "10.0.0.11")
MACHINE = "7f3c9f4e-0f5b-4d0a-9c58-0a4c3d1f2b11"


def _id(number: int) -> str:
    return f"a1b2c3d4-0000-4000-8000-0000000000{number:02x}"


def _disk(number: int, **place) -> DomainDisk:
    return DomainDisk(_id(number), number, NbdAddress("10.0.0.5", 10809, f"{_id(number)}.1"), **place)


SCSI = DomainController(_id(20), "scsi", "virtio-scsi", 0)
LSI = DomainController(_id(21), "scsi", "lsilogic", 1)
USB = DomainController(_id(22), "usb", "qemu-xhci", 0)
IDE_DRIVE = DomainCdrom(_id(30), "ide", 2, "/media/a.iso")
SCSI_DRIVE = DomainCdrom(_id(31), "scsi", 8)
PLAIN = DomainSpec(id=MACHINE, title="one", vcpus=1, cores_per_socket=1, memory=GIB, disks=[_disk(0)])
FULL = replace(
    PLAIN,
    disks=[
        _disk(0),
        _disk(1, bus="scsi", controller=0, slot=63),
        _disk(2, bus="lsi", controller=1, slot=6),
    ],
    nics=[
        DomainNic(_id(40 + number), number, f"02:4e:00:00:00:{number:02x}", "vlan10", model=model)
        for number, model in enumerate(("virtio", "e1000", "e1000e"))
    ],
    controllers=[SCSI, LSI, USB],
    cdroms=[IDE_DRIVE, SCSI_DRIVE],
    cdrom="/seeds/seed.iso",
)


def _managed(root, tag):
    return {devices.identity(entry): entry for entry in root.iterfind(f"devices/{tag}") if devices.identity(entry)}


def _address(element):
    return {name: element.find("address").get(name) for name in ("controller", "bus", "target", "unit")}


def test_every_device_stands_where_it_was_put() -> None:
    root = xml.new(FULL, TCG)
    disks = _managed(root, "disk")
    assert [disks[_id(number)].find("target").get("dev") for number in range(3)] == ["vda", "sdb", "sdc"]
    assert disks[_id(0)].find("address") is None
    assert _address(disks[_id(1)]) == {"controller": "0", "bus": "0", "target": "63", "unit": "0"}
    assert _address(disks[_id(2)]) == {"controller": "1", "bus": "0", "target": "0", "unit": "6"}
    assert disks[_id(30)].find("target").attrib == {"dev": "hdc", "bus": "ide"}
    assert _address(disks[_id(30)]) == {"controller": "0", "bus": "1", "target": "0", "unit": "0"}
    assert drives.holds(disks[_id(30)]) == "/media/a.iso"
    assert drives.holds(disks[_id(31)]) is None
    assert _address(disks[_id(31)])["controller"] == "8"
    models = {key: entry.get("model") for key, entry in _managed(root, "controller").items()}
    brought = drives.bus_id(_id(31))
    assert models == {_id(20): "virtio-scsi", _id(21): "lsilogic", _id(22): "qemu-xhci", brought: "virtio-scsi"}
    assert [entry.find("model").get("type") for entry in root.iterfind("devices/interface")] == [
        "virtio",
        "e1000",
        "e1000e",
    ]
    assert devices.find(root, devices.CDROM) is not None


def test_a_machine_without_usb_says_so_and_one_with_it_does_not() -> None:
    root = xml.new(PLAIN, TCG)
    none = "devices/controller[@type='usb'][@model='none']"
    assert len(root.findall(none)) == 1
    xml.converge(root, FULL, TCG)
    assert root.findall(none) == []
    xml.converge(root, PLAIN, TCG)
    assert len(root.findall(none)) == 1
    assert set(_managed(root, "disk")) == {_id(0)}
    assert _managed(root, "controller") == {}


def test_converging_twice_changes_nothing_and_keeps_the_places_that_libvirt_gave() -> None:
    root = xml.new(FULL, TCG)
    for entry in _managed(root, "controller").values():
        etree.SubElement(entry, "address", type="pci", slot="0x09")
    before = xml.render(root)
    xml.converge(root, FULL, TCG)
    assert xml.render(root) == before


def test_an_image_comes_and_goes_and_the_drive_stays() -> None:
    root = xml.new(FULL, TCG)
    xml.converge(root, replace(FULL, cdroms=[replace(IDE_DRIVE, path=None), replace(SCSI_DRIVE, path="/b.iso")]), TCG)
    disks = _managed(root, "disk")
    assert (drives.holds(disks[_id(30)]), drives.holds(disks[_id(31)])) == (None, "/b.iso")


def test_a_disk_that_leaves_scsi_gives_its_place_up() -> None:
    root = xml.new(FULL, TCG)
    xml.converge(root, replace(FULL, disks=[_disk(0), _disk(1)]), TCG)
    moved = _managed(root, "disk")[_id(1)]
    assert (moved.find("target").get("bus"), moved.find("address")) == ("virtio", None)


@pytest.mark.skipif(not SCHEMA.exists(), reason="libvirt's schemas are not installed")
def test_libvirt_s_own_schema_takes_it() -> None:
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    root = etree.fromstring(xml.render(xml.new(FULL, TCG)))
    assert schema.validate(root), schema.error_log
