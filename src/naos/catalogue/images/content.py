"""What an image is, told from its bytes alone, and what its headers must not say.

An image is hostile until it was looked at here: QEMU's readers follow the names of other files that an image holds
(backing files, data files, extents), so those are refused before QEMU sees the image.
"""

import re
import struct
from enum import StrEnum

from naos.catalogue.images.errors import (
    ForeignFile,
    ImageDamaged,
    ImageEncrypted,
    NotAnImage,
    UnsupportedFormat,
)
from naos.catalogue.images.region import Region


class Kind(StrEnum):
    """What is taken."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VMDK = "vmdk"
    VHDX = "vhdx"
    VHD = "vhd"
    OVA = "ova"
    ISO = "iso"


SECTOR = 512
_CONVERT = "Convert it first: qemu-img convert -O qcow2."
_UNPACK = "Unpack it first."
_MAGIC = {
    b"QFI\xfb\0\0\0\x02": Kind.QCOW2,
    b"QFI\xfb\0\0\0\x03": Kind.QCOW2,
    b"KDMV": Kind.VMDK,
    b"# Disk DescriptorFile": Kind.VMDK,
    b"vhdxfile": Kind.VHDX,
    b"conectix": Kind.VHD,
}
_REFUSED = {
    b"QFI\xfb": ("qcow image of an unknown version", _CONVERT),
    b"QED\0": ("QED image", _CONVERT),
    b"COWD": ("VMDK image of the ESX server's COWD kind", _CONVERT),
    b"WithoutFreeSpace": ("Parallels image", _CONVERT),
    b"WithouFreSpacExt": ("Parallels image", _CONVERT),
    b"\x1f\x8b": ("gzip file", _UNPACK),
    b"\xfd7zXZ\0": ("xz file", _UNPACK),
    b"(\xb5/\xfd": ("Zstandard file", _UNPACK),
    b"BZh": ("bzip2 file", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip archive", _UNPACK),
    b"PK\x03\x04": ("ZIP archive", _UNPACK),
}
_FILE_SYSTEMS = ((0, b"XFSB"), (1080, b"\x53\xef"), (65600, b"_BHRfS_M"), (536, b"LABELONE"), (512, b"EFI PART"))
_EXTENT = re.compile(rb"^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+(\w+)(?:\s+\"([^\"\r\n]*)\")?", re.MULTILINE)
_PARENT = re.compile(rb"^\s*parentFileNameHint\s*=\s*\"?([^\"\r\n]*)", re.MULTILINE)
_DATA_FILE, _CORRUPT = 1 << 2, 1 << 1
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4  # kinds of VHD


def identify(name: str, image: Region) -> Kind:
    """What the content is. Raises NotAnImage, UnsupportedFormat, ImageEncrypted."""
    head = image.read(0, 4096)
    if not head:
        raise NotAnImage(name, "an empty file")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if image.read(image.size - SECTOR, 8) == b"conectix":
        return Kind.VHD
    _refuse_known(name, head)
    if image.read(32769, 5) in {b"CD001", b"BEA01"}:
        return Kind.ISO
    if head[257:262] == b"ustar":
        return Kind.OVA
    _refuse_text(name, head)
    if not is_disk(image):
        raise NotAnImage(name, "unknown data without a partition table or file system")
    return Kind.RAW


def _refuse_known(name: str, head: bytes) -> None:
    for magic, (found, remedy) in _REFUSED.items():
        if head.startswith(magic):
            raise UnsupportedFormat(name, found, remedy)
    if head.startswith(b"LUKS\xba\xbe"):
        raise ImageEncrypted(name, "LUKS")
    if head[64:68] == b"\x7f\x10\xda\xbe":
        raise UnsupportedFormat(name, "VirtualBox disk (VDI)", _CONVERT)


def is_disk(image: Region) -> bool:
    """Whether the bytes look like a disk's: a partition table, a boot sector or a file system."""
    return image.read(510, 2) == b"\x55\xaa" or any(
        image.read(offset, len(magic)) == magic for offset, magic in _FILE_SYSTEMS
    )


def _refuse_text(name: str, head: bytes) -> None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1024]
    if not start.startswith(b"<"):
        return
    if b"Envelope" in start:
        remedy = "Pack it and its disk into one OVA: tar -cf machine.ova machine.ovf machine.vmdk."
        raise UnsupportedFormat(name, "bare OVF descriptor", remedy)
    raise NotAnImage(name, "an HTML or XML text")


