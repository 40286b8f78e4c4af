"""Domain definitions as XML in libvirt's words: pure functions from text to text that keep what they do not know."""

from collections.abc import Sequence
from dataclasses import dataclass

from lxml import etree

from naos.engines.ports import DomainCdrom, DomainController, DomainDisk, DomainNic, DomainSpec, NbdAddress

Element = etree._Element  # noqa: SLF001 - lxml names its element class so


@dataclass(frozen=True)
class Size:
    """vCPUs and bytes of memory, and how far both may grow while the domain runs; `removable`: vCPUs may be taken out, too."""

    vcpus: int
    maximum_vcpus: int
    memory: int
    maximum_memory: int
    removable: bool = False


def parse(xml: str) -> Element:
    """Raises ValueError for what is no definition of a domain."""
    try:
        root = etree.fromstring(xml.encode())
    except etree.XMLSyntaxError as error:
        raise ValueError(str(error)) from error
    if root.tag != "domain" or not (root.findtext("uuid") or ""):
        raise ValueError("it is no domain with a uuid")
    return root


def identity(xml: str) -> str:
    return parse(xml).findtext("uuid") or ""


def define(spec: DomainSpec, present: str | None) -> str:
    """A new definition, or `present` brought to what `spec` says."""
    root = parse(present) if present else etree.Element("domain", {"type": "simulated"})
    for tag, text in (("name", spec.id), ("uuid", spec.id), ("title", spec.title)):
        _child(root, tag).text = text
    _set_size(root, spec.vcpus, spec.cores_per_socket, spec.memory, spec.max_vcpus, spec.max_memory)
    _child(root, "vcpu").set("removable", "yes" if spec.removable_vcpus else "no")
    _set_start(root, spec)
    _child(root, "gpus").text = " ".join(spec.gpus)
    _child(root, "cpu").text = spec.processor.definition if spec.processor is not None else ""
    devices = _child(root, "devices")
    for old in [*devices.findall("disk"), *devices.findall("interface"), *devices.findall("controller")]:
        devices.remove(old)
    for controller in spec.controllers:
        devices.append(_controller_element(controller))
    for drive in spec.cdroms:
        devices.append(_drive_element(drive))
    for disk in sorted(spec.disks, key=lambda disk: disk.unit):
        devices.append(_disk_element(disk))
    if spec.cdrom is not None:
        cdrom = etree.SubElement(devices, "disk", {"type": "file", "device": "cdrom"})
        etree.SubElement(cdrom, "source", {"file": spec.cdrom})
        etree.SubElement(cdrom, "serial").text = "seed"
    for nic in sorted(spec.nics, key=lambda nic: nic.unit):
        devices.append(_nic_element(nic))
    return _text(root)


def processor(xml: str) -> set[str]:
    """The features that the guest is shown; none when nobody chose."""
    return set((parse(xml).findtext("cpu") or "").split())


def gpus(xml: str) -> list[str]:
    """PCI addresses of what is handed to the guest."""
    return (parse(xml).findtext("gpus") or "").split()


def disks(xml: str) -> list[DomainDisk]:
    return [_disk(element) for element in parse(xml).iterfind("devices/disk[@device='disk']")]


def nics(xml: str) -> list[DomainNic]:
    return [_nic(element) for element in parse(xml).iterfind("devices/interface")]


def images(xml: str) -> dict[str, str]:
    """What is in the drives: drive -> path; the seed's drive is ``seed``."""
    found = {}
    for element in parse(xml).iterfind("devices/disk[@device='cdrom']"):
        source = element.find("source")
        if source is not None:
            found[element.findtext("serial") or ""] = source.get("file", "")
    return found


def drives(xml: str) -> list[str]:
    """Ids of the drives beside the seed's."""
    found = [element.findtext("serial") or "" for element in parse(xml).iterfind("devices/disk[@device='cdrom']")]
    return [drive_id for drive_id in found if drive_id != "seed"]


def controllers(xml: str) -> list[str]:
    return [_id(element) or "" for element in parse(xml).iterfind("devices/controller")]


def with_controller(xml: str, controller: DomainController) -> str:
    return _replaced(xml, "controller", controller.id, _controller_element(controller))


def without_controller(xml: str, controller_id: str) -> str:
    return _replaced(xml, "controller", controller_id, None)


def with_drive(xml: str, drive: DomainCdrom) -> str:
    return _replaced(xml, "disk[@device='cdrom']", drive.id, _drive_element(drive))


def without_drive(xml: str, drive_id: str) -> str:
    return _replaced(xml, "disk[@device='cdrom']", drive_id, None)


def _controller_element(controller: DomainController) -> Element:
    values = {"type": controller.kind, "model": controller.model, "index": str(controller.index)}
    element = etree.Element("controller", values)
    etree.SubElement(element, "alias", {"name": controller.id})
    return element


def _drive_element(drive: DomainCdrom) -> Element:
    element = etree.Element("disk", {"type": "file", "device": "cdrom", "bus": drive.bus, "place": str(drive.place)})
    if drive.path is not None:
        etree.SubElement(element, "source", {"file": drive.path})
    etree.SubElement(element, "serial").text = drive.id
    return element


