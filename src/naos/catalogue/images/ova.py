"""OVA appliances: a tar archive with one OVF descriptor, its disks and, mostly, a manifest of hashes.

Disks are read where they lie; only those that are packed, or in parts, or described by a text file beside their extents, are
written out first, within the bounds of what they declare.
"""

import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from naos.catalogue.images import flat, room
from naos.catalogue.images.errors import (
    BadDescriptor,
    ChecksumMismatch,
    ForeignFile,
    ImageDamaged,
    ImageTooLarge,
    UnsafeArchive,
)
from naos.catalogue.images.region import Region, whole
from naos.catalogue.ovf import descriptor, document
from naos.catalogue.ovf.descriptor import Descriptor, SourceDisk

MOST_ENTRIES = 64
_OVERHEAD = 64 * 1024 * 1024
_DIGEST = re.compile(r"(SHA1|SHA256|SHA384|SHA512|MD5)\s*\(([^)]*)\)\s*=\s*([0-9A-Fa-f]+)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Appliance:
    """`entries`: where the files lie in the archive, by name."""

    name: str
    descriptor: Descriptor
    entries: Mapping[str, Region]

    def unpacked(self, disk: SourceDisk, folder: Path, limit: int) -> Region:
        """A disk's image, written to `folder` when it cannot be read in its place. `limit`: bytes of a disk at most.

        Raises ForeignFile, ImageDamaged, ImageTooLarge, and what `flat.assemble` raises.
        """
        region = self._joined(disk, folder)
        if disk.compression:
            region = self._unzipped(disk, region, folder, min(limit, disk.capacity or limit) + _OVERHEAD)
        if flat.is_descriptor(region):
            return flat.assemble(f"{self.name}/{disk.file}", region, self.entries, folder, limit)
        return region

    def _joined(self, disk: SourceDisk, folder: Path) -> Region:
        if not disk.chunk:
            return self._entry(disk.file)
        parts = [self._entry(part) for part in self._parts(disk)]
        room.check(f"{self.name}/{disk.file}", sum(part.size for part in parts), folder)
        with (folder / "joined").open("wb") as target:
            for part in parts:
                for chunk in part.chunks():
                    target.write(chunk)
        return whole(folder / "joined")

    def _parts(self, disk: SourceDisk) -> Iterator[str]:
        number = 0
        while number == 0 or f"{disk.file}.{number:09}" in self.entries:
            yield f"{disk.file}.{number:09}"
            number += 1

    def _entry(self, name: str) -> Region:
        if name not in self.entries:
            raise ForeignFile(self.name, "disk", name)
        return self.entries[name]

    def _unzipped(self, disk: SourceDisk, packed: Region, folder: Path, limit: int) -> Region:
        target, written, reader = folder / "unzipped", 0, zlib.decompressobj(wbits=31)
        try:
            with target.open("wb") as file:
                for chunk in packed.chunks():
                    rest = chunk
                    while rest:
                        if reader.eof:  # a packed file may consist of several
                            reader = zlib.decompressobj(wbits=31)
                        piece = reader.decompress(rest, 4 * 1024 * 1024)
                        rest = reader.unconsumed_tail or reader.unused_data
                        written += len(piece)
                        if written > limit:
                            raise ImageTooLarge(f"{self.name}/{disk.file}", "unpacked content", written, limit)
                        if piece.strip(b"\0"):
                            file.write(piece)
                        else:
                            file.seek(len(piece), 1)  # holes take no room
                    room.check(f"{self.name}/{disk.file}", 0, folder)
                file.truncate(written)
        except zlib.error as error:
            raise ImageDamaged(f"{self.name}/{disk.file}", f"it cannot be unpacked ({error})") from error
        if not reader.eof:
            raise ImageDamaged(f"{self.name}/{disk.file}", "its packed content ends too early")
        return whole(target)


def read(name: str, archive: Region) -> Appliance:
    """The appliance in an archive, its manifest held against its files.

    Raises UnsafeArchive, BadDescriptor, ForeignFile, ChecksumMismatch, ImageDamaged, UnsupportedFormat.
    """
    entries = _entries(name, archive)
    descriptors = [entry for entry in entries if entry.lower().endswith(".ovf")]
    bare = [entry for entry, region in entries.items() if flat.is_descriptor(region)] if not descriptors else []
    if len(descriptors) != 1 and len(bare) != 1:
        raise BadDescriptor(name, f"the archive holds {len(descriptors)} .ovf files, one is needed")
    _check_manifests(name, entries)
    if bare:
        disk = SourceDisk(id=bare[0][:64], name=bare[0][:255], capacity=0, file=bare[0])
        return Appliance(name, Descriptor(disks=[disk]), entries)
    return Appliance(name, descriptor.read(name, _text(name, entries[descriptors[0]])), entries)


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
    except (tarfile.TarError, ValueError, OverflowError, UnicodeError) as error:
        raise ImageDamaged(name, f"the archive cannot be read ({error})") from error
    return entries


def _check_entry(name: str, entry: str, member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.issparse():
        raise UnsafeArchive(name, entry, "it is no plain file")
    if not entry or "/" in entry or "\\" in entry or entry in {".", ".."} or not entry.isprintable():
        raise UnsafeArchive(name, entry, "its name is a path")


def _text(name: str, entry: Region) -> bytes:
    if entry.size > document.LARGEST:
        raise BadDescriptor(name, f"it has {entry.size} bytes, {document.LARGEST} is the most")
    return entry.read(0, entry.size)


def _check_manifests(name: str, entries: Mapping[str, Region]) -> None:
    for manifest in (entry for entry in entries if entry.lower().endswith(".mf")):
        lines = _text(name, entries[manifest]).decode(errors="replace").splitlines()
        for line in lines:
            if line.strip():
                _check_digest(name, entries, line)


def _check_digest(name: str, entries: Mapping[str, Region], line: str) -> None:
    stated = _DIGEST.fullmatch(line.strip())
    if not stated:
        raise BadDescriptor(name, f"its manifest has the line {line.strip()[:80]!r}, which states no digest")
    algorithm, entry, expected = stated[1].lower(), stated[2], stated[3].lower()
    if entry not in entries:
        raise BadDescriptor(name, f"its manifest lists {entry[:80]!r}, which the archive does not hold")
    found = entries[entry].digest(algorithm)
    if found != expected:
        raise ChecksumMismatch(f"{name}/{entry}", algorithm, expected, found)
