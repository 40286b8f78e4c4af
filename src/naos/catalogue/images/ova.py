"""OVA appliances: a tar archive with one OVF descriptor, its disk and, mostly, a manifest of hashes. Nothing is
unpacked.
"""

import re
import tarfile
from collections.abc import Mapping

from lxml import etree

from naos.catalogue.images.errors import (
    BadDescriptor,
    ChecksumMismatch,
    ForeignFile,
    ImageDamaged,
    UnsafeArchive,
    UnsupportedFormat,
)
from naos.catalogue.images.region import Region

LARGEST_DESCRIPTOR = 4 * 1024 * 1024
MOST_ENTRIES = 64
_DIGESTS = re.compile(r"^(SHA1|SHA256|SHA512|MD5)\s*\(([^)]*)\)\s*=\s*([0-9A-Fa-f]+)\s*$", re.MULTILINE)


def disk(name: str, archive: Region) -> Region:
    """Where the appliance's one disk lies. Raises UnsafeArchive, BadDescriptor, ForeignFile, ChecksumMismatch,
    ImageDamaged.
    """
    entries = _entries(name, archive)
    descriptors = [entry for entry in entries if entry.lower().endswith(".ovf")]
    if len(descriptors) != 1:
        raise BadDescriptor(name, f"the archive holds {len(descriptors)} .ovf files, one is needed")
    _check_manifests(name, entries)
    wanted = _disk_name(name, _text(name, entries[descriptors[0]]))
    if wanted not in entries:
        raise ForeignFile(name, "disk", wanted)
    return entries[wanted]


def _entries(name: str, archive: Region) -> dict[str, Region]:
    entries: dict[str, Region] = {}
    try:
        with tarfile.open(archive.path, "r:") as tar:
            for member in tar:
                entry = member.name.removeprefix("./")
                _check_entry(name, entry, member)
                if entry in entries:
                    raise UnsafeArchive(name, entry, "it is there twice")
                if len(entries) >= MOST_ENTRIES:
                    raise UnsafeArchive(name, entry, f"more than {MOST_ENTRIES} files")
                if member.offset_data + member.size > archive.size:
                    raise ImageDamaged(name, f"the archive ends within {entry!r}")
                entries[entry] = Region(archive.path, archive.offset + member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ImageDamaged(name, f"the archive cannot be read ({error})") from error
    return entries


def _check_entry(name: str, entry: str, member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.issparse():
        raise UnsafeArchive(name, entry, "it is no plain file")
    if not entry or "/" in entry or "\\" in entry or entry in {".", ".."} or not entry.isprintable():
        raise UnsafeArchive(name, entry, "its name is a path")


def _text(name: str, entry: Region) -> bytes:
    if entry.size > LARGEST_DESCRIPTOR:
        raise BadDescriptor(name, f"it has {entry.size} bytes, {LARGEST_DESCRIPTOR} is the most")
    return entry.read(0, entry.size)


def _check_manifests(name: str, entries: Mapping[str, Region]) -> None:
    for manifest in (entry for entry in entries if entry.lower().endswith(".mf")):
        text = _text(name, entries[manifest]).decode(errors="replace")
        for algorithm, entry, expected in _DIGESTS.findall(text):
            if entry not in entries:
                raise BadDescriptor(name, f"its manifest lists {entry!r}, which the archive does not hold")
            found = entries[entry].digest(algorithm.lower())
            if found != expected.lower():
                raise ChecksumMismatch(f"{name}/{entry}", algorithm.lower(), expected.lower(), found)


def _disk_name(name: str, text: bytes) -> str:
    root = _parse(name, text)
    files = {_attribute(item, "id"): item for item in root.iterfind("{*}References/{*}File")}
    disks = list(root.iterfind("{*}DiskSection/{*}Disk"))
    if len(disks) != 1:
        raise BadDescriptor(name, f"it has {len(disks)} disks, and a template has one")
    if _attribute(disks[0], "parentRef"):
        raise ForeignFile(name, "parent disk", _attribute(disks[0], "parentRef"))
    file = files.get(_attribute(disks[0], "fileRef"))
    if file is None:
        raise BadDescriptor(name, "its disk has no file")
    if _attribute(file, "compression") not in {"", "identity"}:
        raise UnsupportedFormat(
            name, f"appliance with a {_attribute(file, 'compression')} disk", "Unpack its disk first."
        )
    return _attribute(file, "href")


def _parse(name: str, text: bytes) -> etree._Element:
    if b"<!DOCTYPE" in text:
        raise BadDescriptor(name, "it declares a document type, which no OVF has")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise BadDescriptor(name, f"it is no XML ({error})") from error
    if etree.QName(root).localname != "Envelope":
        raise BadDescriptor(name, f"its root is {etree.QName(root).localname}, not Envelope")
    return root


def _attribute(element: etree._Element, name: str) -> str:
    """An attribute in whatever namespace: the versions of OVF differ in theirs."""
    for key, value in element.attrib.items():
        if etree.QName(key).localname == name:
            return str(value)
    return ""