def check_header(name: str, kind: Kind, image: Region) -> None:
    """Refuse what must not reach QEMU. Raises ForeignFile, ImageEncrypted, ImageDamaged."""
    match kind:
        case Kind.QCOW2:
            _check_qcow2(name, image)
        case Kind.VMDK:
            _check_vmdk(name, image)
        case Kind.VHD:
            _check_vhd(name, image)
        case Kind.RAW:
            _check_partitions(name, image)
        case Kind.ISO:
            _check_iso(name, image)
        case Kind.VHDX | Kind.OVA:
            pass  # QEMU opens no VHDX with a parent; an OVA is taken apart by `ova`


def _check_qcow2(name: str, image: Region) -> None:
    head = image.read(0, 104)
    if len(head) < 72:
        raise ImageDamaged(name, f"its header ends after {len(head)} bytes")
    backing, length = struct.unpack_from(">QI", head, 8)
    if backing:
        reference = image.read(backing, min(length, 1023)).decode(errors="replace")
        raise ForeignFile(name, "backing file", reference)
    (encryption,) = struct.unpack_from(">I", head, 32)
    if encryption:
        raise ImageEncrypted(name, {1: "AES", 2: "LUKS"}.get(encryption, f"method {encryption}"))
    if head[7] == 3:
        if len(head) < 104:
            raise ImageDamaged(name, f"its header ends after {len(head)} bytes")
        (features,) = struct.unpack_from(">Q", head, 72)
        if features & _DATA_FILE:
            raise ForeignFile(name, "external data file", "its content")
        if features & _CORRUPT:
            raise ImageDamaged(name, "it is marked as corrupt")


def _check_vmdk(name: str, image: Region) -> None:
    head = image.read(0, 64)
    if not head.startswith(b"KDMV"):
        # A descriptor in text: its extents are other files.
        extents = _EXTENT.findall(image.read(0, 64 * 1024))
        raise ForeignFile(name, "extent", extents[0][1].decode(errors="replace") if extents else "none")
    if len(head) < 64:
        raise ImageDamaged(name, f"its header ends after {len(head)} bytes")
    capacity, _grain, place, sectors = struct.unpack_from("<QQQQ", head, 12)
    descriptor = image.read(place * SECTOR, min(sectors, 2048) * SECTOR) if place else b""
    extents = _EXTENT.findall(descriptor)
    # Without a capacity QEMU takes the descriptor for the image and follows its extents.
    if capacity == 0 or len(extents) > 1:
        raise ForeignFile(name, "extent", extents[-1][1].decode(errors="replace") if extents else "none")
    parent = _PARENT.search(descriptor)
    if parent:
        raise ForeignFile(name, "parent", parent[1].decode(errors="replace"))


def _check_vhd(name: str, image: Region) -> None:
    """The footer, of which a growing image has a copy at its start, says what kind it is."""
    footer = image.read(image.size - SECTOR, SECTOR)
    if len(footer) < SECTOR or not footer.startswith(b"conectix"):
        raise ImageDamaged(name, "its footer is missing")
    (kind,) = struct.unpack_from(">I", footer, 60)
    if kind == _DIFFERENCING:
        raise ForeignFile(name, "parent", "another VHD")
    if kind not in {_FIXED, _DYNAMIC}:
        raise ImageDamaged(name, f"it is of the unknown kind {kind}")
    (size,) = struct.unpack_from(">Q", footer, 48)
    if kind == _FIXED and size + SECTOR > image.size:
        raise ImageDamaged(name, f"its disk needs {size} bytes and it has {image.size - SECTOR}")
    if kind == _DYNAMIC:
        _check_copy(name, image, footer)


def _check_copy(name: str, image: Region, footer: bytes) -> None:
    if image.read(0, SECTOR) != footer:
        raise ImageDamaged(name, "the copy of its footer at its start differs")


def _check_partitions(name: str, image: Region) -> None:
    """A partition that ends beyond the file means that the file was cut short."""
    ends = [0]
    if image.read(510, 2) == b"\x55\xaa":
        for entry in range(446, 510, 16):
            kind, start, count = struct.unpack("<4xB3xII", image.read(entry, 16))
            if kind not in {0, 0xEE} and image.read(entry, 1) in {b"\0", b"\x80"}:
                ends.append((start + count) * SECTOR)
    if image.read(512, 8) == b"EFI PART":
        (backup,) = struct.unpack("<Q", image.read(512 + 32, 8))
        ends.append((backup + 1) * SECTOR)
    if max(ends) > image.size:
        raise ImageDamaged(name, f"its partitions need {max(ends)} bytes and it has {image.size}")


def _check_iso(name: str, image: Region) -> None:
    if image.read(32769, 5) != b"CD001":
        return
    (blocks,) = struct.unpack("<I", image.read(32768 + 80, 4).ljust(4, b"\0"))
    (block,) = struct.unpack("<H", image.read(32768 + 128, 2).ljust(2, b"\0"))
    if blocks * block > image.size:
        raise ImageDamaged(name, f"its file system needs {blocks * block} bytes and it has {image.size}")
