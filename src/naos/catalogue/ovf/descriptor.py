"""What an OVF descriptor says of one machine: its hardware, disks, networks and properties."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from naos.catalogue.images.errors import BadDescriptor, ForeignFile, UnsupportedFormat
from naos.catalogue.ovf import properties
from naos.catalogue.ovf.document import Element, attribute, child, children, inner, local, one_line, parse
from naos.catalogue.ovf.properties import Property
from naos.units import GIB, MIB, TIB

MOST_DISKS = 16
MOST_ADAPTERS = 16
MOST_ITEMS = 256
LARGEST_CAPACITY = 64 * TIB
_UNIT = re.compile(r"byte(?:\s*\*\s*(\d{1,2})\s*\^\s*(\d{1,2}))?", re.IGNORECASE)
_OLD_UNITS = {"": 1, "bytes": 1, "kilobytes": 2**10, "megabytes": MIB, "gigabytes": GIB, "terabytes": TIB}
_DISK_REFERENCE = re.compile(r"(?:ovf:)?/(disk|file)/(.+)")
_CPU, _MEMORY, _ADAPTER, _DISK = "3", "4", "10", "17"
_CONTROLLERS = {"5": "IDE", "6": "SCSI", "20": "SATA", "23": "USB"}


class Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Adapter(Part):
    """`network` names one of the descriptor's networks."""

    id: str
    name: str
    network: str
    type: str


class Controller(Part):
    """`type`: IDE, SCSI, SATA or USB; `sub_type` as the descriptor has it (lsilogic, VirtualSCSI, AHCI...)."""

    id: str
    name: str
    type: str
    sub_type: str


class SourceDisk(Part):
    """A disk: `file` is the name of its file beside the descriptor, empty for a blank disk; `capacity` in bytes as declared, 0
    when it is not. compression: empty or gzip. chunk: bytes of each part of a file in parts, 0 for a whole one."""

    id: str
    name: str
    capacity: int
    controller: str = ""
    unit: int = 0
    file: str = ""
    compression: str = ""
    chunk: int = 0


class ExtraConfig(Part):
    key: str
    value: str
    required: bool


class Descriptor(Part):
    """One machine. memory: bytes. Zero and empty: the descriptor does not say."""

    name: str = ""
    cpu: int = 0
    cores_per_socket: int = 0
    memory: int = 0
    firmware: str = ""
    system_id: str = ""
    system_name: str = ""
    hardware_version: str = ""
    networks: list[str] = []
    adapters: list[Adapter] = []
    controllers: list[Controller] = []
    disks: list[SourceDisk] = []
    properties: list[Property] = []
    extra_config: list[ExtraConfig] = []
    transports: list[str] = []


def read(name: str, text: bytes) -> Descriptor:
    """Raises BadDescriptor, ForeignFile, UnsupportedFormat; `name` is the archive's, for messages."""
    return _Reader(name, parse(name, text)).descriptor()


def capacity(name: str, number: str, unit: str) -> int:
    """Bytes. Raises BadDescriptor for what is no number, names a property or a unknown unit, or is beyond all measure."""
    if not re.fullmatch(r"\d{1,20}", number.strip()):
        raise BadDescriptor(name, f"the capacity {number[:60]!r} is no whole number")
    size = int(number) * _factor(name, unit)
    if size > LARGEST_CAPACITY:
        raise BadDescriptor(name, f"a capacity of {size} bytes is beyond {LARGEST_CAPACITY}")
    return size


def _factor(name: str, unit: str) -> int:
    plain = " ".join(unit.split())
    if plain.lower() in _OLD_UNITS:
        return _OLD_UNITS[plain.lower()]
    found = _UNIT.fullmatch(plain)
    if not found:
        raise BadDescriptor(name, f"the unit {unit[:60]!r} is unknown")
    base, power = (int(found[1]), int(found[2])) if found[1] else (1, 1)
    if base not in {1, 2, 10} or power > 60:
        raise BadDescriptor(name, f"the unit {unit[:60]!r} is unknown")
    return int(base**power)


def _guest(section: Element) -> dict[str, Any]:
    identifier = attribute(section, "osType") or attribute(section, "id")
    return {"system_id": identifier[:64], "system_name": inner(section, "Description")[:255]}