def size(xml: str) -> Size:
    root = parse(xml)
    vcpu = _child(root, "vcpu")
    maximum = int(vcpu.text or 0)
    memory = int(root.findtext("currentMemory") or 0)
    most = int(root.findtext("maxMemory") or memory)
    return Size(int(vcpu.get("current", maximum)), maximum, memory, most, vcpu.get("removable") == "yes")


def resized(xml: str, vcpus: int, cores_per_socket: int, memory: int, *, room: bool) -> str:
    """room: keep the maxima as they are (a running domain grows only into what it was started with)."""
    root, before = parse(xml), size(xml)
    maxima = (before.maximum_vcpus, before.maximum_memory)
    if not room:
        maxima = (max(before.maximum_vcpus, vcpus), max(before.maximum_memory, memory))
    _set_size(root, vcpus, cores_per_socket, memory, *maxima)
    return _text(root)


def with_disk(xml: str, disk: DomainDisk) -> str:
    return _replaced(xml, "disk[@device='disk']", disk.id, _disk_element(disk))


def without_disk(xml: str, disk_id: str) -> str:
    return _replaced(xml, "disk[@device='disk']", disk_id, None)


def with_nic(xml: str, nic: DomainNic) -> str:
    return _replaced(xml, "interface", nic.id, _nic_element(nic))


def without_nic(xml: str, nic_id: str) -> str:
    return _replaced(xml, "interface", nic_id, None)


def _text(root: Element) -> str:
    return etree.tostring(root, encoding="unicode")


def _child(parent: Element, tag: str) -> Element:
    found = parent.find(tag)
    return etree.SubElement(parent, tag) if found is None else found


def _set_start(root: Element, spec: DomainSpec) -> None:
    """What it starts with: told as attributes, for whoever compares."""
    values = {
        "firmware": spec.firmware,
        "secure": str(spec.secure_boot),
        "delay": str(spec.boot_delay),
        "retry": str(spec.boot_retry),
        "nested": str(spec.nested),
        "windows": str(spec.windows),
        "told": " ".join(name for name, _path in sorted(spec.told)),
    }
    for name, value in values.items():
        _child(root, "os").set(name, value)


def _set_size(
    root: Element, vcpus: int, cores: int, memory: int, most_vcpus: int | None, most_memory: int | None
) -> None:
    vcpu = _child(root, "vcpu")
    vcpu.text = str(max(most_vcpus or 0, vcpus))
    vcpu.set("current", str(vcpus))
    _child(_child(root, "cpu"), "topology").set("cores", str(cores))
    for tag, value in (("currentMemory", memory), ("maxMemory", max(most_memory or 0, memory))):
        element = _child(root, tag)
        element.set("unit", "b")
        element.text = str(value)


def _replaced(xml: str, path: str, identifier: str, element: Element | None) -> str:
    root = parse(xml)
    devices = _child(root, "devices")
    present: Sequence[Element] = [old for old in devices.iterfind(path) if _id(old) == identifier]
    if element is not None and present:
        devices.replace(present[0], element)
    elif element is not None:
        devices.append(element)
    else:
        for old in present:
            devices.remove(old)
    return _text(root)


def _id(element: Element) -> str | None:
    alias = element.find("alias")
    return element.findtext("serial") if alias is None else alias.get("name")


def _disk_element(disk: DomainDisk) -> Element:
    element = etree.Element("disk", {"type": "network", "device": "disk"})
    source = etree.SubElement(element, "source", {"protocol": "nbd", "name": disk.source.name})
    etree.SubElement(source, "host", {"name": disk.source.host, "port": str(disk.source.port)})
    place = {"controller": str(disk.controller), "slot": str(disk.slot)}
    etree.SubElement(element, "target", {"dev": f"unit{disk.unit}", "bus": disk.bus, **place})
    etree.SubElement(element, "serial").text = disk.id
    return element


def _disk(element: Element) -> DomainDisk:
    source, target = _child(element, "source"), _child(element, "target")
    host = _child(source, "host")
    address = NbdAddress(host.get("name", ""), int(host.get("port", "0")), source.get("name", ""))
    unit = int(target.get("dev", "unit0").removeprefix("unit"))
    place = (target.get("bus", "virtio"), int(target.get("controller", "0")), int(target.get("slot", "0")))
    return DomainDisk(element.findtext("serial") or "", unit, address, *place)


def _nic_element(nic: DomainNic) -> Element:
    element = etree.Element("interface", {"type": "bridge"})
    etree.SubElement(element, "alias", {"name": nic.id, "unit": str(nic.unit)})
    etree.SubElement(element, "mac", {"address": nic.mac})
    etree.SubElement(element, "source", {"bridge": nic.bridge})
    etree.SubElement(element, "link", {"state": "up" if nic.connected else "down"})
    etree.SubElement(element, "mtu", {"size": str(nic.mtu)})
    etree.SubElement(element, "model", {"type": nic.model})
    return element


def _nic(element: Element) -> DomainNic:
    alias = _child(element, "alias")
    return DomainNic(
        id=alias.get("name", ""),
        unit=int(alias.get("unit", "0")),
        mac=_child(element, "mac").get("address", ""),
        bridge=_child(element, "source").get("bridge", ""),
        connected=_child(element, "link").get("state") == "up",
        mtu=int(_child(element, "mtu").get("size", "1500")),
        model=_child(element, "model").get("type", "virtio"),
    )
