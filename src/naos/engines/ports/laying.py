"""Disks that begin as a point of a store has them, and become independent of it while they are used."""

from typing import Protocol

from naos.engines.ports.points import Door
from naos.engines.ports.volumes import JobState, LunSpec, Provisioning


class PointLaying(Protocol):
    """The side of an array on which a machine is started from a store. Nothing is ever written to the point."""

    def lay_disk(
        self, lun: LunSpec, disk_id: str, base_id: str, size: int, provisioning: Provisioning, door: Door
    ) -> None:
        """Make a disk whose content is what is behind a door: what is written lies on the volume, the rest is read from there until it has
        moved in. base_id: what goes for the disk's template until then; `drop_template` forgets the door.

        The volume keeps the door, so that a daemon that is started anew finds it. While nobody answers there, requests that need
        it fail, and guests stand still. Refuses (Unsupported) volumes whose images are encrypted.
        """

    def renew_door(self, lun: LunSpec, disk_id: str, door: Door) -> None:
        """The store serves the disk here from now on: anew, or at the same door after it did not answer. A disk that has moved in is
        left alone."""

    def move_in(self, lun: LunSpec, disk_id: str, *, speed: int | None = None) -> JobState:
        """Start, or report, the job that makes such a disk independent, as `flatten` does. It may be used meanwhile; what was brought in
        before a job failed, or ended with the daemon, stays.

        speed: bytes a second from now on.
        """
