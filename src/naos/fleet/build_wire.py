"""Hypervisor builds on the wire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from naos.fleet.models import HypervisorBuild
from naos.wire import Request, Wire

Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,62}$")]
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.+-]{1,100}(=[A-Za-z0-9.+:~-]{1,100})?$")]
Script = Annotated[str, Field(max_length=65536)]


class Advisory(Wire):
    id: str = Field(min_length=1, max_length=63, description="For example `CVE-2026-1234`.")
    severity: Literal["critical", "important", "moderate", "low"]
    summary: str = Field(default="", max_length=1000)


class BuildRequest(Request):
    """A build needs packages or a command. Both must be repeatable: they run again when a controller dies in the middle."""

    version: Version
    description: str = Field(default="", max_length=4000)
    advisories: list[Advisory] = Field(default_factory=list, max_length=200)
    packages: list[Package] = Field(
        default_factory=list, max_length=200, description="Debian packages, `name` or `name=version`, installed first."
    )
    command: Script = Field(default="", description="A script for /bin/sh, run as root on the blade after that.")
    check_command: Script = Field(
        default="", description="A script that must end well before the blade takes machines again."
    )
    reboot: bool = Field(default=True, description="Whether the blade's chassis restarts it after the command.")
    deadline_seconds: Annotated[int, Field(strict=True, ge=10, le=14400)] = Field(
        default=1800, description="For the packages, the command, and the blade's return, each."
    )


class Build(Wire):
    """What the scripts are is the operator's own: they are not shown."""

    id: str
    version: str
    description: str
    advisories: list[Advisory]
    severity: str = Field(description="Of the worst advisory; empty without one.")
    packages: list[str]
    reboot: bool
    published_at: datetime


_ORDER = ("critical", "important", "moderate", "low")


def build_wire(build: HypervisorBuild) -> Build:
    advisories = [Advisory(**entry) for entry in build.advisories]
    present = {advisory.severity for advisory in advisories}
    return Build(
        id=build.id,
        version=build.version,
        description=build.description,
        advisories=advisories,
        severity=next((severity for severity in _ORDER if severity in present), ""),
        packages=build.packages,
        reboot=build.reboot,
        published_at=build.published_at,
    )
