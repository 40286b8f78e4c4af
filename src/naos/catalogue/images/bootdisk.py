"""A boot disk put together in a plain file, for BIOS and for EFI: no loop device, no mount.

Sector 0 holds syslinux's MBR code and the table; partition 1 is a FAT file system with syslinux of both kinds, kernel and
initramfs; partition 2 is the ext4 root, which ends the disk, so that it can grow with it.
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
EFI_LOADER = Path("/usr/lib/SYSLINUX.EFI/efi64/syslinux.efi")
EFI_LIBRARY = Path("/usr/lib/syslinux/modules/efi64/ldlinux.e64")
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
class Identity:
    """What names a disk. seed: 32 bytes that serial numbers and UUIDs are made from; moment: seconds since 1970 of all
    its times.
    """

    seed: bytes
    moment: int

    @property
    def signature(self) -> int:
        return int.from_bytes(self.seed[:4], "little")

    @property
    def root(self) -> uuid.UUID:
        """The UUID of the root file system."""
        return uuid.UUID(bytes=self.seed[8:24], version=4)


@dataclass(frozen=True)
class Ext4:
    """How a root file system is made. journal: MiB; inode_ratio: bytes of disk for each file."""

    label: str
    journal: int
    inode_ratio: int


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


def assemble(disk: Path, size: int, boot: BootFiles, root: Path, identity: Identity) -> None:
    """Write a raw disk of `size` bytes. Raises BuildFailed, ToolFailed, ToolMissing."""
    for part, package in ((MBR_CODE, "syslinux"), (EFI_LOADER, "syslinux-efi"), (EFI_LIBRARY, "syslinux-common")):
        if not part.is_file():
            raise ToolMissing(part.name, package)
    needed = boot.kernel.stat().st_size + boot.initramfs.stat().st_size + 2 * MIB
    fat = Partition(FAT, MIB, math.ceil(needed / MIB) * MIB, active=True)
    ext4 = Partition(LINUX, fat.start + fat.size, size - fat.start - fat.size)
    if ext4.size < 16 * MIB:
        raise BuildFailed(
            "an image", f"kernel and initramfs leave {ext4.size} of {size} bytes for the root file system"
        )
    with disk.open("wb") as stream:
        stream.truncate(size)
        stream.write(table([fat, ext4], MBR_CODE.read_bytes(), identity.signature))
    _fill_fat(disk, fat, boot, identity)
    # Growing while mounted takes a transaction over all reserved descriptors, for which a journal of 4 MiB is too
    # small.
    fill_ext4(disk, ext4, root, Ext4("naos-root", journal=8, inode_ratio=8192), identity)


def _fill_fat(disk: Path, part: Partition, boot: BootFiles, identity: Identity) -> None:
    place = f"{disk}@@{part.start}"
    extra = {"MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(identity.moment)}
    geometry = ["-T", str(part.size // SECTOR), "-h", "255", "-s", "63", "-H", str(part.start // SECTOR)]
    cluster = ["-c", str(_SECTORS_PER_CLUSTER), "-N", identity.seed[4:8].hex(), "-v", "NAOSBOOT"]
    commands.run(["mformat", "-i", place, *geometry, *cluster, "::"], timeout=60, extra=extra)
    menu = (
        f"DEFAULT naos\nPROMPT 0\nTIMEOUT 0\nLABEL naos\nKERNEL /vmlinuz\nINITRD /initrd\nAPPEND {boot.command_line}\n"
    )
    config = disk.with_name("syslinux.cfg")
    config.write_text(menu)
    loader, library = disk.with_name("bootx64.efi"), disk.with_name("ldlinux.e64")
    loader.write_bytes(EFI_LOADER.read_bytes())
    library.write_bytes(EFI_LIBRARY.read_bytes())
    commands.run(["mmd", "-i", place, "::EFI", "::EFI/BOOT"], timeout=60, extra=extra)
    for source, name in (
        *((boot.kernel, "vmlinuz"), (boot.initramfs, "initrd"), (config, "syslinux.cfg")),
        *((loader, "EFI/BOOT/BOOTX64.EFI"), (library, "EFI/BOOT/ldlinux.e64"), (config, "EFI/BOOT/syslinux.cfg")),
    ):
        os.utime(source, (identity.moment, identity.moment))
        commands.run(["mcopy", "-m", "-i", place, str(source), f"::{name}"], timeout=60, extra=extra)
    commands.run(["syslinux", "--install", "--offset", str(part.start), str(disk)], timeout=60, extra=extra)


def fill_ext4(disk: Path, part: Partition, root: Path, made: Ext4, identity: Identity) -> None:
    """Make an ext4 file system in a partition of a raw disk and fill it from the folder `root`. Raises ToolFailed,
    ToolMissing.
    """
    block = 4096
    # `resize` keeps room for the block descriptors of a grown disk: the partition table's own limit is 2 TiB.
    room = f"offset={part.start},resize={_LARGEST_ROOT // block}"
    hashes = f"hash_seed={uuid.UUID(bytes=identity.seed[16:32])}"
    argv = [
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-I", "256", "-i", str(made.inode_ratio), "-m", "0"),
        *("-J", f"size={made.journal}", "-L", made.label, "-U", str(identity.root)),
        *("-E", f"{room},{hashes},lazy_itable_init=0,lazy_journal_init=0"),
        *("-d", str(root), str(disk), str(part.size // block)),
    ]
    times = {"E2FSPROGS_FAKE_TIME": str(identity.moment), "SOURCE_DATE_EPOCH": str(identity.moment)}
    commands.run(argv, timeout=900, extra=times)
