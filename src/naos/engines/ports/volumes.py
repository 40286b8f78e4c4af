"""What arrays keep: volumes and their disks, and how they are reached."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class NbdAddress:
    """Where a disk is exported. `name` carries the epoch, so a stale name is refused for good. tls: it is reached over TLS alone."""

    host: str
    port: int
    name: str
    tls: bool = False


@dataclass(frozen=True)
class IoCounters:
    """Requests that were answered since somebody began to count, their bytes, and the nanoseconds that they took, summed.

    latencies: how many took less than each of LATENCY_BOUNDS_NS, and how many longer; () where nobody counts that.
    """

    reads: int
    writes: int
    read_bytes: int
    write_bytes: int
    nanoseconds: int
    latencies: tuple[int, ...] = ()


LATENCY_BOUNDS_NS = tuple(round(50_000 * 2 ** (step / 2)) for step in range(41))
"""Where the classes of latency end: from 50 microseconds in steps of the square root of 2 to 52 seconds; one more is above."""


LunKey = Callable[[], bytes]
"""Gives the 32 bytes that a volume's images are encrypted with. Raises NaosError when they cannot be had; so it is asked only
when an image is made or opened, and never to cut one off."""


@dataclass(frozen=True)
class LunSpec:
    """A volume: a file system of `capacity` bytes, its disks together limited to `iops` operations and `bandwidth` bytes a second
    (None: no limit), reads and writes alike.

    port: TCP port of its NBD server on the array's address. key: None for a volume whose images are not encrypted.
    clients: names of the blades and arrays that an array with TLS lets in.
    """

    id: str
    capacity: int
    iops: int | None
    port: int
    bandwidth: int | None = None
    key: LunKey | None = field(default=None, repr=False, compare=False)
    clients: Sequence[str] = ()


class Provisioning(StrEnum):
    """Terraform's names for thin, thick lazy zeroed and thick eager zeroed."""

    DYNAMIC = "dynamic"
    STATIC_DIFFERED = "staticDiffered"
    STATIC_IMMEDIATE = "staticImmediate"


@dataclass(frozen=True)
class ExportedDisk:
    """A disk that a running machine uses: re-made by `ensure_daemon` exactly so.

    volatile: its writes go to a file of this epoch, which goes when the export is fenced.
    """

    id: str
    epoch: int
    volatile: bool = False


@dataclass(frozen=True)
class LunUsage:
    capacity: int
    used: int
    free: int


@dataclass(frozen=True)
class DiskFacts:
    """What the image file says: virtual size, bytes allocated, the backing template or disk if it still has one."""

    id: str
    size: int
    allocated: int
    backing: str | None
    snapshots: Sequence[str] = ()


@dataclass(frozen=True)
class LunContents:
    """What lies on a LUN, for comparing with the tables."""

    disks: Sequence[str]
    templates: Sequence[str]
    exports: Mapping[str, int]  # disk id -> epoch
    foreign: Sequence[str] = ()  # file names that naos did not make
    volatile: Sequence[tuple[str, int]] = ()  # disk id and epoch of writes that are to be dropped
    aside: Sequence[str] = ()  # ids for which space is set aside
    damaged: Sequence[str] = ()  # ids of disks and templates whose images were met in disorder, and are served no more


@dataclass(frozen=True)
class JobState:
    """A background block job: `done` and `total` in bytes; finished when it is no longer running."""

    running: bool
    done: int = 0
    total: int = 0
    error: str | None = None


@dataclass(frozen=True)
class DiskCopy:
    """A copy to make of a volume's disk. target: where the empty disk that receives it is exported, on another volume of this
    or of another array; None makes the disk `disk_id` on the same volume."""

    source_id: str
    disk_id: str
    target: NbdAddress | None = None


@dataclass(frozen=True)
class Peer:
    """A blade as the array sees it: how many connections it has to the array's disks, the bytes that were received over those,
    and whether it answers the array."""

    connections: int
    received: int
    answers: bool
