"""A machine's domain XML, edited losslessly: what libvirt returned stays as it is, except for what naos speaks of.

The devices of naos carry the alias ``ua-<id>``; every other device, and every other element, is somebody else's and is left alone.
Pure functions on lxml trees. Sizes are bytes outside and KiB in the XML.
"""

import re
from dataclasses import dataclass

from lxml import etree

from naos.engines.hypervisor import boot, devices, drives, passthrough
from naos.engines.ports import DomainSpec
from naos.units import GIB

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type

KIB = 1024
SERIAL_FOLDER = "/var/log/libvirt/qemu/serial"
MEMORY_SLOTS = 32
MOST_EMULATED_MEMORY = (
    512 * GIB
)  # an emulated processor has 40 address bits, and the room for growth is aligned within them
_FORBIDDEN = re.compile("[^\x20-\x7e\x80-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

# pc: devices can be plugged in without ports set aside before; two bridges add 62 slots to the first bus' 31. No USB: its
# emulation costs an idle guest processor time. A guest that panics is switched off, and shown as crashed.
_SKELETON = f"""
<domain type='qemu'>
  <name/>
  <uuid/>
  <vcpu placement='static'>1</vcpu>
  <iothreads>1</iothreads>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/><boot dev='cdrom'/></os>
  <features><acpi/><apic/></features>
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/><timer name='pit' tickpolicy='delay'/><timer name='hpet' present='no'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>
  <devices>
    <controller type='usb' index='0' model='none'/>
    <controller type='pci' index='0' model='pci-root'/>
    <controller type='pci' index='1' model='pci-bridge'/>
    <controller type='pci' index='2' model='pci-bridge'/>
    <serial type='pty'>
      <log file='{SERIAL_FOLDER}/ID.log' append='off'/><target type='isa-serial' port='0'/><alias name='ua-serial'/>
    </serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <graphics type='vnc' autoport='yes'><listen type='address'/></graphics>
    <video><model type='vga'/></video>
    <input type='tablet' bus='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='virtio' freePageReporting='on'><stats period='10'/></memballoon>
    <panic model='isa'/>
  </devices>
</domain>
"""
_BLANK = etree.XMLParser(remove_blank_text=True)
_SAFE = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=False)


@dataclass(frozen=True)
class Traits:
    """What a blade lends to every machine on it: "kvm" or "tcg", and the address on which consoles listen."""

    acceleration: str
    address: str


def parse(text: str) -> Element:
    return etree.fromstring(text, _SAFE)


def render(root: Element) -> str:
    return etree.tostring(root, encoding="unicode")


def new(spec: DomainSpec, traits: Traits) -> Element:
    """The definition of a machine that the blade does not know yet."""
    root = etree.fromstring(_SKELETON.replace("/ID.log", f"/{spec.id}.log"), _BLANK)
    devices.child(root, "name").text = spec.id
    devices.child(root, "uuid").text = spec.id
    converge(root, spec, traits)
    return root


def converge(root: Element, spec: DomainSpec, traits: Traits) -> None:
    """Bring the definition to the spec. Raises Unsupported for a firmware that does not exist."""
    settle(root, traits)
    set_title(root, spec.title)
    most = spec.max_vcpus or spec.vcpus
    set_processors(root, spec.vcpus, spec.cores_per_socket, most, removable=spec.removable_vcpus)
    set_memory(root, spec.memory, spec.max_memory or spec.memory)
    boot.set_nested(root, nested=spec.nested)
    boot.set_firmware(root, spec)
    boot.set_waits(root, spec)
    boot.set_told(root, spec)
    boot.set_guest(root, windows=spec.windows)
    brought = [own for entry in spec.cdroms if (own := drives.own_controller(entry)) is not None]
    drives.converge_controllers(root, [*spec.controllers, *brought])
    devices.converge_disks(root, spec.disks)
    set_iothreads(root)
    drives.converge_drives(root, spec.cdroms)
    devices.converge_nics(root, spec.nics)
    devices.set_cdrom(root, spec.cdrom)
    passthrough.converge(root, spec.gpus)


def settle(root: Element, traits: Traits) -> None:
    """Fit a definition to the blade: its acceleration with a processor for that, and consoles on its own address."""
    kind = "kvm" if traits.acceleration == "kvm" else "qemu"
    processor = root.find("cpu")
    if processor is None or processor.get("mode") is None or root.get("type") != kind:
        _set_processor_model(root, kind)
    root.set("type", kind)
    listen_on(root, traits.address)


def listen_on(root: Element, address: str) -> None:
    for graphics in root.iterfind("devices/graphics[@type='vnc']"):
        graphics.set("listen", address)
        for listen in graphics.findall("listen[@type='address']"):
            listen.set("address", address)


