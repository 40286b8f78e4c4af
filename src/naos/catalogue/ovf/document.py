"""OVF's XML, read with care: no document type, no entity, no network, a bounded size; versions differ in their namespaces, so
names are compared without them.
"""

from collections.abc import Iterator

from lxml import etree

from naos.catalogue.images.errors import BadDescriptor

LARGEST = 4 * 1024 * 1024
"""Bytes of a descriptor at most."""
MOST_ELEMENTS = 20_000
LONGEST_TEXT = 4096

Element = etree._Element  # noqa: SLF001 - lxml's one name for it


def parse(name: str, text: bytes) -> Element:
    """The envelope. Raises BadDescriptor; `name` is the file's, for messages."""
    if len(text) > LARGEST:
        raise BadDescriptor(name, f"it has {len(text)} bytes, {LARGEST} is the most")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise BadDescriptor(name, f"it is no XML ({' '.join(str(error).split())[:200]})") from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise BadDescriptor(name, "it declares a document type, which no OVF has")
    if local(root) != "Envelope":
        raise BadDescriptor(name, f"its root is {local(root)[:60]}, not Envelope")
    count = sum(1 for _ in root.iter())
    if count > MOST_ELEMENTS:
        raise BadDescriptor(name, f"it has {count} elements, {MOST_ELEMENTS} is the most")
    return root


def local(element: Element) -> str:
    """The element's name without its namespace; empty for comments and the like."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def children(element: Element, *names: str) -> Iterator[Element]:
    return (child for child in element if local(child) in names)


def child(element: Element, name: str) -> Element | None:
    return next(children(element, name), None)


def inner(element: Element, *names: str) -> str:
    """The text of the first child of one of the names, on one line; empty without it."""
    found = next(children(element, *names), None)
    return text_of(found) if found is not None else ""


def text_of(element: Element) -> str:
    """All text within, on one line."""
    return one_line("".join(str(piece) for piece in element.itertext()))


def attribute(element: Element, name: str, otherwise: str = "") -> str:
    """An attribute in whatever namespace."""
    for key, value in element.attrib.items():
        if etree.QName(key).localname == name:
            return str(value)
    return otherwise


def one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_TEXT]
