"""Refusals of the catalogue (those about an image's content are in `images.errors`)."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class SourceAmbiguous(NaosError):
    code: ClassVar[str] = "catalogue.source_ambiguous"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "A template comes from an upload or from a URL: {given} were given. Send exactly one of uploadId and url."
    )
    given: str


@dataclass(eq=False)
class TemplateNotReady(NaosError):
    code: ClassVar[str] = "catalogue.template_not_ready"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = "Template {name!r} is still being {state}; wait for its activity, then try again."
    name: str
    state: str


@dataclass(eq=False)
class TemplateNotBootable(NaosError):
    code: ClassVar[str] = "catalogue.template_not_bootable"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "Template {name!r} is an {kind} image, which is mounted, not cloned; choose a disk template."
    )
    name: str
    kind: str


@dataclass(eq=False)
class UploadTooLarge(NaosError):
    code: ClassVar[str] = "catalogue.upload_too_large"
    status: ClassVar[int] = 413
    sentence: ClassVar[str] = "An upload may have {limit} bytes at most and this one has more; nothing of it was kept."
    limit: int


@dataclass(eq=False)
class TemplateInUse(NaosError):
    code: ClassVar[str] = "catalogue.template_in_use"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "Template {name!r} is in use {count} times: {users}. Eject or withdraw it there first, then delete it."
    )
    name: str
    count: int
    users: str


@dataclass(eq=False)
class ExportUnfinished(NaosError):
    code: ClassVar[str] = "catalogue.export_unfinished"
    status: ClassVar[int] = 409
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = "The export of {name!r} is not complete, or on its way out; wait for its activity."
    name: str
