"""VMDK images whose descriptor is a text file beside their extents: put together here, never by a reader that follows names."""

import re
from collections.abc import Mapping
from pathlib import Path

from naos.catalogue.images import room
from naos.catalogue.images.errors import BadDescriptor, ForeignFile, ImageDamaged, ImageTooLarge, UnsupportedFormat
from naos.catalogue.images.region import Region, whole

MAGIC = b"# Disk DescriptorFile"
LARGEST = 64 * 1024
ASSEMBLED = "assembled"
SECTOR = 512
_EXTENT = re.compile(r"(RW|RDONLY|NOACCESS)\s+(\d{1,15})\s+(\w+)(?:\s+\"([^\"]*)\"(?:\s+(\d{1,15}))?)?\s*")
_PARENT = re.compile(r"parentCID\s*=\s*([0-9a-fA-F]+)")
_ZEROES = b"\0" * (1024 * 1024)


def is_descriptor(image: Region) -> bool:
    return image.size <= LARGEST and image.read(0, len(MAGIC)) == MAGIC


def is_assembled(image: Region) -> bool:
    """Whether it is what `assemble` wrote: a disk's bytes, whatever they look like."""
    return image.path.name == ASSEMBLED


def assemble(name: str, text: Region, entries: Mapping[str, Region], folder: Path, limit: int) -> Region:
    """Write the disk of a descriptor as one raw file in `folder`. Its extents must be among `entries`; `limit`: bytes at most.

    Raises BadDescriptor, ForeignFile, ImageDamaged, ImageTooLarge, UnsupportedFormat.
    """
    lines = text.read(0, LARGEST).decode("utf-8", "replace").splitlines()
    parent = _PARENT.search("\n".join(lines))
    if parent and int(parent[1], 16) & 0xFFFFFFFF != 0xFFFFFFFF:
        raise ForeignFile(name, "parent", parent[1])
    extents = [found for line in lines if (found := _EXTENT.fullmatch(line.strip()))]
    if not extents:
        raise BadDescriptor(name, "it has no extents")
    size = sum(int(extent[2]) for extent in extents) * SECTOR
    if size > limit:
        raise ImageTooLarge(name, "disk", size, limit)
    room.check(name, min(size, sum(entry.size for entry in entries.values())), folder)
    target = folder / ASSEMBLED
    with target.open("wb") as file:
        for _access, sectors, kind, source, offset in (extent.groups() for extent in extents):
            length = int(sectors) * SECTOR
            if kind == "ZERO":
                file.seek(length, 1)
                continue
            if kind not in {"FLAT", "VMFS"}:
                raise UnsupportedFormat(
                    name, f"VMDK with a {kind} extent", "Convert it first: qemu-img convert -O qcow2."
                )
            part = _part(name, entries, source or "", int(offset or 0) * SECTOR, length)
            for chunk in part.chunks():
                if _ZEROES.startswith(chunk) or not any(chunk):
                    file.seek(len(chunk), 1)  # holes stay holes
                else:
                    file.write(chunk)
        file.truncate(size)
    return whole(target)


def _part(name: str, entries: Mapping[str, Region], source: str, offset: int, length: int) -> Region:
    if source not in entries:
        raise ForeignFile(name, "extent", source[:200])
    entry = entries[source]
    if offset + length > entry.size:
        raise ImageDamaged(name, f"its extent {source[:80]!r} needs {offset + length} bytes and has {entry.size}")
    return Region(entry.path, entry.offset + offset, length)
