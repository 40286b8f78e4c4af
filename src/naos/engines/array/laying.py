"""Disks that begin as a point has them: what is written lies in the disk's image on the volume, the rest is read from the store, until a
job has brought it in.

The job ends with the daemon, or with the store; what it has brought in stays, and the next one goes on from there.
"""

import contextlib
from abc import ABC, abstractmethod

from naos.engines.array import bases, copies, disks, exports, images, jobs, nodes
from naos.engines.array.daemon import served
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, EngineError
from naos.engines.ports import Door, JobState, LunKey, LunSpec, Provisioning


class PointLaying(ABC):
    """What a driver has of them."""

    name: str

    @abstractmethod
    def _place(self, lun: LunSpec | str, key: LunKey | None = None) -> Place:
        """Where a volume lies on the array's host."""

    def lay_disk(
        self, lun: LunSpec, disk_id: str, base_id: str, size: int, provisioning: Provisioning, door: Door
    ) -> None:
        """Raises NoSpace."""
        place = self._place(lun)
        with served(place):
            lay(place, disk_id, base_id, size, provisioning, door)

    def renew_door(self, lun: LunSpec, disk_id: str, door: Door) -> None:
        """Raises Missing, Unreachable, DaemonRefused when nobody answers at the new door."""
        place = self._place(lun)
        with served(place) as monitor:
            renew(monitor, place, disk_id, door)

    def move_in(self, lun: LunSpec, disk_id: str, *, speed: int | None = None) -> JobState:
        """Start, or report, the job, which takes `speed` bytes a second from now on. Raises Missing, Unreachable."""
        place = self._place(lun)
        with served(place) as monitor:
            state = copies.flatten(monitor, place, disk_id)
            if state.running:
                pace = {"device": jobs.job_id(jobs.FLATTEN, disk_id), "speed": speed or 0}
                with contextlib.suppress(DaemonRefused):  # it is ending
                    monitor.execute("block-job-set-speed", pace)
            return state


def lay(place: Place, disk_id: str, base_id: str, size: int, provisioning: Provisioning, door: Door) -> None:
    check_id(place.where, base_id)
    bases.write(place, base_id, door)
    if place.exists(place.disk(disk_id)):
        return
    part, reserved = place.disk_unfinished(disk_id), place.disk_reserved(disk_id)
    place.run("rm", "-f", "--", part)
    try:
        images.make_behind(place, part, base_id, size, f"disk {disk_id}")
        if provisioning is not Provisioning.DYNAMIC:
            place.run("touch", "--", reserved)
            images.reserve(place, part, images.full_size(size), f"disk {disk_id}")
    except EngineError:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            place.run("rm", "-f", "--", part, reserved)
        raise
    disks.keep(place, disk_id)


def renew(monitor: Monitor, place: Place, disk_id: str, door: Door) -> None:
    """The old connection is cut at any rate; where the way is another one, the image is closed and opened anew: its clients connect anew,
    and their requests are done then."""
    disks.check_present(place, disk_id)
    facts = nodes.disk_facts(monitor, place, disk_id)
    if facts.backing is None or not facts.behind_door:
        return
    base_id = facts.backing
    before = bases.read(place, base_id)
    bases.cut(place, base_id)
    bases.write(place, base_id, door)
    same = (before["host"], before["port"]) == (door.address.host, door.address.port)
    if same or nodes.node(nodes.IMAGE, base_id) not in nodes.present(monitor):
        return
    jobs.settle(monitor, [job for job in jobs.of_disk(monitor, disk_id) if job.kind == jobs.FLATTEN])
    epochs = exports.present(monitor).get(disk_id, ())
    exports.cut(monitor, disk_id)
    disks.close_unused(monitor, disk_id)
    for epoch in epochs:
        nodes.open_disk(monitor, place, disk_id)
        exports.add(monitor, disk_id, epoch)


def check_moved_in(monitor: Monitor, place: Place, disk_id: str, what: str) -> None:
    """Raises Busy for a disk of which a part still lies in a point store, so that tools could not read it."""
    facts = nodes.disk_facts(monitor, place, disk_id)
    if facts.behind_door:
        raise Busy(
            place.where,
            f"{what} disk {disk_id}",
            "a part of it still lies in a vault; it can be done once it has moved in",
        )
