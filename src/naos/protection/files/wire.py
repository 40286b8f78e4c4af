"""File restore on the wire."""

from enum import StrEnum

from pydantic import Field

from naos.ids import ResourceId
from naos.wire import Request, Wire


class Format(StrEnum):
    """raw: a file as it is. tar, zip: a folder, or a file, as an archive."""

    RAW = "raw"
    TAR = "tar"
    ZIP = "zip"


class FileVolumeWire(Wire):
    """A whole disk, a partition or a logical volume of a restore point. `type`: of the file system, or of what is there instead.
    `readable`: whether its files can be read; `problem` says why not; `note` what may be missing."""

    id: str
    name: str
    size: int
    type: str
    label: str
    readable: bool
    problem: str
    note: str


class FileWire(Wire):
    """`name`: bytes that are no text are written ``%XX``. `type`: file, folder, link or other. `modified_at`: milliseconds since 1970. `mode`: the
    permissions, in octal. `target`: of a link. `note`: why it has no content."""

    name: str
    path: str
    type: str
    size: int
    modified_at: int
    mode: str
    uid: int
    gid: int
    target: str
    note: str


class FilesWire(Wire):
    """`next`: what to give as `after` for the entries that follow, null when there are none."""

    path: str
    files: list[FileWire]
    next: str | None


class DownloadRequest(Request):
    volume: str = Field(min_length=1, max_length=128)
    path: str = Field(max_length=65536)
    format: Format = Format.RAW


class PutBackRequest(Request):
    """`folder`: of the machine, an absolute path; it is there. `overwrite`: what is there under the same names is replaced."""

    volume: str = Field(min_length=1, max_length=128)
    path: str = Field(max_length=65536)
    virtual_machine_id: ResourceId
    folder: str = Field(min_length=1, max_length=4096)
    overwrite: bool = False