def set_title(root: Element, title: str) -> None:
    """Display only: one line, without the characters that XML cannot carry; an empty one is none."""
    text = _FORBIDDEN.sub(" ", title).strip()
    if text:
        devices.child(root, "title").text = text
    else:
        devices.drop(root, "title")


def set_processors(root: Element, vcpus: int, cores_per_socket: int, maximum: int, *, removable: bool = False) -> None:
    """`maximum` is raised to whole sockets. removable: all but the first vCPU may be taken out again."""
    sockets = -(-max(vcpus, maximum) // cores_per_socket)
    total = sockets * cores_per_socket
    element = devices.child(root, "vcpu")
    element.text = str(total)
    devices.set_or_drop(element, "current", str(vcpus) if vcpus != total else None)
    if not removable or total == 1:
        devices.drop(root, "vcpus")
    else:
        every = devices.child(root, "vcpus")
        every[:] = []
        for number in range(total):
            entry = etree.SubElement(every, "vcpu", id=str(number), enabled="yes" if number < vcpus else "no")
            entry.set("hotpluggable", "yes" if number else "no")
            if number < vcpus:
                entry.set("order", str(number + 1))
    topology = devices.child(devices.child(root, "cpu"), "topology")
    for name, value in (("sockets", sockets), ("dies", 1), ("cores", cores_per_socket), ("threads", 1)):
        topology.set(name, str(value))
    for cell in root.iterfind("cpu/numa/cell"):
        cell.set("cpus", f"0-{total - 1}")


def set_iothreads(root: Element) -> None:
    """One for naos' disks; a definition may have more for what is somebody else's."""
    element = devices.child(root, "iothreads")
    element.text = str(max(int(element.text or 0), int(devices.IOTHREAD)))
    for disk in devices.managed(root, "disk").values():
        devices.set_iothread(disk)


def set_memory(root: Element, memory: int, maximum: int) -> None:
    """What was plugged in while it ran becomes part of the base. Room for more is `maximum` bytes in all, when that is more."""
    if root.get("type") == "qemu":
        maximum = min(maximum, MOST_EMULATED_MEMORY)
    devices.drop_memory_modules(root)
    for name in ("memory", "currentMemory"):
        _set_size(devices.child(root, name), memory)
    processor = devices.child(root, "cpu")
    if maximum <= memory:
        devices.drop(root, "maxMemory")
        devices.drop(processor, "numa")
        return
    limit = devices.child(root, "maxMemory")
    limit.set("slots", str(MEMORY_SLOTS))
    _set_size(limit, maximum)
    cell = devices.child(devices.child(processor, "numa"), "cell")
    cell.set("id", "0")
    cell.set("cpus", f"0-{processors(root)[1] - 1}")
    cell.set("memory", str(memory // KIB))
    cell.set("unit", "KiB")


def processors(root: Element) -> tuple[int, int]:
    """vCPUs now, and the most there can be."""
    element = devices.child(root, "vcpu")
    total = int(element.text or 1)
    return int(element.get("current") or total), total


def removable_processors(root: Element) -> int:
    """How many of its vCPUs a running machine could give back."""
    return len(root.findall("vcpus/vcpu[@enabled='yes'][@hotpluggable='yes']"))


def cores_per_socket(root: Element) -> int:
    topology = root.find("cpu/topology")
    return int(topology.get("cores", "1")) if topology is not None else 1


def memory(root: Element) -> tuple[int, int]:
    """Bytes now, modules included, and the most there can be."""
    now = int(root.findtext("memory") or 0) * KIB  # libvirt always answers in KiB
    return now, int(root.findtext("maxMemory") or 0) * KIB or now


def consoles(root: Element) -> list[tuple[str, int]]:
    """Addresses and ports of a running machine's VNC servers."""
    found = []
    for graphics in root.iterfind("devices/graphics[@type='vnc']"):
        listen = graphics.find("listen[@type='address']")
        address = graphics.get("listen") or (listen.get("address") if listen is not None else None)
        if address and int(graphics.get("port", "-1")) > 0:
            found.append((address, int(graphics.get("port", "-1"))))
    return found


def _set_size(element: Element, size: int) -> None:
    element.set("unit", "KiB")
    element.text = str(size // KIB)


def _set_processor_model(root: Element, kind: str) -> None:
    """A pool's blades are alike, so hardware shows itself as it is; the emulator shows what it can do completely."""
    processor = devices.child(root, "cpu")
    for name in ("model", "vendor", "feature", "maxphysaddr"):
        devices.drop(processor, name)
    processor.attrib.clear()
    if kind == "kvm":
        processor.attrib.update({"mode": "host-passthrough", "check": "none", "migratable": "on"})
        return
    processor.attrib.update({"mode": "custom", "match": "exact", "check": "none"})
    model = etree.SubElement(processor, "model", fallback="forbid")
    model.text = boot.EMULATED
    processor.insert(0, model)
