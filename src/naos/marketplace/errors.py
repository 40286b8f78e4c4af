"""Refusals of the marketplace."""

from dataclasses import dataclass
from typing import ClassVar

from naos.errors import NaosError


@dataclass(eq=False)
class NotThePlatforms(NaosError):
    code: ClassVar[str] = "marketplace.not_the_platforms"
    status: ClassVar[int] = 403
    sentence: ClassVar[str] = (
        "Only an owner of organisation {organisation!r}, which runs this platform, {what} items of the marketplace."
    )
    organisation: str
    what: str


@dataclass(eq=False)
class VersionTaken(NaosError):
    code: ClassVar[str] = "marketplace.version_taken"
    status: ClassVar[int] = 409
    sentence: ClassVar[str] = (
        "The marketplace has {name!r} in version {version!r}, build {build!r}, already; give another version or build."
    )
    name: str
    version: str
    build: str


@dataclass(eq=False)
class TargetUnknown(NaosError):
    code: ClassVar[str] = "marketplace.target_unknown"
    status: ClassVar[int] = 404
    sentence: ClassVar[str] = "Item {name!r} cannot be deployed on {target!r}; its one target is vmware."
    name: str
    target: str
