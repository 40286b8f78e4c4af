"""Devices of a blade's PCI bus that are handed whole to guests: its GPUs."""

from collections.abc import Sequence

import libvirt
from lxml import etree

from naos.engines.hypervisor.devices import append, child, drop_others, managed, named
from naos.engines.ports import BladeGpu

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type

DISPLAYS = ("0x0300", "0x0302")
"""How the class of a VGA and of a 3D controller begins."""


def gpus(connection: libvirt.virConnect) -> list[BladeGpu]:
    """Those in an IOMMU group, without which no device can be handed over; by address."""
    devices = connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV)
    found = [gpu for device in devices if (gpu := described(device.XMLDesc(0))) is not None]
    return sorted(found, key=lambda gpu: gpu.address)


def described(text: str) -> BladeGpu | None:
    """The GPU that a node device of libvirt is; None for anything else, and for one that cannot be handed over."""
    capability = etree.fromstring(text).find("capability[@type='pci']")
    if capability is None or capability.find("iommuGroup") is None:
        return None
    if not (capability.findtext("class") or "").startswith(DISPLAYS):
        return None
    domain, bus, slot, function = (
        int(capability.findtext(name) or 0) for name in ("domain", "bus", "slot", "function")
    )
    maker, product = capability.findtext("vendor") or "", capability.findtext("product") or "GPU"
    return BladeGpu(f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}", f"{maker} {product}".strip())


def converge(root: Element, addresses: Sequence[str]) -> None:
    """Hand over exactly these; what somebody else handed over stays."""
    wanted = {f"gpu-{address.replace(':', '-').replace('.', '-')}": address for address in addresses}
    present = managed(root, "hostdev")
    drop_others(present, wanted)
    for name, address in wanted.items():
        if name not in present:
            append(root, _hostdev(name, address))


def _hostdev(name: str, address: str) -> Element:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    made = named("hostdev", name)
    for attribute, value in (("mode", "subsystem"), ("type", "pci"), ("managed", "yes")):
        made.set(attribute, value)
    place = child(child(made, "source"), "address")
    for attribute, digits in (("domain", domain), ("bus", bus), ("slot", slot), ("function", function)):
        place.set(attribute, f"0x{digits}")
    return made
