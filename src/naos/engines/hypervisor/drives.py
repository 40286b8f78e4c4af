"""Drives for images, and controllers, in a domain's XML."""

from collections.abc import Sequence

from lxml import etree

from naos.engines.hypervisor.devices import (
    CDROM,
    Element,
    append,
    child,
    drive_address,
    drop,
    drop_others,
    forget,
    identity,
    managed,
    named,
    target_name,
)
from naos.engines.ports import DomainCdrom, DomainController

# --------------------------------------------------------------------------------------------------------------- drives

_FIRST_CD = 700  # names of drives for images begin far behind those of disks
_IDE_PER_CHANNEL = 2


def drive(wanted: DomainCdrom) -> Element:
    """A drive for images, with what is in it."""
    made = named("disk", wanted.id)
    made.set("type", "file")
    made.set("device", "cdrom")
    child(made, "driver").attrib.update({"name": "qemu", "type": "raw"})
    if wanted.bus == "ide":
        target: dict[str | bytes, str | bytes] = {"dev": target_name(wanted.place, "hd"), "bus": "ide"}
        channel, unit = divmod(wanted.place, _IDE_PER_CHANNEL)
        address = {**drive_address(0, 0), "bus": str(channel), "unit": str(unit)}
    else:
        target = {"dev": target_name(_FIRST_CD + wanted.place, "sd"), "bus": "scsi"}
        address = drive_address(wanted.place, 0)
    child(made, "target").attrib.update(target)
    child(made, "readonly")
    child(made, "address").attrib.update(address)
    fill_drive(made, wanted)
    return made


def fill_drive(element: Element, wanted: DomainCdrom) -> None:
    if wanted.path is None:
        drop(element, "source")
    else:
        source = child(element, "source")
        for name in list(source):
            source.remove(name)
        source.attrib.clear()
        source.set("file", wanted.path)


def holds(element: Element) -> str | None:
    """The image in a drive."""
    source = element.find("source")
    return source.get("file") if source is not None else None


def own_controller(wanted: DomainCdrom) -> DomainController | None:
    """The controller that a drive on SCSI brings along."""
    if wanted.bus != "scsi":
        return None
    return DomainController(bus_id(wanted.id), "scsi", "virtio-scsi", wanted.place)


def bus_id(drive_id: str) -> str:
    return f"{drive_id}-bus"


def converge_drives(root: Element, wanted: Sequence[DomainCdrom]) -> None:
    present = {
        device_id: device
        for device in root.iterfind("devices/disk[@device='cdrom']")
        if (device_id := identity(device)) is not None and device_id != CDROM
    }
    drop_others(present, (entry.id for entry in wanted))
    for entry in wanted:
        if entry.id in present:
            fill_drive(present[entry.id], entry)
        else:
            append(root, drive(entry))


# ---------------------------------------------------------------------------------------------------------- controllers


NOTHING = "/var/lib/libvirt/naos/empty-drive"
"""An empty file on the blade: libvirt plugs in no drive that is empty, so a new one comes with this and it is taken out."""
PLUGGABLE = ("virtio-scsi",)
"""Models that a running guest can be given."""


def controller(wanted: DomainController) -> Element:
    made = named("controller", wanted.id)
    made.attrib.update({"type": wanted.kind, "index": str(wanted.index), "model": wanted.model})
    return made


def filled_in(root: Element, wanted: DomainController) -> list[Element]:
    """Controllers that libvirt has put where `wanted` goes: it wants no gap in the indices of SCSI controllers."""
    path = f"devices/controller[@type='{wanted.kind}'][@index='{wanted.index}']"
    return [device for device in root.findall(path) if identity(device) is None]


def add_controller(root: Element, wanted: DomainController) -> None:
    """In place of what libvirt filled in, or of the words that the machine has no USB."""
    for device in filled_in(root, wanted):
        forget(device)
    if wanted.kind == "usb":
        for device in root.findall("devices/controller[@type='usb'][@model='none']"):
            forget(device)
    append(root, controller(wanted))


def converge_controllers(root: Element, wanted: Sequence[DomainController]) -> None:
    """Theirs is the order of `wanted`. A machine without a USB controller says so: libvirt would add one."""
    present = managed(root, "controller")
    had_usb = any(device.get("type") == "usb" for device in present.values())
    drop_others(present, (entry.id for entry in wanted))
    if had_usb and not any(entry.kind == "usb" for entry in wanted):
        append(root, etree.Element("controller", {"type": "usb", "index": "0", "model": "none"}))
    for entry in wanted:
        if entry.id in present:
            present[entry.id].set("index", str(entry.index))
        else:
            add_controller(root, entry)
