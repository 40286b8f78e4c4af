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

from naos.catalogue.images import download, ova, qemu
from naos.catalogue.images.content import Kind, check_header, identify
from naos.catalogue.images.errors import (
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
from naos.engines.errors import NoSpace

log = structlog.get_logger()

_CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|md5:[0-9a-f]{32})")
_DECLARED = {
    ".qcow2": Kind.QCOW2,
    ".raw": Kind.RAW,
    ".vmdk": Kind.VMDK,
    ".vhdx": Kind.VHDX,
    ".ova": Kind.OVA,
    ".iso": Kind.ISO,
}
"""Endings that promise a format. `.img` promises none."""
_MADE = "made"
_FILE_OVERHEAD = 64 * 1024**2  # what a file may have beyond its disk: headers and tables


@dataclass(frozen=True)
class ImageFacts:
    """What was taken in. format: what the source was (qcow2, raw, vmdk, vhdx, ova, iso); kept is qcow2, or the ISO as
    it is.

    virtual_size: bytes of the disk. checksum: ``sha256:...`` of the kept file.
    """

    format: str
    virtual_size: int
    checksum: str


def _silent(_share: float) -> None:
    """Progress that nobody watches."""


def accept(
    source: str | Path,
    target: Path,
    *,
    checksum: str | None = None,
    max_virtual_size: int,
    progress: Callable[[float], None] = _silent,
    allow_loopback: bool = False,
    namespace: Path | None = None,
) -> ImageFacts:
    """Take an image from a file or an http(s) URL and keep it at `target`: whole, or not at all.

    checksum: of the source, as ``sha256:``, ``sha512:`` or ``md5:`` and digits. max_virtual_size: bytes of the disk at
    most. progress: share from 0 to 1. allow_loopback: whether a URL may lead to this machine. namespace: the
    network namespace through which a URL is fetched, by default the caller's own. One caller at a time for
    a target; a call that was killed is cleaned up by the next one, or by `discard`.
    Raises what is in `images.errors`, and NoSpace.
    """
    wanted = _parse_checksum(checksum)
    with _workshop(target) as folder:
        name, image = _bring(
            source, folder, download.Bounds(max_virtual_size + _FILE_OVERHEAD, allow_loopback, namespace), progress
        )
        progress(0.5)
        if wanted is not None:
            _check_digest(name, image, wanted)
        progress(0.6)
        kind = identify(name, image)
        _check_declared(name, kind)
        keep = _keep_iso if kind is Kind.ISO else _keep_disk
        size = keep(name, kind, image, folder, max_virtual_size)
        made = folder / _MADE
        progress(0.95)
        facts = ImageFacts(kind.value, size, f"sha256:{whole(made).digest('sha256')}")
        _settle(made, target)
    progress(1.0)
    log.info("image.accepted", name=name, format=facts.format, virtual_size=size, checksum=facts.checksum)
    return facts


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
        download.fetch(source, fetched, bounds, lambda share: progress(share * 0.5))
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


def _keep_iso(name: str, kind: Kind, image: Region, folder: Path, limit: int) -> int:
    check_header(name, kind, image)
    if image.size > limit:
        raise ImageTooLarge(name, "disk", image.size, limit)
    if image.path.parent == folder:
        image.path.rename(folder / _MADE)
    else:
        _check_room(name, image.size, folder)
        shutil.copyfile(image.path, folder / _MADE)
    return image.size


def _keep_disk(name: str, kind: Kind, image: Region, folder: Path, limit: int) -> int:
    """Check a disk image and write it anew; returns the bytes of its disk."""
    if kind is Kind.OVA:
        image = ova.disk(name, image)
        kind = identify(name, image)
        if kind not in {Kind.QCOW2, Kind.RAW, Kind.VMDK, Kind.VHDX}:
            raise UnsupportedFormat(name, f"appliance whose disk is {kind.value}", "Export it with one VMDK disk.")
    check_header(name, kind, image)
    inside = qemu.inspect(name, kind, image)
    if inside.virtual_size > limit:
        raise ImageTooLarge(name, "disk", inside.virtual_size, limit)
    if inside.virtual_size == 0:
        raise NotAnImage(name, "an image of a disk without content")
    if kind is not Kind.RAW:
        qemu.check(name, kind, image)
    _check_room(name, inside.required, folder)
    made = folder / _MADE
    qemu.convert(name, kind, image, made, virtual_size=inside.virtual_size)
    _check_nested(name, kind, made, folder)
    return inside.virtual_size


def _check_room(name: str, needed: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpace("this controller", name, f"keeping it takes {needed} bytes and {free} are free")


def _check_nested(name: str, kind: Kind, made: Path, folder: Path) -> None:
    """A disk whose content is an image would tempt the next reader to open that one, and no machine boots it."""
    start = qemu.start_of_disk(name, made, folder)
    try:
        inner = identify(name, start)
    except NotAnImage:
        return  # a disk may hold anything else, or nothing yet
    except UnsupportedFormat as error:
        raise NestedImage(name, kind.value, error.found) from error
    if inner in {Kind.QCOW2, Kind.VMDK, Kind.VHDX, Kind.OVA}:
        raise NestedImage(name, kind.value, inner.value)
