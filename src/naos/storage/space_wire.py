"""The space of a volume on the wire. Sizes in bytes."""

from typing import Literal

from pydantic import Field

from naos.ids import ResourceId
from naos.wire import Request, Wire

SnapshotPolicy = Literal["allow", "warn", "refuse"]


class VolumeAlarm(Wire):
    """status: yellow from 70 % used on, red from 90 % on."""

    id: str
    status: str
    message: str


class Space(Wire):
    """used: as the array measured last. provisioned: what its disks may fill, the swap files of running machines and the emergency
    reserve. uncommitted: what of it is not written yet. overcommitment: provisioned over capacity, above 1 when disks may fill more
    than there is. days_until_full: at the slope of the last two weeks; null while it does not grow, or in the first hour.

    snapshot_headroom: per cent that should be free when a snapshot is taken; snapshot_policy: what happens when less is.
    overcommitment_limit: per cent of the capacity that may be provisioned; null for no limit.
    """

    used: int
    provisioned: int
    uncommitted: int
    overcommitment: float
    overcommitment_limit: int | None
    swap: int
    days_until_full: float | None
    snapshot_headroom: int
    snapshot_policy: str
    reserve: int
    reserve_released: bool


class PolicyChange(Request):
    """What is left out stays as it is. `reserve`: bytes, 0 for none, at most a quarter of the volume. `overcommitment`: per cent of the
    volume that disks, swap files and reserve may be promised together, 0 for no limit."""

    id: ResourceId
    snapshot_headroom: int | None = Field(default=None, ge=0, le=50)
    snapshot_policy: SnapshotPolicy | None = None
    reserve: int | None = Field(default=None, ge=0, le=2**60)
    overcommitment: int | None = Field(default=None, ge=0, le=10_000)


class VolumeNamed(Request):
    id: ResourceId


class MaintenanceChange(Request):
    """`enter`: whether maintenance begins or ends."""

    id: ResourceId
    enter: bool
