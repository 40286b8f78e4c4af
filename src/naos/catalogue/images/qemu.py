"""qemu-img on images that are not ours: format and place are given, never guessed, and there are limits on what it
takes.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from naos.catalogue.images import commands
from naos.catalogue.images.content import SECTOR, Kind
from naos.catalogue.images.errors import ImageDamaged, ToolFailed
from naos.catalogue.images.region import Region, whole
from naos.catalogue.images.store import silent

GIB = 1024**3
_MEMORY = 2 * GIB  # `check` of an image of 16 TiB counts its clusters in 512 MiB
_OVERHEAD = 64 * 1024**2
_LEAKS_ONLY, _NO_CHECKS = 3, 63


@dataclass(frozen=True)
class Inside:
    """What qemu-img says of an image: bytes of its disk, and bytes that a copy of it needs at most."""

    virtual_size: int
    required: int


def _place(kind: Kind, image: Region) -> str:
    """The image as a block graph: one reader, on that part of that file, with nothing behind it."""
    source = {"driver": "file", "filename": str(image.path.resolve()), "read-only": True, "auto-read-only": False}
    part: dict[str, Any] = {"driver": "raw", "file": source}
    if image != whole(image.path):
        # Inside an archive, whose entries are padded to whole sectors.
        part.update(offset=image.offset, size=-(-image.size // SECTOR) * SECTOR)
    driver = "vpc" if kind is Kind.VHD else kind.value
    graph: dict[str, Any] = part if kind is Kind.RAW else {"driver": driver, "file": part}
    if kind in {Kind.QCOW2, Kind.VMDK}:
        graph["backing"] = None
    return "json:" + json.dumps(graph)


def _limits(cpu: int, file: int = 0) -> commands.Limits:
    return commands.Limits(memory=_MEMORY, cpu=cpu, file=file)


def inspect(name: str, kind: Kind, image: Region) -> Inside:
    """Sizes of a disk image. Raises ImageDamaged, ToolMissing, ToolTimeout."""
    info = json.loads(_run(name, ["info", "--output=json", _place(kind, image)], 60, 120))
    measured = json.loads(_run(name, ["measure", "--output=json", "-O", "qcow2", _place(kind, image)], 600, 1200))
    return Inside(int(info["virtual-size"]), int(measured["required"]))


def check(name: str, kind: Kind, image: Region) -> None:
    """Let qemu-img check the image's own tables; clusters that are only lost are no harm. Raises ImageDamaged,
    ToolTimeout.
    """
    argv = ["qemu-img", "check", "--output=json", _place(kind, image)]
    done = commands.attempt(argv, timeout=1800, limits=_limits(1200))
    allowed = (
        {0, _LEAKS_ONLY, _NO_CHECKS} if kind is Kind.VHD else {0, _LEAKS_ONLY}
    )  # nothing to check in a VHD's tables
    if done.returncode not in allowed:
        raise ImageDamaged(name, _reason(done.stdout, _without_paths(commands.last_words(done))))


def _reason(output: bytes, otherwise: str) -> str:
    try:
        found = json.loads(output)
    except ValueError:
        return otherwise
    corruptions, unreadable = found.get("corruptions", 0), found.get("check-errors", 0)
    return f"qemu-img check found {corruptions} corruptions and {unreadable} unreadable parts"


def convert(
    name: str,
    kind: Kind,
    image: Region,
    target: Path,
    *,
    virtual_size: int,
    progress: Callable[[float], None] = silent,
) -> None:
    """Write the disk to `target` as qcow2, without snapshots, bitmaps or anything else that the source held beside its
    disk.

    Raises ImageDamaged, ToolTimeout.
    """
    limit = virtual_size + virtual_size // 64 + _OVERHEAD
    argv = ["convert", "-p", "-O", "qcow2", "-o", "compat=1.1,lazy_refcounts=off", _place(kind, image), str(target)]
    try:
        commands.follow(["qemu-img", *argv], timeout=4 * 3600, progress=progress, limits=_limits(3600, limit))
    except ToolFailed as error:
        raise ImageDamaged(name, _without_paths(error.reason)) from error


def make_blank(target: Path, size: int) -> None:
    """An empty qcow2 image of `size` bytes."""
    commands.run(["qemu-img", "create", "-q", "-f", "qcow2", str(target), str(size)], timeout=60)


def grow(image: Path, size: int) -> None:
    """Make a qcow2 image's disk larger."""
    commands.run(["qemu-img", "resize", "-q", "-f", "qcow2", str(image), str(size)], timeout=60)


def start_of_disk(name: str, image: Path, folder: Path) -> Region:
    """The first 128 KiB of a qcow2 image's disk, as a file in `folder`."""
    place = folder / "start"
    argv = ["dd", "-f", "qcow2", "-O", "raw", "bs=128k", "count=1", f"if={image}", f"of={place}"]
    _run(name, argv, 60, 120, file=GIB)
    return Region(place, 0, place.stat().st_size)


def _run(name: str, argv: Sequence[str], cpu: int, timeout: float, *, file: int = 0) -> str:
    try:
        return commands.run(["qemu-img", *argv], timeout=timeout, limits=_limits(cpu, file))
    except ToolFailed as error:
        raise ImageDamaged(name, _without_paths(error.reason)) from error


def _without_paths(words: str) -> str:
    """What qemu-img said, without where the image lies on this machine."""
    return re.sub(r"(the image: )+", "", re.sub(r"(Could not open )?'(json:\{.*?\}|/[^']*)'", "the image", words))
