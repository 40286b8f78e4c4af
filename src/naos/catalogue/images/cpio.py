"""Initramfs archives: the "newc" cpio format, written so that the same content gives the same bytes."""

import stat
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, folder or device of an archive. `mode` holds type and permissions; `device` is (major, minor)."""

    name: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)


def folder(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, content: bytes, *, executable: bool = False) -> Entry:
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), content)


def link(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(entries: Iterable[Entry]) -> bytes:
    """The entries in their order, all owned by root, without times. Parents must come before their children."""
    output = BytesIO()
    for number, entry in enumerate([*entries, Entry(TRAILER, 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device, len(name), 0)
        output.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name)
        _pad(output)
        output.write(entry.content)
        _pad(output)
    return output.getvalue()


def _pad(output: BytesIO) -> None:
    output.write(b"\0" * (-output.tell() % 4))
