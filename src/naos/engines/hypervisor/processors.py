"""What the processors of blades can show to guests, and what all of some blades can show, in libvirt's words."""

from collections.abc import Sequence

import libvirt
from lxml import etree

from naos.engines.errors import Unsupported
from naos.engines.hypervisor import boot, xml
from naos.engines.hypervisor.devices import child, drop
from naos.engines.hypervisor.xml import Element
from naos.engines.ports import Processor

_ARCHITECTURE, _BOARD = "x86_64", "pc"
_OWN = ("model", "vendor", "feature", "maxphysaddr")
_FLAGS = libvirt.VIR_CONNECT_BASELINE_CPU_MIGRATABLE


def read(where: str, connection: libvirt.virConnect, acceleration: str) -> Processor:
    """An emulated processor is the same on every blade: its name is all that there is to say. Raises Unsupported for a blade whose
    libvirt does not say what it has."""
    if acceleration != "kvm":
        return common(connection, acceleration, [f"<cpu><model>{boot.EMULATED}</model></cpu>"])
    told = etree.fromstring(connection.getDomainCapabilities(None, _ARCHITECTURE, _BOARD, "kvm", 0))
    found = told.find("cpu/mode[@name='host-model'][@supported='yes']")
    if found is None:
        raise Unsupported(where, "telling its processor", "libvirt has no model for it")
    processor = etree.Element("cpu")
    for element in found:
        if element.tag in _OWN:
            processor.append(element)
    return common(connection, acceleration, [etree.tostring(processor, encoding="unicode")])


def common(connection: libvirt.virConnect, acceleration: str, described: Sequence[str]) -> Processor:
    """What all of these can show. Raises what libvirt says where they have nothing in common."""
    kind = "kvm" if acceleration == "kvm" else "qemu"

    def ask(flags: int) -> Element:
        asked = (None, _ARCHITECTURE, _BOARD, kind, list(described), flags)
        return etree.fromstring(connection.baselineHypervisorCPU(*asked))

    least, whole = ask(_FLAGS), ask(_FLAGS | libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES)
    names = {str(feature.get("name")) for feature in whole.findall("feature") if feature.get("policy") != "disable"}
    return Processor(
        model=least.findtext("model") or "",
        features=tuple(sorted(names)),
        definition=etree.tostring(least, encoding="unicode"),
    )


def show(root: Element, processor: Processor) -> None:
    """Have the guest see exactly this one, on a blade with hardware's help; its cores and memory cells stay as they are."""
    shown = child(root, "cpu")
    for name in _OWN:
        drop(shown, name)
    shown.attrib.clear()
    shown.attrib.update({"mode": "custom", "match": "exact", "check": "partial"})
    described = xml.parse(processor.definition)
    model = described.find("model")
    for position, element in enumerate(entry for entry in described if entry.tag in _OWN):
        if element is model:
            element.set("fallback", "forbid")
        if element.tag == "feature" and element.get("policy") is None:
            element.set("policy", "require")
        shown.insert(position, element)
