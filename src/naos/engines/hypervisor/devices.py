"""Disks, adapters and modules of memory in a domain's XML. naos' own carry the alias ``ua-<id>``; others are left alone."""

from collections.abc import Iterable, Sequence
from string import ascii_lowercase

from lxml import etree

from naos.engines.ports import DomainDisk, DomainNic, NbdAddress, guest_port

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type

CDROM = "cdrom"
MODULE = "memory-module"
_PREFIX = "ua-"

# A disk that does not answer stops the guest instead of failing inside it; nothing is cached on the blade.
_DISK_DRIVER = {
    "name": "qemu",
    "type": "raw",
    "cache": "none",
    "discard": "unmap",
    "error_policy": "stop",
    "rerror_policy": "stop",
}
_STOPPING = ("error_policy", "rerror_policy")  # held whatever became of a disk: a fence and a lost array count on it
IOTHREAD = "1"
"""The machine's thread that serves its disks: else the one that does everything for all of its devices would."""


def child(parent: Element, name: str) -> Element:
    """The first child of that name, made when there is none."""
    found = parent.find(name)
    return etree.SubElement(parent, name) if found is None else found


def drop(parent: Element, name: str) -> None:
    for found in parent.findall(name):
        parent.remove(found)


def set_or_drop(element: Element, attribute: str, value: str | None) -> None:
    if value is not None:
        element.set(attribute, value)
    elif attribute in element.attrib:
        del element.attrib[attribute]


# ------------------------------------------------------------------------------------------------------------- identity


def identity(device: Element) -> str | None:
    """The id that naos gave a device, None for one that is not naos'."""
    alias = device.find("alias")
    name = alias.get("name", "") if alias is not None else ""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def find(root: Element, device_id: str) -> Element | None:
    """The device with that id."""
    for device in root.iterfind("devices/*"):
        if identity(device) == device_id:
            return device
    return None


def remove(root: Element, device_id: str) -> bool:
    """Take a device out of the definition; False when it is not there."""
    device = find(root, device_id)
    if device is None:
        return False
    forget(device)
    return True


def append(root: Element, device: Element) -> None:
    child(root, "devices").append(device)


def forget(device: Element) -> None:
    parent = device.getparent()
    if parent is not None:
        parent.remove(device)


def named(tag: str, device_id: str) -> Element:
    device = etree.Element(tag)
    etree.SubElement(device, "alias", name=_PREFIX + device_id)
    return device


def managed(root: Element, tag: str) -> dict[str, Element]:
    found = {}
    for device in root.iterfind(f"devices/{tag}"):
        device_id = identity(device)
        if device_id is not None and device_id != CDROM and device.get("device") != "cdrom":
            found[device_id] = device
    return found


def drop_others(managed: dict[str, Element], wanted: Iterable[str]) -> None:
    for device_id in managed.keys() - set(wanted):
        forget(managed[device_id])


# ---------------------------------------------------------------------------------------------------------------- disks


def target_name(unit: int, prefix: str = "vd") -> str:
    """0 -> vda, 25 -> vdz, 26 -> vdaa."""
    letters = ""
    number = unit + 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = ascii_lowercase[letter] + letters
    return prefix + letters


def disk(wanted: DomainDisk) -> Element:
    made = named("disk", wanted.id)
    made.set("type", "network")
    made.set("device", "disk")
    driver = child(made, "driver")
    for name, value in _DISK_DRIVER.items():
        driver.set(name, value)
    edit_disk(made, wanted)
    return made


def edit_disk(element: Element, wanted: DomainDisk) -> None:
    """Point a disk at its export and place; its driver's other settings, limits and PCI address stay."""
    driver = child(element, "driver")
    for policy in _STOPPING:
        driver.set(policy, _DISK_DRIVER[policy])
    source = child(element, "source")
    if address_of(element) != wanted.source:
        for name in list(source):
            source.remove(name)
        source.attrib.clear()
        source.attrib.update({"protocol": "nbd", "name": wanted.source.name})
        if wanted.source.tls:
            source.set("tls", "yes")
        etree.SubElement(source, "host", name=wanted.source.host, port=str(wanted.source.port))
    _set_place(element, wanted)
    child(element, "serial").text = wanted.id


def _set_place(element: Element, wanted: DomainDisk) -> None:
    """Where the guest finds it. A PCI address that libvirt has given stays as long as it is a device of the PCI bus."""
    target, bus = child(element, "target"), "virtio" if wanted.bus == "virtio" else "scsi"
    if target.get("bus") != bus:
        drop(element, "address")
        set_or_drop(child(element, "driver"), "iothread", None)
    target.set("dev", target_name(wanted.unit, "vd" if bus == "virtio" else "sd"))
    target.set("bus", bus)
    if bus == "scsi":
        address = drive_address(wanted.controller, 0)
        address["unit" if wanted.bus == "lsi" else "target"] = str(wanted.slot)
        child(element, "address").attrib.update(address)


def set_iothread(element: Element) -> None:
    """Have a disk served by the machine's own thread for that, if it is on the bus that can."""
    if child(element, "target").get("bus") == "virtio":
        child(element, "driver").set("iothread", IOTHREAD)


