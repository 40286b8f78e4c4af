"""Refusals of file restore."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class FileMissing(NaosError):
    code: ClassVar[str] = "protection.file_missing"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "The restore point of {machine!r} of {taken} has no {what}: {reason}."
    machine: str
    taken: str
    what: str
    reason: str


@dataclass(eq=False)
class FileUnreadable(NaosError):
    """`what`: the volume, the file or the folder."""

    code: ClassVar[str] = "protection.file_unreadable"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Of the restore point of {machine!r} of {taken}, {what!r} cannot be read so: {reason}."
    machine: str
    taken: str
    what: str
    reason: str


@dataclass(eq=False)
class FolderNeedsArchive(NaosError):
    code: ClassVar[str] = "protection.folder_needs_archive"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "{path!r} is a folder: it is downloaded as an archive, format `tar` or `zip`."
    path: str


@dataclass(eq=False)
class PutBackRefused(NaosError):
    """What the guest did not do, or what is already there."""

    code: ClassVar[str] = "protection.put_back_refused"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "{what!r} was not put back into machine {machine!r}: {reason}."
    machine: str
    what: str
    reason: str


@dataclass(eq=False)
class TargetFolderInvalid(NaosError):
    code: ClassVar[str] = "protection.target_folder_invalid"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{folder!r} is no folder of a machine: an absolute path without '..' is wanted, such as /srv/restored."
    )
    folder: str
