"""Taking in an image from outside: fetched, recognised by its content, checked, and kept as a plain qcow2 (or ISO)
file.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from naos.catalogue.images import download, flat, ova, qemu, room
from naos.catalogue.images.content import Kind, check_header, identify
from naos.catalogue.images.errors import (
    BadDescriptor,
    ChecksumMalformed,
    ChecksumMismatch,
    FormatLie,
    ImageTooLarge,
    NestedImage,
    NotAnImage,
    SourceRefused,
    UnsupportedFormat,
)
from naos.catalogue.images.region import Region, whole
from naos.catalogue.images.store import silent
from naos.catalogue.ovf.descriptor import Descriptor, SourceDisk

log = structlog.get_logger()

_CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|md5:[0-9a-f]{32})")
_DECLARED = {
    ".qcow2": Kind.QCOW2,
    ".raw": Kind.RAW,
    ".vmdk": Kind.VMDK,
    ".vhdx": Kind.VHDX,
    ".vhd": Kind.VHD,
    ".ova": Kind.OVA,
    ".iso": Kind.ISO,
}
"""Endings that promise a format. `.img` promises none."""
_MADE = "made"
_FILE_OVERHEAD = 64 * 1024**2  # what a file may have beyond its disk: headers and tables
_DISKS = frozenset({Kind.QCOW2, Kind.RAW, Kind.VMDK, Kind.VHDX, Kind.VHD})


@dataclass(frozen=True)
class ImageFacts:
    """What was taken in. format: what the source was (qcow2, raw, vmdk, vhdx, vhd, ova, iso); kept is qcow2, or the ISO as
    it is.

    virtual_size: bytes of the disk. checksum: ``sha256:...`` of the kept file.
    """

    format: str
    virtual_size: int
    checksum: str


@dataclass(frozen=True)
class DiskFacts:
    """A disk that was kept. capacity: bytes of the disk; size: bytes of the file; populated: bytes that it takes; controller:
    id in the descriptor, or empty. checksum: ``sha256:...`` of the kept file."""

    name: str
    controller: str
    capacity: int
    size: int
    populated: int
    checksum: str


@dataclass(frozen=True)
class ItemFacts:
    """What was taken in: `format` as of `ImageFacts`; the descriptor of an appliance; the disks in order, or the one ISO."""

    format: str
    descriptor: Descriptor | None
    disks: list[DiskFacts]


def accept(
    source: str | Path,
    target: Path,
    *,
    checksum: str | None = None,
    max_virtual_size: int,
    progress: Callable[[float], None] = silent,
    allow_loopback: bool = False,
    namespace: Path | None = None,
) -> ImageFacts:
    """Take an image with one disk, as `accept_item` does. Raises BadDescriptor for an appliance with several."""

    def place(position: int) -> Path:
        if position:
            raise BadDescriptor(str(source), "it has several disks, and one is wanted")
        return target

    taken = accept_item(
        source,
        place,
        checksum=checksum,
        max_virtual_size=max_virtual_size,
        progress=progress,
        allow_loopback=allow_loopback,
        namespace=namespace,
    )
    (disk,) = taken.disks
    return ImageFacts(taken.format, disk.capacity, disk.checksum)


def accept_item(
    source: str | Path,
    place: Callable[[int], Path],
    *,
    checksum: str | None = None,
    max_virtual_size: int,
    progress: Callable[[float], None] = silent,
    allow_loopback: bool = False,
    namespace: Path | None = None,
) -> ItemFacts:
    """Take an image or an appliance from a file or an http(s) URL, and keep each of its disks at the `place` of its number:
    every one whole, or none at all.

    checksum: of the source, as ``sha256:``, ``sha512:`` or ``md5:`` and digits. max_virtual_size: bytes of each disk at
    most. progress: share from 0 to 1. allow_loopback: whether a URL may lead to this machine. namespace: the
    network namespace through which a URL is fetched, by default the caller's own. One caller at a time for
    a place; a call that was killed is cleaned up by the next one, or by `discard`.
    Raises what is in `images.errors`, and NoSpace.
    """
    wanted = _parse_checksum(checksum)
    with _workshop(place(0)) as folder:
        bounds = download.Bounds(max_virtual_size + _FILE_OVERHEAD, allow_loopback, namespace)
        name, image = _bring(source, folder, bounds, progress)
        if wanted is not None:
            _check_digest(name, image, wanted)
        progress(0.4)
        kind = identify(name, image)
        _check_declared(name, kind)
        bench = _Bench(name, folder, max_virtual_size, progress)
        if kind is Kind.OVA:
            appliance = ova.read(name, image)
            descriptor: Descriptor | None = appliance.descriptor
            bench.keep_appliance(appliance)
        else:
            descriptor = None
            bench.keep_image(kind, image)
        places = [place(position) for position in range(len(bench.kept))]
        for position, target in enumerate(places):
            _settle(folder / f"{_MADE}-{position}", target)
    progress(1.0)
    log.info("image.accepted", name=name, format=kind.value, disks=[disk.capacity for disk in bench.kept])
    return ItemFacts(kind.value, descriptor, bench.kept)


def discard(target: Path) -> None:
    """Remove a kept image and whatever an interrupted `accept` for it left. Absent is fine."""
    target.unlink(missing_ok=True)
    _clear(_folder_of(target))


# --------------------------------------------------------------------------------------------------------------- places


def _folder_of(target: Path) -> Path:
    # One name for each target, so that a repeated call finds what a killed one left.
    return target.with_name(f".{target.name}.partial")


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _workshop(target: Path) -> Iterator[Path]:
    folder = _folder_of(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _clear(folder)


def _settle(made: Path, target: Path) -> None:
    """Put the finished file in its place, safe from a power cut."""
    made.chmod(0o644)
    for path in (made, target.parent):
        if path == target.parent:
            made.replace(target)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _bring(
    source: str | Path, folder: Path, bounds: download.Bounds, progress: Callable[[float], None]
) -> tuple[str, Region]:
    if isinstance(source, str) and download.is_url(source):
        fetched = folder / "fetched"
        download.fetch(source, fetched, bounds, lambda share: progress(share * 0.4))
        return download.name_of(source), whole(fetched)
    path = Path(source)
    if path.is_symlink() or not path.is_file():
        raise SourceRefused(path.name, "it is no file" if path.exists() else "it does not exist")
    image = whole(path)
    if image.size > bounds.size:
        raise ImageTooLarge(path.name, "file", image.size, bounds.size)
    return path.name, image


# --------------------------------------------------------------------------------------------------------------- checks


def _parse_checksum(checksum: str | None) -> tuple[str, str] | None:
    if checksum is None:
        return None
    if not _CHECKSUM.fullmatch(checksum.lower()):
        raise ChecksumMalformed(checksum)
    algorithm, _, digits = checksum.lower().partition(":")
    return algorithm, digits


def _check_digest(name: str, image: Region, wanted: tuple[str, str]) -> None:
    algorithm, expected = wanted
    found = image.digest(algorithm)
    if found != expected:
        raise ChecksumMismatch(name, algorithm, expected, found)


def _check_declared(name: str, kind: Kind) -> None:
    declared = _DECLARED.get(Path(name).suffix.lower())
    if declared is not None and declared is not kind:
        raise FormatLie(name, declared.value, kind.value)


# -------------------------------------------------------------------------------------------------------------- keeping


class _Bench:
    """Disks on their way in: each is checked and written anew in `folder`. `limit`: bytes of a disk at most."""

    def __init__(self, name: str, folder: Path, limit: int, progress: Callable[[float], None]) -> None:
        self.name, self.folder, self.limit = name, folder, limit
        self.kept: list[DiskFacts] = []
        self._progress, self._share, self._from = progress, 0.55, 0.4

    def keep_image(self, kind: Kind, image: Region) -> None:
        """A disk image or an ISO by itself."""
        size = self._keep_iso(image) if kind is Kind.ISO else self._keep_disk(self.name, kind, image)
        self._note("Hard disk 1" if kind is not Kind.ISO else self.name, "", size)

    def keep_appliance(self, appliance: ova.Appliance) -> None:
        self._share /= len(appliance.descriptor.disks)
        for disk in appliance.descriptor.disks:
            self._note(disk.name, disk.controller, self._keep_part(appliance, disk))

    def _keep_part(self, appliance: ova.Appliance, disk: SourceDisk) -> int:
        name = f"{self.name}/{disk.file}" if len(appliance.descriptor.disks) > 1 else self.name
        if disk.capacity > self.limit:
            raise ImageTooLarge(name, "disk", disk.capacity, self.limit)
        if not disk.file:
            qemu.make_blank(self._made, disk.capacity)
            return disk.capacity
        parts = self.folder / "parts"
        parts.mkdir()
        image = appliance.unpacked(disk, parts, self.limit)
        kind = Kind.RAW if flat.is_assembled(image) else identify(name, image)
        if kind not in _DISKS:
            raise UnsupportedFormat(name, f"appliance whose disk is {kind.value}", "Export it with VMDK disks.")
        size = self._keep_disk(name, kind, image)
        if size < disk.capacity:
            qemu.grow(self._made, disk.capacity)
        shutil.rmtree(parts)
        return max(size, disk.capacity)

    @property
    def _made(self) -> Path:
        """Where the next disk is written."""
        return self.folder / f"{_MADE}-{len(self.kept)}"

    def _note(self, name: str, controller: str, capacity: int) -> None:
        found = self._made.stat()
        checksum = f"sha256:{whole(self._made).digest('sha256')}"
        self.kept.append(DiskFacts(name, controller, capacity, found.st_size, found.st_blocks * 512, checksum))
        self._from += self._share

    def _keep_iso(self, image: Region) -> int:
        check_header(self.name, Kind.ISO, image)
        if image.size > self.limit:
            raise ImageTooLarge(self.name, "disk", image.size, self.limit)
        if image.path.parent == self.folder:
            image.path.rename(self._made)
        else:
            room.check(self.name, image.size, self.folder)
            shutil.copyfile(image.path, self._made)
        return image.size

    def _keep_disk(self, name: str, kind: Kind, image: Region) -> int:
        """Check a disk image and write it anew; returns the bytes of its disk."""
        check_header(name, kind, image)
        inside = qemu.inspect(name, kind, image)
        if inside.virtual_size > self.limit:
            raise ImageTooLarge(name, "disk", inside.virtual_size, self.limit)
        if inside.virtual_size == 0:
            raise NotAnImage(name, "an image of a disk without content")
        if kind is not Kind.RAW:
            qemu.check(name, kind, image)
        room.check(name, inside.required, self.folder)
        start, share = self._from, self._share

        def report(done: float) -> None:
            self._progress(start + share * done)

        qemu.convert(name, kind, image, self._made, virtual_size=inside.virtual_size, progress=report)
        _check_nested(name, kind, self._made, self.folder)
        return inside.virtual_size


def _check_nested(name: str, kind: Kind, made: Path, folder: Path) -> None:
    """A disk whose content is an image would tempt the next reader to open that one, and no machine boots it."""
    start = qemu.start_of_disk(name, made, folder)
    try:
        inner = identify(name, start)
    except NotAnImage:
        return  # a disk may hold anything else, or nothing yet
    except UnsupportedFormat as error:
        raise NestedImage(name, kind.value, error.found) from error
    if inner in {Kind.QCOW2, Kind.VMDK, Kind.VHDX, Kind.VHD, Kind.OVA}:
        raise NestedImage(name, kind.value, inner.value)
