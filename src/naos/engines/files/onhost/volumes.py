"""What there is to read on the disks of a point: whole disks, partitions, logical volumes."""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from naos.engines.files.onhost import lvm, tables
from naos.engines.files.onhost.btrfs import SUPERBLOCK, Btrfs
from naos.engines.files.onhost.disk import Damaged, Disk, Part, Remembered, Unsupported
from naos.engines.files.onhost.ext import Ext
from naos.engines.files.onhost.fat import Fat
from naos.engines.files.onhost.ntfs import Ntfs
from naos.engines.files.onhost.tree import FileSystem
from naos.engines.files.onhost.xfs import Xfs

_LVM = "lvm"
_OTHERS = (  # where, what stands there, what it is, why it is not read
    (0, b"LUKS\xba\xbe", "luks", "it is encrypted (LUKS): its files can be read only by who has the key, in the machine itself"),
    (3, b"-FVE-FS-", "bitlocker", "it is encrypted (BitLocker): its files can be read only by who has the key, in the machine itself"),
    (3, b"EXFAT   ", "exfat", "exFAT is not read here"),
    (4086, b"SWAPSPACE2", "swap", "it is swap space, without files"),
    (65526, b"SWAPSPACE2", "swap", "it is swap space, without files"),
    (4096, b"\xfc\x4e\x2b\xa9", "raid", "it is part of a software RAID, which is not read here"),
    (32769, b"CD001", "iso9660", "ISO 9660 is not read here"),
)  # fmt: skip


@dataclass(frozen=True)
class Volume:
    """id: `UNIT`, `UNIT.PARTITION` or `lvm.ID`. kind: of the file system or of what is there instead, "" for nothing that is known.
    problem: why its files cannot be read."""

    id: str
    name: str
    disk: str
    size: int
    kind: str
    label: str
    problem: str
    note: str
    opened: FileSystem | None = None


def _mark(disk: Disk, at: int, length: int) -> bytes:
    return disk.read(at, length) if at + length <= disk.size else b""


_MARKS = (
    ("xfs", 0, b"XFSB"),
    ("btrfs", SUPERBLOCK + 64, b"_BHRfS_M"),
    ("ext", 1080, b"\x53\xef"),
    ("ntfs", 3, b"NTFS    "),
)


def _file_system(disk: Disk) -> str:
    """Its kind, "" for none."""
    for kind, at, mark in _MARKS:
        if _mark(disk, at, len(mark)) == mark:
            return kind
    head = _mark(disk, 0, 512)
    if head[510:] == b"\x55\xaa" and head[:1] in (b"\xeb", b"\xe9"):
        words = struct.unpack_from("<HBHB", head, 11)
        if head[54:57] == b"FAT" or head[82:87] == b"FAT32":
            return "fat"
        if words[0] in (512, 1024, 2048, 4096) and words[1] and not words[1] & (words[1] - 1) and words[3] in (1, 2):
            return "fat" if head[21] >= 0xF0 else ""
    return ""


def _other(disk: Disk) -> tuple[str, str]:
    for at, mark, kind, reason in _OTHERS:
        if _mark(disk, at, len(mark)) == mark:
            return kind, reason
    return "", "there is nothing that can be read here"


