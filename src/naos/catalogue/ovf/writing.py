"""The OVF descriptor of a machine that leaves (OVF 1.1, with the settings that the common hypervisors look for beside it)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, groupby

from lxml import etree

from naos.catalogue.ovf.descriptor import Descriptor
from naos.catalogue.ovf.document import Element
from naos.catalogue.ovf.properties import Property

OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
RASD = f"{_CIM}/CIM_ResourceAllocationSettingData"
VSSD = f"{_CIM}/CIM_VirtualSystemSettingData"
VMW = "http://www.vmware.com/schema/ovf"
DISK_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_TYPES = {"IDE": "5", "SCSI": "6", "SATA": "20", "USB": "23"}
_OTHER_SYSTEM = "102"  # CIM's "other, 64 bits"


@dataclass(frozen=True)
class PackedDisk:
    """A disk's file in the package. Bytes: of the file, of the disk, and what is written in it."""

    file: str
    size: int
    capacity: int
    populated: int


def document(machine: Descriptor, packed: Sequence[PackedDisk]) -> bytes:
    """The descriptor of `machine`, whose disks are `packed` in their order. Equal arguments give equal bytes."""
    names = {"ovf": OVF, "rasd": RASD, "vssd": VSSD, "vmw": VMW}
    root = etree.Element(f"{{{OVF}}}Envelope", nsmap=names)
    references = _add(root, "References")
    for number, disk in enumerate(packed, start=1):
        _add(references, "File", id=f"file{number}", href=disk.file, size=str(disk.size))
    disks = _section(root, "DiskSection", "The virtual disks")
    for number, disk in enumerate(packed, start=1):
        _add(
            disks,
            "Disk",
            None,
            capacity=str(disk.capacity),
            capacityAllocationUnits="byte",
            diskId=f"disk{number}",
            fileRef=f"file{number}",
            format=DISK_FORMAT,
            populatedSize=str(disk.populated),
        )
    networks = _section(root, "NetworkSection", "The networks that its adapters are on")
    for network in machine.networks:
        _add(_add(networks, "Network", None, name=network), "Description", f"Network {network}")
    _system(root, machine, len(packed))
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def _add(parent: Element, name: str, text: str | None = None, /, **attributes: str) -> Element:
    element = etree.SubElement(parent, f"{{{OVF}}}{name}")
    element.text = text
    for key, value in attributes.items():
        element.set(f"{{{OVF}}}{key}", value)
    return element


def _section(parent: Element, name: str, about: str, /, **attributes: str) -> Element:
    section = _add(parent, name, **attributes)
    _add(section, "Info", about)
    return section


def _system(root: Element, machine: Descriptor, disks: int) -> None:
    system = _section(root, "VirtualSystem", "A virtual machine", id=machine.name)
    _add(system, "Name", machine.name)
    guest = _section(system, "OperatingSystemSection", "The guest's operating system", id=_OTHER_SYSTEM)
    if machine.system_id:
        guest.set(f"{{{VMW}}}osType", machine.system_id)
    if machine.system_name:
        _add(guest, "Description", machine.system_name)
    hardware = _section(system, "VirtualHardwareSection", "The virtual hardware")
    if machine.properties:
        hardware.set(f"{{{OVF}}}transport", " ".join(machine.transports) or "iso")
    described = _add(hardware, "System")
    for name, text in (
        ("ElementName", "Virtual Hardware Family"),
        ("InstanceID", "0"),
        ("VirtualSystemIdentifier", machine.name),
        ("VirtualSystemType", machine.hardware_version or "vmx-14"),
    ):
        etree.SubElement(described, f"{{{VSSD}}}{name}").text = text
    _items(hardware, machine, disks)
    if machine.firmware:
        _setting(hardware, "Config", "firmware", machine.firmware)
    for entry in machine.extra_config:
        _setting(hardware, "ExtraConfig", entry.key, entry.value)
    _products(system, machine.properties)


def _items(hardware: Element, machine: Descriptor, disks: int) -> None:
    """Their ids are numbers, from 1 on: some readers take nothing else."""
    numbers = map(str, count(1))
    cores = str(machine.cores_per_socket or 1)
    _item(hardware, {"ElementName": f"{machine.cpu} virtual CPUs", "InstanceID": next(numbers), "ResourceType": "3",
                     "VirtualQuantity": str(machine.cpu), "vmw:CoresPerSocket": cores})  # fmt: skip
    _item(hardware, {"AllocationUnits": "byte * 2^20", "ElementName": f"{machine.memory >> 20} MiB of memory",
                     "InstanceID": next(numbers), "ResourceType": "4",
                     "VirtualQuantity": str(machine.memory >> 20)})  # fmt: skip
    parents = {controller.id: next(numbers) for controller in machine.controllers}
    for position, controller in enumerate(machine.controllers):
        _item(hardware, {"Address": str(position), "ElementName": controller.name, "InstanceID": parents[controller.id],
                         "ResourceSubType": controller.sub_type, "ResourceType": _TYPES[controller.type]})  # fmt: skip
    for number, disk in enumerate(machine.disks[:disks], start=1):
        _item(hardware, {"AddressOnParent": str(disk.unit), "ElementName": disk.name,
                         "HostResource": f"ovf:/disk/disk{number}", "InstanceID": next(numbers),
                         "Parent": parents[disk.controller], "ResourceType": "17"})  # fmt: skip
    for place, adapter in enumerate(machine.adapters):
        _item(hardware, {"AddressOnParent": str(7 + place), "AutomaticAllocation": "true",
                         "Connection": adapter.network, "ElementName": adapter.name, "InstanceID": next(numbers),
                         "ResourceSubType": adapter.type, "ResourceType": "10"})  # fmt: skip


def _item(hardware: Element, fields: dict[str, str]) -> None:
    """Elements in the order of their names, as the schema wants them."""
    item = _add(hardware, "Item")
    for name, text in fields.items():
        space, _, plain = name.rpartition(":")
        etree.SubElement(item, f"{{{VMW if space else RASD}}}{plain}").text = text
        if space:
            item[-1].set(f"{{{OVF}}}required", "false")


def _setting(hardware: Element, name: str, key: str, value: str) -> None:
    entry = etree.SubElement(hardware, f"{{{VMW}}}{name}")
    entry.set(f"{{{OVF}}}required", "false")
    entry.set(f"{{{VMW}}}key", key)
    entry.set(f"{{{VMW}}}value", value)


def _products(system: Element, properties: Sequence[Property]) -> None:
    """One section for each class and instance; categories head what follows them."""
    for (product, instance), members in groupby(properties, lambda entry: (entry.product_class, entry.instance)):
        parts = {"class": product, "instance": instance}
        about = "What can be set at its deployment"
        section = _section(system, "ProductSection", about, **{key: text for key, text in parts.items() if text})
        category = ""
        for entry in members:
            if entry.category and entry.category != category:
                category = entry.category
                _add(section, "Category", category)
            _property(section, entry)


def _property(section: Element, entry: Property) -> None:
    attributes = {"key": entry.bare_key, "type": entry.type, "value": entry.default}
    flags = {"userConfigurable": entry.user_configurable, "required": entry.required, "password": entry.password}
    attributes |= {name: "true" for name, present in flags.items() if present}
    if entry.qualifiers:
        attributes["qualifiers"] = entry.qualifiers
    element = _add(section, "Property", None, **attributes)
    for name, text in (("Label", entry.label), ("Description", entry.description)):
        if text:
            _add(element, name, text)
