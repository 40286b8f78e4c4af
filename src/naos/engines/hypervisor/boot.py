"""What a machine starts with: its firmware, what that waits for, what it is told, and the processor's own virtualisation.

Pure functions on a domain's XML. Times are milliseconds.
"""

from collections.abc import Sequence

from lxml import etree

from naos.engines.errors import Unsupported
from naos.engines.hypervisor.devices import child, drop, set_or_drop
from naos.engines.ports import DomainSpec

Element = etree._Element  # noqa: SLF001 - lxml has no public name for the type

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd"
ENROLLED = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"  # with the keys that make the firmware refuse what nobody signed
NVRAM_FOLDER = "/var/lib/libvirt/qemu/nvram"
LONGEST_WAIT = 65_535  # what QEMU takes for either time

# The emulator does all that its processor says. The one that can virtualise is an AMD one: only theirs is emulated.
EMULATED = "Nehalem"
EMULATED_NESTED = "Opteron_G2"
_VIRTUALISATION = ("vmx", "svm")
_ENLIGHTENMENTS = (("relaxed", None), ("vapic", None), ("spinlocks", "8191"))


def nvram_path(machine_id: str) -> str:
    return f"{NVRAM_FOLDER}/{machine_id}.fd"


def template(*, secure: bool) -> str:
    """What a machine's own variables begin as."""
    return ENROLLED if secure else VARIABLES


def set_firmware(root: Element, spec: DomainSpec) -> None:
    """Raises Unsupported for a firmware that does not exist."""
    system = child(root, "os")
    if spec.firmware not in ("bios", "efi"):
        raise Unsupported(spec.id, f"firmware {spec.firmware!r}", "there are bios and efi")
    if spec.firmware == "bios":
        if system.find("nvram") is not None or system.get("firmware"):
            set_or_drop(system, "firmware", None)
            for name in ("firmware", "loader", "nvram"):
                drop(system, name)
        return
    loader, nvram = child(system, "loader"), child(system, "nvram")
    loader.attrib.update({"readonly": "yes", "type": "pflash"})
    loader.text = CODE
    nvram.set("template", template(secure=spec.secure_boot))
    nvram.text = nvram_path(spec.id)


def set_waits(root: Element, spec: DomainSpec) -> None:
    """How long the firmware offers its boot menu, and after how long it tries again when nothing can be started."""
    system = child(root, "os")
    if spec.boot_delay:
        child(system, "bootmenu").attrib.update({"enable": "yes", "timeout": str(spec.boot_delay)})
    else:
        drop(system, "bootmenu")
    retry = system.find("bios")
    if spec.boot_retry is not None:
        child(system, "bios").set("rebootTimeout", str(spec.boot_retry))
    elif retry is not None:
        set_or_drop(retry, "rebootTimeout", None)
        if not retry.attrib:
            system.remove(retry)


def set_told(root: Element, spec: DomainSpec) -> None:
    """Files on the blade that the guest reads through its firmware's configuration device; others' entries stay."""
    found = root.find("sysinfo[@type='fwcfg']")
    present = {} if found is None else {str(entry.get("name")): entry for entry in found.findall("entry")}
    for name, entry in present.items():
        if found is not None and name.startswith(("opt/naos/", "opt/com.coreos/", "opt/ovmf/X-PciMmio64Mb")):
            found.remove(entry)
    if spec.told:
        if found is None:
            found = etree.SubElement(root, "sysinfo", type="fwcfg")
        for name, path in sorted(spec.told):
            etree.SubElement(found, "entry", name=name, file=path)
    elif found is not None and not len(found):
        root.remove(found)


def set_nested(root: Element, *, nested: bool, offered: Sequence[str] = ()) -> None:
    """Show the processor's virtualisation to the guest, or hide it. offered: what a processor that it is shown by name has."""
    processor = child(root, "cpu")
    for feature in processor.findall("feature"):
        if feature.get("name") in _VIRTUALISATION:
            processor.remove(feature)
    if processor.get("mode") == "host-passthrough" or root.get("type") == "kvm":
        _lend_virtualisation(processor, offered, nested=nested)
        return
    model = processor.find("model")
    if model is not None and model.text in (EMULATED, EMULATED_NESTED):
        model.text = EMULATED_NESTED if nested else EMULATED
    if nested:
        etree.SubElement(processor, "feature", policy="require", name="svm")


def _lend_virtualisation(processor: Element, offered: Sequence[str], *, nested: bool) -> None:
    """With hardware's help: one that shows itself lends it unless that is forbidden, one shown by name only has what it offers."""
    by_name = processor.get("mode") != "host-passthrough"
    for name in _VIRTUALISATION:
        if name in offered if by_name else not nested:
            etree.SubElement(processor, "feature", policy="require" if nested else "disable", name=name)


def set_guest(root: Element, *, windows: bool) -> None:
    """Windows reads the hardware's clock as local time, and runs better when the hypervisor speaks its language."""
    clock = child(root, "clock")
    if clock.get("offset", "utc") in ("utc", "localtime"):
        clock.set("offset", "localtime" if windows else "utc")
    features = child(root, "features")
    timer = clock.find("timer[@name='hypervclock']")
    if not windows or root.get("type") != "kvm":  # the emulator has none of it
        drop(features, "hyperv")
        if timer is not None:
            clock.remove(timer)
        return
    spoken = child(features, "hyperv")
    spoken.set("mode", "custom")
    for name, retries in _ENLIGHTENMENTS:
        child(spoken, name).set("state", "on")
        set_or_drop(child(spoken, name), "retries", retries)
    if timer is None:
        etree.SubElement(clock, "timer", name="hypervclock", present="yes")
