"""A BIOS boot disk put together in a plain file: no loop device, no mount.

Sector 0 holds syslinux's MBR code and the table; partition 1 is a FAT file system with syslinux, kernel and initramfs; partition 2
is the ext4 root, which ends the disk, so that it can grow with it.
"""

import math
import os
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from naos.catalogue.images import commands
from naos.catalogue.images.errors import BuildFailed, ToolMissing

SECTOR = 512
MIB = 1024 * 1024
MBR_CODE = Path("/usr/lib/SYSLINUX/mbr.bin")
FAT, LINUX = 0x0C, 0x83
_CHS_BEYOND = b"\xfe\xff\xff"  # "use the sector numbers instead"
# Large clusters: the firmware's disk reads are slow under emulation, and syslinux makes one for each run of clusters.
_SECTORS_PER_CLUSTER = 32
_LARGEST_ROOT = 2 * 1024**4


@dataclass(frozen=True)
class BootFiles:
    """What the loader loads."""

    kernel: Path
    initramfs: Path
    command_line: str


@dataclass(frozen=True)
class Partition:
    """Start and length in bytes."""

    kind: int
    start: int
    size: int
    active: bool = False


def table(partitions: list[Partition], code: bytes, signature: int) -> bytes:
    """Sector 0: boot code, disk signature, and at most four partitions."""
    entries = b"".join(
        struct.pack(
            "<B3sB3sII",
            0x80 if part.active else 0,
            _CHS_BEYOND,
            part.kind,
            _CHS_BEYOND,
            part.start // SECTOR,
            part.size // SECTOR,
        )
        for part in partitions
    )
    return code[:440].ljust(440, b"\0") + struct.pack("<IH", signature, 0) + entries.ljust(64, b"\0") + b"\x55\xaa"


def assemble(disk: Path, size: int, boot: BootFiles, root: Path, identity: bytes, moment: int) -> None:
    """Write a raw disk of `size` bytes. identity: 32 bytes that serial numbers and UUIDs are made from; moment: seconds since 1970
    that every time stamp gets. Raises BuildFailed, ToolFailed, ToolMissing.
    """
    if not MBR_CODE.is_file():
        raise ToolMissing(MBR_CODE.name, "syslinux")
    needed = boot.kernel.stat().st_size + boot.initramfs.stat().st_size + 2 * MIB
    fat = Partition(FAT, MIB, math.ceil(needed / MIB) * MIB, active=True)
    ext4 = Partition(LINUX, fat.start + fat.size, size - fat.start - fat.size)
    if ext4.size < 16 * MIB:
        raise BuildFailed(
            "an image", f"kernel and initramfs leave {ext4.size} of {size} bytes for the root file system"
        )
    signature = int.from_bytes(identity[:4], "little")
    with disk.open("wb") as stream:
        stream.truncate(size)
        stream.write(table([fat, ext4], MBR_CODE.read_bytes(), signature))
    _fill_fat(disk, fat, boot, identity, moment)
    _fill_ext4(disk, ext4, root, identity, moment)


def _fill_fat(disk: Path, part: Partition, boot: BootFiles, identity: bytes, moment: int) -> None:
    place = f"{disk}@@{part.start}"
    extra = {"MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(moment)}
    geometry = ["-T", str(part.size // SECTOR), "-h", "255", "-s", "63", "-H", str(part.start // SECTOR)]
    cluster = ["-c", str(_SECTORS_PER_CLUSTER), "-N", identity[4:8].hex(), "-v", "NAOSBOOT"]
    commands.run(["mformat", "-i", place, *geometry, *cluster, "::"], timeout=60, extra=extra)
    menu = f"DEFAULT naos\nPROMPT 0\nTIMEOUT 0\nLABEL naos\nKERNEL vmlinuz\nINITRD initrd\nAPPEND {boot.command_line}\n"
    config = disk.with_name("syslinux.cfg")
    config.write_text(menu)
    for source, name in ((boot.kernel, "vmlinuz"), (boot.initramfs, "initrd"), (config, "syslinux.cfg")):
        os.utime(source, (moment, moment))
        commands.run(["mcopy", "-m", "-i", place, str(source), f"::{name}"], timeout=60, extra=extra)
    commands.run(["syslinux", "--install", "--offset", str(part.start), str(disk)], timeout=60, extra=extra)


def _fill_ext4(disk: Path, part: Partition, root: Path, identity: bytes, moment: int) -> None:
    block = 4096
    name, seed = uuid.UUID(bytes=identity[8:24]), uuid.UUID(bytes=identity[16:32])
    # `resize` keeps room for the block descriptors of a grown disk: the partition table's own limit is 2 TiB. Growing while mounted
    # takes a transaction over all of them, for which a journal of 4 MiB is too small.
    options = (
        f"offset={part.start},resize={_LARGEST_ROOT // block},hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0"
    )
    commands.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-I", "256", "-i", "8192", "-m", "0", "-J", "size=8"]
        + ["-L", "naos-root", "-U", str(name), "-E", options, "-d", str(root), str(disk), str(part.size // block)],
        timeout=120,
        extra={"E2FSPROGS_FAKE_TIME": str(moment), "SOURCE_DATE_EPOCH": str(moment)},
    )
