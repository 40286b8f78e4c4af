"""The OVF environment: the file ``ovf-env.xml`` in which a guest finds its properties (OVF 1.1, section 11)."""

from collections.abc import Mapping, Sequence

from lxml import etree

ENVIRONMENT = "http://schemas.dmtf.org/ovf/environment/1"
_EXTENSION = "http://www.vmware.com/schema/ovfenv"
FILE = "ovf-env.xml"


def document(machine_id: str, values: Mapping[str, str], adapters: Sequence[tuple[str, str]] = ()) -> bytes:
    """The environment of one machine. adapters: MAC address and network's name each. Equal arguments give equal bytes."""
    root = etree.Element(f"{{{ENVIRONMENT}}}Environment", nsmap={"oe": ENVIRONMENT, "ve": _EXTENSION})
    root.set(f"{{{ENVIRONMENT}}}id", machine_id)
    platform = etree.SubElement(root, f"{{{ENVIRONMENT}}}PlatformSection")
    for name, text in (("Kind", "naos"), ("Vendor", "naos"), ("Locale", "en")):
        etree.SubElement(platform, f"{{{ENVIRONMENT}}}{name}").text = text
    section = etree.SubElement(root, f"{{{ENVIRONMENT}}}PropertySection")
    for key, value in values.items():
        entry = etree.SubElement(section, f"{{{ENVIRONMENT}}}Property")
        entry.set(f"{{{ENVIRONMENT}}}key", key)
        entry.set(f"{{{ENVIRONMENT}}}value", value)
    if adapters:
        ethernet = etree.SubElement(root, f"{{{_EXTENSION}}}EthernetAdapterSection")
        for mac, network in adapters:
            card = etree.SubElement(ethernet, f"{{{_EXTENSION}}}Adapter")
            card.set(f"{{{_EXTENSION}}}mac", mac)
            card.set(f"{{{_EXTENSION}}}network", network)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True))
