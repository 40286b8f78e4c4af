"""Refusals of images, and failures of building them. Sizes are bytes."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class ImageRefused(NaosError):
    """The base of what is wrong with an image. `name` is the file's or the URL's last part, never a path of this
    machine.
    """

    code: ClassVar[str] = "catalogue.image_refused"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "Image {name!r} is refused."
    name: str


@dataclass(eq=False)
class NotAnImage(ImageRefused):
    code: ClassVar[str] = "catalogue.image_not_an_image"
    sentence: ClassVar[str] = (
        "{name!r} is not a disk image: it looks like {found}. Give a qcow2, raw, vmdk, vhdx, ova or ISO file."
    )
    found: str


@dataclass(eq=False)
class UnsupportedFormat(ImageRefused):
    code: ClassVar[str] = "catalogue.image_format"
    sentence: ClassVar[str] = "{name!r} is a {found}, which is not taken. {remedy}"
    found: str
    remedy: str


@dataclass(eq=False)
class FormatLie(ImageRefused):
    code: ClassVar[str] = "catalogue.image_format_lie"
    sentence: ClassVar[str] = (
        "{name!r} is declared as {declared} but its content is {found}. Give it the name and format that it has."
    )
    declared: str
    found: str


@dataclass(eq=False)
class NestedImage(ImageRefused):
    code: ClassVar[str] = "catalogue.image_nested"
    sentence: ClassVar[str] = (
        "{name!r} is a {outer} disk whose content is itself a {inner} image: no machine can boot it. "
        "Give the inner image."
    )
    outer: str
    inner: str


@dataclass(eq=False)
class ForeignFile(ImageRefused):
    """An image that would make its reader open another file."""

    code: ClassVar[str] = "catalogue.image_foreign_file"
    sentence: ClassVar[str] = (
        "{name!r} names another file as its {what}: {reference}. Images may not refer to other files; "
        "flatten it first (qemu-img convert -O qcow2)."
    )
    what: str
    reference: str


@dataclass(eq=False)
class ImageEncrypted(ImageRefused):
    code: ClassVar[str] = "catalogue.image_encrypted"
    sentence: ClassVar[str] = "{name!r} is encrypted ({how}); decrypt it first: nobody here can enter its passphrase."
    how: str


@dataclass(eq=False)
class ImageTooLarge(ImageRefused):
    code: ClassVar[str] = "catalogue.image_too_large"
    status: ClassVar[int] = 413
    sentence: ClassVar[str] = "{name!r} has a {what} of {size} bytes; at most {limit} bytes are taken."
    what: str
    size: int
    limit: int


@dataclass(eq=False)
class ImageDamaged(ImageRefused):
    code: ClassVar[str] = "catalogue.image_damaged"
    sentence: ClassVar[str] = "{name!r} is damaged: {reason}. Fetch or make it again, and give its checksum."
    reason: str


@dataclass(eq=False)
class ChecksumMismatch(ImageRefused):
    code: ClassVar[str] = "catalogue.image_checksum"
    sentence: ClassVar[str] = (
        "{name!r} does not have the checksum that was given: {algorithm} {expected} was expected, {found} was found. "
        "Fetch it again; if it stays so, the file was changed."
    )
    algorithm: str
    expected: str
    found: str


@dataclass(eq=False)
class ChecksumMalformed(NaosError):
    code: ClassVar[str] = "catalogue.checksum_malformed"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = (
        "{checksum!r} is not a checksum. Write sha256:, sha512: or md5: and 64, 128 or 32 hexadecimal digits."
    )
    checksum: str


@dataclass(eq=False)
class UnsafeArchive(ImageRefused):
    code: ClassVar[str] = "catalogue.archive_unsafe"
    sentence: ClassVar[str] = "Archive {name!r} holds {entry!r}: {reason}. An OVA holds plain files without folders."
    entry: str
    reason: str


@dataclass(eq=False)
class BadDescriptor(ImageRefused):
    code: ClassVar[str] = "catalogue.ovf_descriptor"
    sentence: ClassVar[str] = "The OVF descriptor of {name!r} is not usable: {reason}. Export the appliance again."
    reason: str


@dataclass(eq=False)
class SourceRefused(NaosError):
    """A place that images are not taken from. `source` holds no credentials."""

    code: ClassVar[str] = "catalogue.image_source"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "No image is taken from {source!r}: {reason}."
    source: str
    reason: str


@dataclass(eq=False)
class DownloadFailed(NaosError):
    """`source` holds no credentials and no query."""

    code: ClassVar[str] = "catalogue.download_failed"
    status: ClassVar[int] = 502
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = "Fetching {source} failed: {reason}. Try the address from this machine, then again here."
    source: str
    reason: str


@dataclass(eq=False)
class ToolMissing(NaosError):
    code: ClassVar[str] = "catalogue.tool_missing"
    sentence: ClassVar[str] = "The program {tool} is missing on this machine; install the package {package}."
    tool: str
    package: str


@dataclass(eq=False)
class ToolFailed(NaosError):
    code: ClassVar[str] = "catalogue.tool_failed"
    sentence: ClassVar[str] = "{tool} failed (exit code {exit_code}): {reason}"
    tool: str
    exit_code: int
    reason: str


@dataclass(eq=False)
class ToolTimeout(NaosError):
    code: ClassVar[str] = "catalogue.tool_timeout"
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "{tool} did not finish within {seconds:.0f} s and was ended; try again when the machine is less busy."
    )
    tool: str
    seconds: float


@dataclass(eq=False)
class PackagesUnavailable(NaosError):
    code: ClassVar[str] = "catalogue.packages_unavailable"
    status: ClassVar[int] = 503
    retryable: ClassVar[bool] = True
    sentence: ClassVar[str] = (
        "The Debian packages {names} cannot be fetched: {reason}. "
        "Run `apt-get update`, check this machine's apt sources, then try again."
    )
    names: str
    reason: str


@dataclass(eq=False)
class BuildUnprivileged(NaosError):
    code: ClassVar[str] = "catalogue.build_unprivileged"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = "Building {what} needs root, because its files must belong to root; this is user {uid}."
    what: str
    uid: int


@dataclass(eq=False)
class BuildFailed(NaosError):
    code: ClassVar[str] = "catalogue.build_failed"
    sentence: ClassVar[str] = "Building {what} failed: {reason}"
    what: str
    reason: str


@dataclass(eq=False)
class SeedRefused(NaosError):
    code: ClassVar[str] = "catalogue.seed_refused"
    status: ClassVar[int] = 422
    sentence: ClassVar[str] = "The guest's {what} {value!r} cannot be used: {reason}."
    what: str
    value: str
    reason: str