class Point:
    """The disks of one point, by their places (units) and names, and what is on them."""

    def __init__(self, disks: Sequence[tuple[str, str, Disk]]) -> None:
        self._places: list[tuple[str, str, str, Disk]] = []  # id, name, the disk's place, content
        self._failed: list[Volume] = []
        physical: list[lvm.Physical] = []
        for place, name, disk in disks:
            self._look(place, name, Remembered(disk))
        for identifier, _, place, part in self._places:
            del identifier
            try:
                found = lvm.physical(part, place)
            except Damaged:
                continue
            if found is not None:
                physical.append(found)
        try:
            self._logical = list(lvm.logical(physical))
        except FAILURES:  # a description that says numbers where lists are wanted, and the like
            self._logical = []

    def _look(self, place: str, name: str, disk: Disk) -> None:
        try:
            parts = tables.gpt(disk)
            if parts is None and not _file_system(disk) and not _other(disk)[0]:
                parts = tables.mbr(disk)
        except Damaged as damage:
            self._failed.append(Volume(place, name, name, disk.size, "", "", str(damage), ""))
            return
        if parts is None:
            self._places.append((place, name, place, disk))
        for part in parts or ():
            identifier, title = f"{place}.{part.number}", f"{name}, partition {part.number}"
            title += f" ({part.name})" if part.name else ""
            try:
                self._places.append((identifier, title, place, Part(disk, part.offset, part.size)))
            except Damaged as damage:
                self._failed.append(Volume(identifier, title, place, part.size, "", "", str(damage), ""))

    def _members(self, first: Disk) -> Sequence[Disk]:
        """A disk, and all others that may hold more of the same file system."""
        logical = [volume.disk for volume in self._logical if volume.disk is not None]
        return [first, *(part for _, _, _, part in self._places if part is not first), *logical]

    def _all(self) -> Iterator[tuple[Volume, Callable[[], FileSystem] | None]]:
        """One that is damaged hides none of the others."""
        for identifier, title, place, part in self._places:
            yield self._kept(Volume(identifier, title, place, part.size, "", "", "", ""), part)
        for volume in self._logical:
            identifier = f"lvm.{volume.id}{'.' if volume.place else ''}{volume.place}"
            plain = Volume(
                identifier, f"{volume.group}/{volume.name}", volume.place, volume.size, "", "", volume.problem, ""
            )
            if volume.disk is None:
                yield plain, None
            else:
                yield self._kept(plain, Remembered(volume.disk))

    def _kept(self, plain: Volume, part: Disk) -> tuple[Volume, Callable[[], FileSystem] | None]:
        try:
            if _mark(part, 0, 8) == b"LABELONE" or _mark(part, 512, 8) == b"LABELONE":
                problem = "it is a part of a volume group: choose a logical volume"
                return _with(plain, kind=_LVM, problem=problem), None
            kind = _file_system(part)
            found, problem = ("", "") if kind else _other(part)
        except FAILURES as error:
            return _with(plain, problem=reason(error)), None
        if not kind:
            return _with(plain, kind=found, problem=problem), None
        if kind == "btrfs":
            return _with(plain, kind=kind), lambda: Btrfs(self._members(part))
        makers: dict[str, Callable[[Disk], FileSystem]] = {"ext": Ext, "xfs": Xfs, "ntfs": Ntfs, "fat": Fat}
        return _with(plain, kind=kind), lambda: makers[kind](part)

    def volumes(self) -> Iterator[Volume]:
        """Each opened, as far as it can be."""
        yield from self._failed
        for volume, opened in self._all():
            yield volume if opened is None else _opened(volume, opened)

    def volume(self, identifier: str) -> Volume | None:
        for volume in self._failed:
            if volume.id == identifier:
                return volume
        for volume, opened in self._all():
            if volume.id == identifier:
                return volume if opened is None else _opened(volume, opened)
        return None


def _with(volume: Volume, **changes: Any) -> Volume:
    return Volume(**{**volume.__dict__, **changes})


FAILURES = (
    Damaged,
    Unsupported,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What reading a damaged file system can raise."""


def reason(error: BaseException) -> str:
    """In words."""
    if isinstance(error, Damaged):
        return f"the file system is damaged: {error}"
    if isinstance(error, Unsupported):
        return f"{error}: that is not read here"
    if isinstance(error, MemoryError | RecursionError):
        return "the file system is damaged: it asks for more than there is"
    return "the file system is damaged: its structures contradict each other"


def _opened(volume: Volume, opened: Callable[[], FileSystem]) -> Volume:
    try:
        found = opened()
        found.node(found.root())
    except FAILURES as error:
        return _with(volume, problem=reason(error))
    return _with(volume, kind=found.kind, label=found.label, note=found.note, opened=found)
