"""OVA files that leave: the descriptor, a manifest of SHA-256 digests, and a streamOptimized VMDK for each disk."""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from naos.catalogue.images import commands, room
from naos.catalogue.images.region import whole
from naos.catalogue.ovf import writing
from naos.catalogue.ovf.descriptor import Descriptor
from naos.catalogue.ovf.writing import PackedDisk

_MOMENT = 946_684_800  # 2000-01-01: equal content is equal bytes
_MEMORY, _CPU, _TIMEOUT = 2 * 2**30, 4 * 3600, 24 * 3600.0


def of_socket(socket: str) -> str:
    """A disk that is served over NBD, as qemu-img names it."""
    return "json:" + json.dumps({"driver": "nbd", "server": {"type": "unix", "path": socket}, "export": ""})


def of_image(image: Path) -> str:
    """A kept qcow2 image, as qemu-img names it."""
    file = {"driver": "file", "filename": str(image.resolve()), "read-only": True}
    return "json:" + json.dumps({"driver": "qcow2", "file": file, "backing": None})


def convert(source: str, target: Path, progress: Callable[[float], None]) -> None:
    """Write a disk as a VMDK: complete at its place or not there at all. Raises NoSpace, ToolFailed, ToolTimeout."""
    measured = _measured(source)
    room.check(target.name, measured["required"], target.parent)
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    argv = ["qemu-img", "convert", "-p", "-O", "vmdk", "-o", "subformat=streamOptimized,adapter_type=lsilogic"]
    limits = commands.Limits(memory=_MEMORY, cpu=_CPU, file=measured["fully-allocated"] * 2 + 64 * 2**20)
    commands.follow([*argv, source, str(part)], timeout=_TIMEOUT, progress=progress, limits=limits)
    part.replace(target)


def _measured(source: str) -> dict[str, int]:
    """Bytes that a copy takes at most: the format cannot be measured, so what is written in the disk is."""
    said: dict[str, Any] = json.loads(
        commands.run(["qemu-img", "measure", "--output=json", "-O", "qcow2", source], timeout=600)
    )
    return {key: int(said[key]) for key in ("required", "fully-allocated")}


@dataclass(frozen=True)
class Source:
    """A converted disk. capacity: bytes of the disk."""

    file: Path
    capacity: int


def pack(target: Path, machine: Descriptor, disks: Sequence[Source]) -> None:
    """Write the archive; the disks' files go with it one by one, so that their content is never there twice for long.

    A call after a crash begins from the files that are left: `disks` that are missing have to be converted again.
    """
    plain = [f"disk-{number}.vmdk" for number in range(1, len(disks) + 1)]
    sizes = [disk.file.stat() for disk in disks]
    room.check(target.name, sum(found.st_size for found in sizes), target.parent)
    packed = [
        PackedDisk(name, found.st_size, disk.capacity, min(found.st_blocks * 512, disk.capacity))
        for name, found, disk in zip(plain, sizes, disks, strict=True)
    ]
    descriptor = writing.document(machine, packed)
    digests = {"machine.ovf": hashlib.sha256(descriptor).hexdigest()}
    digests |= {name: whole(disk.file).digest("sha256") for name, disk in zip(plain, disks, strict=True)}
    manifest = "".join(f"SHA256({name})= {digest}\n" for name, digest in digests.items()).encode()
    part = target.with_suffix(".part")
    with part.open("wb") as output, tarfile.open(fileobj=output, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in (("machine.ovf", descriptor), ("machine.mf", manifest)):
            tar.addfile(_member(name, len(content)), BytesIO(content))
        for name, disk in zip(plain, disks, strict=True):
            with disk.file.open("rb") as stream:
                tar.addfile(_member(name, disk.file.stat().st_size), stream)
        tar.close()
        output.flush()
        os.fsync(output.fileno())
    part.replace(target)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, _MOMENT, 0o644
    return member
