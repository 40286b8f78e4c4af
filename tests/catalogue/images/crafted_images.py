"""Disk images made for tests, good ones and hostile ones."""

import io
import struct
import subprocess
import tarfile
from pathlib import Path

MIB = 1024 * 1024


def disk_bytes(size: int = 2 * MIB) -> bytes:
    """A raw disk with one partition that fills it, and something in it."""
    entry = struct.pack("<B3xB3xII", 0x80, 0x83, 2048, size // 512 - 2048)
    sector = b"boot".ljust(446, b"\0") + entry.ljust(64, b"\0") + b"\x55\xaa"
    return (sector + b"content" * 4096).ljust(size, b"\0")


def make(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def convert(raw: Path, target: Path, kind: str, *options: str) -> Path:
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", kind, *options, raw, target], check=True)
    return target


def create(target: Path, kind: str, *options: str, size: str = "2M") -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", kind, *options, target, size], check=True)
    return target


def patched(source: Path, target: Path, offset: int, content: bytes) -> Path:
    whole = bytearray(source.read_bytes())
    whole[offset : offset + len(content)] = content
    target.write_bytes(whole)
    return target


def ovf(disk: str = "disk.vmdk", *, disks: int = 1, attributes: str = "", head: str = "") -> bytes:
    listed = "".join(f'<Disk ovf:diskId="d{n}" ovf:fileRef="file1" ovf:capacity="2097152"/>' for n in range(disks))
    return (
        f'<?xml version="1.0"?>{head}<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
        f'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
        f'<File ovf:id="file1" ovf:href="{disk}" {attributes}/></References>'
        f"<DiskSection>{listed}</DiskSection></Envelope>"
    ).encode()


def ova(target: Path, entries: list[tuple[str, bytes]], *, kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """An archive; `kind` and `link` go to the last entry."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, (name, content) in enumerate(entries, start=1):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if number == len(entries) and kind != tarfile.REGTYPE:
                member.type, member.linkname, member.size = kind, link, 0
            tar.addfile(member, io.BytesIO(content))
    return target
