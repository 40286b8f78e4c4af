"""The files inside a restore point: volumes, folders and contents, read where the point is kept."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class PlacedDisk:
    """A disk of a point. place: its unit, by which its volumes are named; name: as people know it."""

    disk_id: str
    place: str
    name: str


@dataclass(frozen=True)
class FileVolume:
    """A whole disk, a partition or a logical volume. id: of the point alone. kind: the file system's, or what is there instead, "" for
    nothing that is known. problem: why its files cannot be read, "" when they can; note: what may be missing all the same."""

    id: str
    name: str
    disk: str
    size: int
    kind: str
    label: str
    problem: str
    note: str


@dataclass(frozen=True)
class FileEntry:
    """kind: file, folder, link, other (it has no content: note says why), skipped (it was left out: note says why) or broken (its content
    ended too early). name: as `naos.engines.files.onhost.names` writes it; path: the same from what was asked on. mtime: seconds
    since 1970. target: of a link. same: the path of an earlier entry whose other name this is."""

    name: str
    kind: str
    path: str = ""
    size: int = 0
    mtime: float = 0.0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    links: int = 1
    target: str = ""
    note: str = ""
    same: str = ""


@dataclass(frozen=True)
class Hole:
    """So many bytes of zeroes that were never written."""

    length: int


@dataclass(frozen=True)
class FilePage:
    """more: whether there are entries after the last one."""

    entries: Sequence[FileEntry]
    more: bool


FileEvent = FileEntry | bytes | Hole
"""An entry, or a piece of the content of the file that was the last entry."""


@dataclass(frozen=True)
class GuestAttributes:
    """What a file or folder that was written into a guest is to have. target: it is to be a symbolic link to there."""

    path: str
    mode: int
    uid: int
    gid: int
    mtime: float
    target: str = ""


class GuestFiles(Protocol):
    """The files of a running guest, through its agent. Paths are absolute. Every call raises GuestRefused for what the guest did not do."""

    def has(self, path: str, *, folder: bool = False) -> bool:
        """Whether something is there; folder: whether a folder is."""

    def make_folder(self, path: str) -> None:
        """With all above it; it may be there."""

    def write(self, path: str, content: Iterator[bytes]) -> str:
        """Returns the SHA-256 of what is in the file, read back from the guest."""

    def finish(self, found: Sequence[GuestAttributes]) -> None: ...
    def place(self, source: str, target: str, *, overwrite: bool) -> bool:
        """Give a file or folder its name. False when the name is taken and not to be overwritten; what a folder has beside the new files
        stays."""

    def remove(self, path: str) -> None:
        """With all below it; it may be absent."""


class PointFiles(Protocol):
    """What a vault keeps, file by file. The point cannot be dropped while it is read, nor for some seconds afterwards.

    Every call raises Missing for what is not there, Unsupported for what cannot be read, or is of another kind than what was asked,
    Unreachable, Busy while the point is being dropped.
    """

    def volumes(self, set_id: str, point_id: str, disks: Sequence[PlacedDisk]) -> list[FileVolume]: ...
    def folder(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, after: str, limit: int
    ) -> FilePage:
        """Entries of a folder in the order of their names' bytes, those behind the name `after` ("" for the first ones)."""

    def content(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, again: bool = False
    ) -> AbstractContextManager[Iterator[FileEvent]]:
        """A file, or a folder with all below it: each entry, and after a file's its content, exactly as long as it says. again: a file of
        several names has its content under each, not under the first alone.

        What cannot be found is told when the context is entered.
        """

    def end(self, point_ids: Sequence[str]) -> None:
        """Let go of points that nobody reads at this moment, so that they can be dropped; one that is being read stays so."""