def drive_address(controller: int, target: int) -> dict[str | bytes, str | bytes]:
    return {"type": "drive", "controller": str(controller), "bus": "0", "target": str(target), "unit": "0"}


def address_of(element: Element) -> NbdAddress | None:
    """Where a disk's data is, None for a disk of another kind."""
    source = element.find("source[@protocol='nbd']")
    host = source.find("host") if source is not None else None
    if source is None or host is None:
        return None
    tls = source.get("tls") == "yes"
    return NbdAddress(host.get("name", ""), int(host.get("port", "10809")), source.get("name", ""), tls)


def target_of(element: Element) -> str:
    """The name of a disk or an adapter inside libvirt: vda, vnet3."""
    target = element.find("target")
    return target.get("dev", "") if target is not None else ""


def bus_of(element: Element) -> str:
    target = element.find("target")
    return target.get("bus", "") if target is not None else ""


def alias_of(element: Element) -> str:
    """What QEMU calls a device of a running machine: virtio-disk1."""
    alias = element.find("alias")
    return alias.get("name", "") if alias is not None else ""


def converge_disks(root: Element, wanted: Sequence[DomainDisk]) -> None:
    present = managed(root, "disk")
    drop_others(present, (entry.id for entry in wanted))
    for entry in sorted(wanted, key=lambda entry: entry.unit):
        if entry.id in present:
            edit_disk(present[entry.id], entry)
        else:
            append(root, disk(entry))


def set_cdrom(root: Element, path: str | None) -> None:
    """A machine starts without an image that is not there (any more): a seed is only read at the first start."""
    device = find(root, CDROM)
    if path is None:
        if device is not None:
            forget(device)
        return
    if device is None:
        device = named("disk", CDROM)
        device.set("type", "file")
        device.set("device", "cdrom")
        child(device, "driver").attrib.update({"name": "qemu", "type": "raw"})
        child(device, "target").attrib.update({"dev": "hda", "bus": "ide"})
        child(device, "readonly")
        append(root, device)
    child(device, "source").attrib.update({"file": path, "startupPolicy": "optional"})


def names_by_target(root: Element) -> dict[str, str]:
    """Target name -> disk id, of naos' disks in a running machine's XML."""
    return {target_of(device): device_id for device_id, device in managed(root, "disk").items()}


# ------------------------------------------------------------------------------------------------------------- adapters


def nic(wanted: DomainNic) -> Element:
    made = named("interface", wanted.id)
    made.set("type", "bridge")
    child(made, "model")
    edit_nic(made, wanted)
    return made


def edit_nic(element: Element, wanted: DomainNic) -> None:
    child(element, "model").set("type", wanted.model)
    child(element, "mac").set("address", wanted.mac)
    child(element, "mtu").set("size", str(wanted.mtu))
    child(element, "target").set("dev", guest_port(wanted.id))
    connect_nic(element, wanted)


def connect_nic(element: Element, wanted: DomainNic) -> None:
    """What may change while the guest holds the card: its bridge and its link."""
    child(element, "source").set("bridge", wanted.bridge)
    child(element, "link").set("state", "up" if wanted.connected else "down")


def is_connected_so(element: Element, wanted: DomainNic) -> bool:
    source, link = element.find("source"), element.find("link")
    state = link.get("state", "up") if link is not None else "up"
    return source is not None and source.get("bridge") == wanted.bridge and (state == "up") == wanted.connected


def mac_of(element: Element) -> str:
    mac = element.find("mac")
    return mac.get("address", "").lower() if mac is not None else ""


def mtu_of(element: Element) -> int | None:
    mtu = element.find("mtu")
    return int(mtu.get("size", "0")) if mtu is not None else None


def converge_nics(root: Element, wanted: Sequence[DomainNic]) -> None:
    present = managed(root, "interface")
    drop_others(present, (entry.id for entry in wanted))
    for entry in sorted(wanted, key=lambda entry: entry.unit):
        if entry.id in present:
            edit_nic(present[entry.id], entry)
        else:
            append(root, nic(entry))


def macs_by_target(root: Element) -> dict[str, str]:
    """Name of the port on the blade -> MAC address, of every adapter in a running machine's XML."""
    return {target_of(device): mac_of(device) for device in root.iterfind("devices/interface")}


# --------------------------------------------------------------------------------------------------------------- memory


def memory_module(size: int, number: int) -> Element:
    """Memory to plug into a running guest. size: bytes, whole 128 MiB blocks."""
    made = named("memory", f"{MODULE}-{number}")
    made.set("model", "dimm")
    target = child(made, "target")
    amount = child(target, "size")
    amount.set("unit", "KiB")
    amount.text = str(size // 1024)
    child(target, "node").text = "0"
    return made


def memory_modules(root: Element) -> list[int]:
    """Numbers of the modules that naos plugged in."""
    names = [identity(device) or "" for device in root.iterfind("devices/memory")]
    return sorted(int(name.rpartition("-")[2]) for name in names if name.startswith(f"{MODULE}-"))


def drop_memory_modules(root: Element) -> None:
    for device in root.findall("devices/memory"):
        if (identity(device) or "").startswith(f"{MODULE}-"):
            forget(device)