class _Reader:
    """One reading of an envelope."""

    def __init__(self, name: str, root: Element) -> None:
        self.name, self.root = name, root

    def descriptor(self) -> Descriptor:
        systems = [element for element in self.root if local(element) in {"VirtualSystem", "Content"}]
        nested = sum(
            1 for element in self.root.iter() if local(element) in {"VirtualSystem", "VirtualSystemCollection"}
        )
        if len(systems) > 1 or nested > len(systems):
            raise BadDescriptor(self.name, "it holds several machines; export each one alone")
        if not systems:
            return Descriptor(disks=self._numbered(list(self._disks().values())))
        return self._system(systems[0])

    def _system(self, system: Element) -> Descriptor:
        hardware = next(self._sections(system, "VirtualHardwareSection"), None)
        items = self._items(hardware) if hardware is not None else []
        networks = self._networks()
        self._unique("network", networks)
        facts = self._hardware(hardware, items) if hardware is not None else {}
        adapters = self._adapters(items)
        for adapter in adapters:
            if networks and adapter.network and adapter.network not in networks:
                raise BadDescriptor(
                    self.name, f"adapter {adapter.name!r} is on network {adapter.network!r}, not listed"
                )
        declared = properties.declared(self.name, system, self._configuration())
        self._unique("property", [entry.key for entry in declared])
        described = next(self._sections(system, "OperatingSystemSection"), None)
        return Descriptor(
            name=one_line(inner(system, "Name") or attribute(system, "id"))[:255],
            networks=networks or sorted({adapter.network for adapter in adapters if adapter.network}),
            adapters=adapters,
            controllers=self._controllers(items),
            disks=self._attached(items),
            properties=declared,
            **facts,
            **(_guest(described) if described is not None else {}),
        )

    def _networks(self) -> list[str]:
        sections = self._sections(self.root, "NetworkSection")
        return [attribute(entry, "name")[:255] for section in sections for entry in children(section, "Network")]

    def _sections(self, parent: Element, name: str) -> Iterator[Element]:
        """Sections of a name; OVF 0.9 writes them as `Section` with a type."""
        for element in parent:
            if local(element) == name or (local(element) == "Section" and name in attribute(element, "type")):
                yield element

    def _unique(self, what: str, ids: Sequence[str]) -> None:
        repeated = next((entry for entry in ids if ids.count(entry) > 1), None) if len(ids) < MOST_ITEMS * 4 else None
        if len(ids) >= MOST_ITEMS * 4:
            raise BadDescriptor(self.name, f"it has {len(ids)} entries of the kind {what}")
        if repeated is not None:
            raise BadDescriptor(self.name, f"it has the {what} {repeated[:60]!r} twice")

    def _configuration(self) -> str:
        """The deployment option that applies when nobody chooses."""
        for section in self._sections(self.root, "DeploymentOptionSection"):
            options = list(children(section, "Configuration"))
            chosen = [entry for entry in options if attribute(entry, "default") == "true"] or options
            if chosen:
                return attribute(chosen[0], "id")
        return ""

    # ----------------------------------------------------------------------------------------------------- hardware

    def _items(self, hardware: Element) -> list[Element]:
        """Hardware items by their instance ids, in the order of the file; those of other configurations left out."""
        chosen, found = self._configuration(), dict[str, Element]()
        for item in children(hardware, "Item", "StorageItem", "EthernetPortItem"):
            configurations = attribute(item, "configuration").split()
            if configurations and chosen not in configurations:
                continue
            number = inner(item, "InstanceID", "InstanceId")
            if not number:
                raise BadDescriptor(
                    self.name, f"a hardware item ({inner(item, 'ElementName', 'Caption')[:60]}) has no id"
                )
            if number in found and not configurations:
                raise BadDescriptor(self.name, f"it has the hardware id {number[:60]!r} twice")
            found[number] = item
        if len(found) > MOST_ITEMS:
            raise BadDescriptor(self.name, f"it has {len(found)} hardware items, {MOST_ITEMS} is the most")
        return list(found.values())

    def _hardware(self, hardware: Element, items: Sequence[Element]) -> dict[str, Any]:
        system = child(hardware, "System")
        facts: dict[str, Any] = {
            "transports": attribute(hardware, "transport").split(),
            "hardware_version": inner(system, "VirtualSystemType").split(" ")[0][:64] if system is not None else "",
        }
        for item in items:
            match inner(item, "ResourceType"):
                case "3":
                    facts["cpu"] = self._whole("vCPUs", inner(item, "VirtualQuantity"), 4096)
                    cores = inner(item, "CoresPerSocket")
                    facts["cores_per_socket"] = self._whole("cores per socket", cores, 4096) if cores else 0
                case "4":
                    units = inner(item, "AllocationUnits") or "byte * 2^20"
                    facts["memory"] = capacity(self.name, inner(item, "VirtualQuantity"), units)
        settings = {attribute(entry, "key"): attribute(entry, "value") for entry in children(hardware, "Config")}
        firmware = settings.get("firmware", "").lower()
        facts["firmware"] = firmware if firmware in {"bios", "efi"} else ""
        facts["extra_config"] = [
            ExtraConfig(
                key=attribute(entry, "key")[:255],
                value=attribute(entry, "value")[:4096],
                required=attribute(entry, "required", "true") == "true",
            )
            for entry in children(hardware, "ExtraConfig")
        ]
        return facts

    def _whole(self, what: str, text: str, most: int) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not 1 <= int(text) <= most:
            raise BadDescriptor(self.name, f"{text[:60]!r} is no number of {what} (1 to {most})")
        return int(text)

    def _adapters(self, items: Sequence[Element]) -> list[Adapter]:
        found = [
            Adapter(
                id=inner(item, "InstanceID", "InstanceId")[:64],
                name=(inner(item, "ElementName", "Caption") or f"Network adapter {number}")[:255],
                network=inner(item, "Connection")[:255],
                type=(inner(item, "ResourceSubType").split(" ") or [""])[0][:32],
            )
            for number, item in enumerate((item for item in items if inner(item, "ResourceType") == _ADAPTER), start=1)
        ]
        if len(found) > MOST_ADAPTERS:
            raise BadDescriptor(self.name, f"it has {len(found)} adapters, {MOST_ADAPTERS} is the most")
        return found

    def _controllers(self, items: Sequence[Element]) -> list[Controller]:
        return [
            Controller(
                id=inner(item, "InstanceID", "InstanceId")[:64],
                name=(inner(item, "ElementName", "Caption") or _CONTROLLERS[kind])[:255],
                type=_CONTROLLERS[kind],
                sub_type=inner(item, "ResourceSubType")[:64],
            )
            for item in items
            if (kind := inner(item, "ResourceType")) in _CONTROLLERS
        ]

    # -------------------------------------------------------------------------------------------------------- disks

    def _disks(self) -> dict[str, SourceDisk]:
        """The disk section, by disk id."""
        files = self._files()
        listed = [entry for section in self._sections(self.root, "DiskSection") for entry in children(section, "Disk")]
        self._unique("disk", [attribute(entry, "diskId") for entry in listed])
        return {attribute(entry, "diskId"): self._disk(entry, files) for entry in listed}

    def _files(self) -> dict[str, Element]:
        listed = [entry for part in children(self.root, "References") for entry in children(part, "File")]
        self._unique("file", [attribute(entry, "id") for entry in listed])
        self._unique("file", [attribute(entry, "href") for entry in listed])
        return {attribute(entry, "id"): entry for entry in listed}

    def _disk(self, entry: Element, files: dict[str, Element]) -> SourceDisk:
        identifier = attribute(entry, "diskId")
        if attribute(entry, "parentRef"):
            raise ForeignFile(self.name, "parent disk", attribute(entry, "parentRef"))
        number, unit = attribute(entry, "capacity"), attribute(entry, "capacityAllocationUnits")
        size = capacity(self.name, number, unit or "byte") if number else 0
        reference = attribute(entry, "fileRef")
        if not reference:
            if not size:
                raise BadDescriptor(self.name, f"disk {identifier[:60]!r} has neither file nor capacity")
            return SourceDisk(id=identifier[:64], name=identifier[:255], capacity=size)
        if reference not in files:
            raise BadDescriptor(
                self.name, f"disk {identifier[:60]!r} has the file {reference[:60]!r}, which is not listed"
            )
        return self._of_file(identifier, size, files[reference])

    def _of_file(self, identifier: str, size: int, file: Element) -> SourceDisk:
        compression = attribute(file, "compression").lower()
        if compression not in {"", "identity", "gzip"}:
            found = f"appliance with a {compression[:60]} disk"
            raise UnsupportedFormat(self.name, found, "Unpack its disk, or pack it with gzip.")
        chunk = attribute(file, "chunkSize")
        if chunk and not re.fullmatch(r"[1-9]\d{0,14}", chunk):
            raise BadDescriptor(self.name, f"the part size {chunk[:60]!r} is no whole number")
        return SourceDisk(
            id=identifier[:64],
            name=identifier[:255],
            capacity=size,
            file=attribute(file, "href"),
            compression="gzip" if compression == "gzip" else "",
            chunk=int(chunk or 0),
        )

    def _attached(self, items: Sequence[Element]) -> list[SourceDisk]:
        """The disks that the hardware has, by controller and address; all of them when it has none."""
        disks, files = self._disks(), self._files()
        places = {inner(item, "InstanceID", "InstanceId"): position for position, item in enumerate(items)}
        found: list[tuple[int, int, int, SourceDisk]] = []
        for item in (item for item in items if inner(item, "ResourceType") == _DISK):
            reference = _DISK_REFERENCE.fullmatch(inner(item, "HostResource"))
            disk = disks.get(reference[2]) if reference and reference[1] == "disk" else None
            if reference and reference[1] == "file" and reference[2] in files:
                disk = self._of_file(reference[2], 0, files[reference[2]])
            if disk is None:
                raise BadDescriptor(self.name, f"a disk is {inner(item, 'HostResource')[:60]!r}, which is not listed")
            address, parent = inner(item, "AddressOnParent"), inner(item, "Parent")
            disk = disk.model_copy(
                update={
                    "name": (inner(item, "ElementName", "Caption") or disk.name)[:255],
                    "controller": parent[:64],
                    "unit": int(address) if re.fullmatch(r"\d{1,4}", address) else len(found),
                }
            )
            found.append((places.get(parent, len(places)), disk.unit, len(found), disk))
        return self._numbered(
            [entry[-1] for entry in sorted(found, key=lambda entry: entry[:3])] or list(disks.values())
        )

    def _numbered(self, disks: list[SourceDisk]) -> list[SourceDisk]:
        if not 1 <= len(disks) <= MOST_DISKS:
            raise BadDescriptor(self.name, f"it has {len(disks)} disks; 1 to {MOST_DISKS} are taken")
        return disks
