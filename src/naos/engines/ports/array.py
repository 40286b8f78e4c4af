"""One zone's block storage."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from naos.engines.ports.laying import PointLaying
from naos.engines.ports.points import Door, PointSource, PointStore
from naos.engines.ports.volumes import (
    DiskCopy,
    DiskFacts,
    ExportedDisk,
    IoCounters,
    JobState,
    LunContents,
    LunKey,
    LunSpec,
    LunUsage,
    NbdAddress,
    Peer,
    Provisioning,
)


class Array(PointSource, PointLaying, Protocol):
    """One zone's block storage."""

    name: str

    def peers(self, addresses: Sequence[str]) -> dict[str, Peer]:
        """What the array sees of the blades at these addresses, each of which is in the answer."""

    def luns(self) -> list[str]:
        """Ids of the LUNs that exist on the array."""

    def create_lun(self, lun: LunSpec) -> None: ...
    def delete_lun(self, lun_id: str) -> None:
        """Refuses (Busy) while it holds a disk or an export."""

    def resize_lun(self, lun: LunSpec) -> None:
        """Growth only, online."""

    def limit_lun(self, lun: LunSpec) -> None:
        """Apply `lun.iops` and `lun.bandwidth` to the running daemon, under its clients' requests."""

    def admit(self, lun: LunSpec) -> None:
        """On an array with TLS let `lun.clients` in, and nobody else from now on."""

    def usage(self, lun_id: str) -> LunUsage: ...
    def device_counters(self) -> dict[str, IoCounters]:
        """What the blocks below each served LUN did, whoever asked: guests, copies, the file system itself. By LUN id; no LUN's
        daemon is asked."""

    def contents(self, lun_id: str) -> LunContents: ...
    def ensure_daemon(self, lun: LunSpec, exported: Sequence[ExportedDisk]) -> bool:
        """Bring the LUN's daemon to exactly this: mounted, running, limited, these exports and no others.

        Returns True when the daemon had to be started (guests may be paused and want a resume).
        """

    def stop_daemon(self, lun_id: str) -> None:
        """End the daemon and unmount, cleanly (bitmaps are written)."""

    def set_aside(self, lun_id: str, holder: str, size: int) -> None:
        """Bring what is kept of the LUN for `holder`, an id, to `size` bytes of blocks that nothing else can have. NoSpace when
        they are not there: then it has what it had."""

    def give_back(self, lun_id: str, holder: str) -> None:
        """Free them; an absent holder is left alone, and so is an absent LUN."""

    def template_staged(self, lun_id: str, template_id: str) -> bool: ...
    def stage_template(self, lun_id: str, template_id: str, image: Path, *, key: LunKey | None = None) -> None:
        """Bring a qcow2 image (no backing file) onto the LUN as a read-only base for clones. key: the LUN's."""

    def drop_template(self, lun_id: str, template_id: str) -> None:
        """Refuses (Busy) while a disk still backs on it."""

    def create_disk(
        self, lun: LunSpec, disk_id: str, size: int, provisioning: Provisioning, *, template_id: str | None = None
    ) -> None:
        """An empty disk, or one with a staged template's content: then its space is reserved, and it shares nothing."""

    def clone_template(self, lun: LunSpec, disk_id: str, template_id: str, size: int) -> None:
        """A copy-on-write disk of at least the template's size."""

    def copy_disk(self, lun: LunSpec, source_id: str, disk_id: str) -> None:
        """A full, independent, point-in-time copy within the LUN; the source may be in use."""

    def begin_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy], *, speed: int | None = None) -> None:
        """Begin to copy disks of one volume as they all are at one instant; they may be in use. Those that have begun go on.

        speed: bytes a second for each of them, None for as fast as it goes.
        """

    def copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> JobState:
        """How far the copies are, together. Raises EngineError when one failed, or ended with the volume's daemon."""

    def finish_copies(self, lun: LunSpec, wanted: Sequence[DiskCopy]) -> None:
        """Take the results of complete copies, and let their targets go; those taken earlier are left alone."""

    def flatten(self, lun: LunSpec, disk_id: str) -> JobState:
        """Start, or report, the job that makes a clone independent. Not running and without error: it is independent."""

    def fill_disk(self, lun: LunSpec, disk_id: str, reader: str, door: Door, *, speed: int | None = None) -> JobState:
        """Start, or report, the job that makes what is behind a door the content of a disk that nothing uses. Not running and
        without error: it is. reader: the id that the door was opened for. speed: bytes a second."""

    def cancel_jobs(self, lun_id: str, disk_id: str) -> None: ...
    def resize_disk(self, lun: LunSpec, disk_id: str, size: int) -> None: ...
    def disk(self, lun_id: str, disk_id: str) -> DiskFacts | None: ...
    def read_disk(self, lun_id: str, disk_id: str, *, key: LunKey | None = None) -> AbstractContextManager[str]:
        """A unix socket of this machine at which a disk that nothing uses is served over NBD, read-only, under the empty name,
        while the context is open. key: the LUN's. Raises Missing, and Busy for a disk in use."""

    def delete_disk(self, lun_id: str, disk_id: str) -> None:
        """Cuts its exports, ends its jobs, closes its nodes, removes its files. An absent disk is left alone."""

    def export_disk(self, lun: LunSpec, disk_id: str, epoch: int, *, volatile: bool = False) -> NbdAddress:
        """Export under `epoch`, and cut every older epoch off first: its clients can never write again.

        volatile: what is written in this epoch is kept apart, and dropped when the disk is fenced.
        """

    def fence_disk(self, lun_id: str, disk_id: str) -> None:
        """Cut every export of the disk, wait until none is left, and drop what was written to volatile ones."""

    def snapshot_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """One point in time for all of them."""

    def revert_disks(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None:
        """Refuses (Busy) while one is exported."""

    def delete_snapshot(self, lun: LunSpec, snapshot_id: str, disk_ids: Sequence[str]) -> None: ...
    def held_by_snapshots(self, lun_id: str, disk_ids: Sequence[str]) -> dict[str, int]:
        """By snapshot, the bytes on the LUN that these disks have only for its sake: blocks that they have written anew since. What
        several snapshots share is the newest one's. As of the disks' last flush; no daemon is asked."""

    def points(self, lun_id: str) -> "PointStore":
        """Points of other volumes' disks that are kept on this one, which must be served while they are worked with."""

    def adopt_point(self, lun: LunSpec, set_id: str, point_id: str) -> list[str]:
        """Make the disks of a set's last point, kept on this volume, disks of it, under their own ids; returns these. The set's
        earlier points go, and then the set. A repeated call finds them there."""
