"""Copies of several disks of a volume as they are at one instant, to this volume or to others, here or in another zone.

The daemon that serves the sources does the work: all its jobs begin in one transaction. A target on another volume is an empty
disk that is exported there, and this daemon is its client. Reading is below the volume's limit; what is written to another
volume counts among that volume's operations, as one more disk of it.

While a copy runs, a guest's write to a block that was not copied yet waits until the old block is at the target. Should the
target fail, that write fails too: the guest is stopped by its I/O error policy, the jobs end with an error, and it goes on,
from the same write, when it is resumed.
"""

from collections.abc import Sequence
from typing import Any

from naos.engines import layouts
from naos.engines.array import disks, far_side, images, jobs, nodes, tls, volume
from naos.engines.array.errors import DaemonRefused, is_full
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, EngineError, NoSpace
from naos.engines.ports import DiskCopy, JobState, NbdAddress

CONNECTING = 5  # seconds; two daemons that connect to each other at one moment would wait for each other for ever


def begin(monitor: Monitor, place: Place, wanted: Sequence[DiskCopy], speed: int | None) -> None:
    """Start all jobs in one transaction. Those that go on already, or have ended and are still listed, are left alone."""
    known = [_job(monitor, place, copy) for copy in wanted]
    if all(known):
        return
    jobs.settle(monitor, [job for job in known if job is not None])
    for copy in wanted:
        check_id(place.where, copy.disk_id)
        disks.check_present(place, copy.source_id)
        jobs.check_none(monitor, place.where, copy.source_id)
    try:
        for copy in wanted:
            _open(monitor, place, copy)
        actions = [{"type": "blockdev-backup", "data": _backup(copy, speed)} for copy in wanted]
        monitor.execute("transaction", {"actions": actions})
    except EngineError:
        for copy in wanted:
            _take_back(monitor, place, copy)
        raise


def state(monitor: Monitor, place: Place, wanted: Sequence[DiskCopy]) -> JobState:
    """How far they are, together; running until every one has ended."""
    found = [_check(place, copy, _job(monitor, place, copy)) for copy in wanted]
    return JobState(
        running=any(not job.ended for job in found),
        done=sum(job.done for job in found),
        total=sum(job.total for job in found),
    )


def finish(monitor: Monitor, place: Place, wanted: Sequence[DiskCopy]) -> None:
    """Give the copies of this volume their names and let the targets elsewhere go, flushed."""
    for copy in wanted:
        job = _job(monitor, place, copy)
        if job is None and (copy.target is not None or place.exists(place.disk(copy.disk_id))):
            continue
        job = _check(place, copy, job)
        if not job.ended:
            raise Busy(place.where, f"the copy of disk {copy.source_id}", f"{job.done} of {job.total} bytes are done")
        if copy.target is not None:
            far_side.release(monitor, place, copy.disk_id, flushed=True)
        elif not place.exists(place.disk(copy.disk_id)):
            nodes.close_disk(monitor, copy.disk_id)
            disks.keep(place, copy.disk_id)
        jobs.dismiss(monitor, job)
        disks.close_unused(monitor, copy.source_id)


def _job(monitor: Monitor, place: Place, copy: DiskCopy) -> jobs.Job | None:
    job = jobs.find(monitor, jobs.COPY, copy.disk_id)
    if job is not None and tuple(job.disks) != (copy.disk_id, copy.source_id):
        raise Busy(place.where, f"disk {copy.disk_id}", f"it is being made as a copy of disk {job.disks[1]}")
    return job


def _check(place: Place, copy: DiskCopy, job: jobs.Job | None) -> jobs.Job:
    """Raises NoSpace, EngineError for a copy that will never be complete."""
    what = f"copying disk {copy.source_id}"
    if job is None:
        raise EngineError(place.where, what, "the copy ended with the volume's daemon; begin again")
    if job.ended and (job.error is not None or job.done < job.total):
        reason = job.error or "the copy was cancelled"
        if is_full(reason) and copy.target is None:
            raise NoSpace(place.where, f"a copy of disk {copy.source_id}", volume.numbers(place, job.total))
        if is_full(reason):
            raise NoSpace(place.where, f"a copy of disk {copy.source_id}", f"the volume of {copy.target} is full")
        raise EngineError(place.where, what, reason)
    return job


def _open(monitor: Monitor, place: Place, copy: DiskCopy) -> None:
    """Source and target. A target on this volume is an unfinished image, its space reserved when the source's is."""
    nodes.open_disk(monitor, place, copy.source_id)
    if copy.target is not None:
        far_side.release(monitor, place, copy.disk_id, flushed=False)
        monitor.execute("blockdev-add", _remote(copy.disk_id, copy.target))
        return
    size, part = nodes.disk_facts(monitor, place, copy.source_id).size, place.disk_unfinished(copy.disk_id)
    what = f"a copy of disk {copy.source_id}"
    nodes.close_disk(monitor, copy.disk_id)
    place.run("rm", "-f", "--", part)
    images.make(place, part, size, what, layouts.cluster_bits(size))
    if place.exists(place.disk_reserved(copy.source_id)):
        place.run("touch", "--", place.disk_reserved(copy.disk_id))
        images.reserve(place, part, images.full_size(size), what)
    sealed = place.key is not None
    nodes.open_image(monitor, copy.disk_id, part, backing=None, give_back=False, encrypted=sealed)


def _remote(disk_id: str, target: NbdAddress) -> dict[str, Any]:
    return {
        "driver": "nbd",
        "node-name": nodes.node(nodes.REMOTE, disk_id),
        "server": {"type": "inet", "host": target.host, "port": str(target.port)},
        "export": target.name,
        "open-timeout": CONNECTING,
        **tls.client(tls=target.tls),
    }


def _backup(copy: DiskCopy, speed: int | None) -> dict[str, Any]:
    kind = nodes.IMAGE if copy.target is None else nodes.REMOTE
    return {
        "job-id": jobs.job_id(jobs.COPY, copy.disk_id, copy.source_id),
        "device": nodes.node(nodes.IMAGE, copy.source_id),
        "target": nodes.node(kind, copy.disk_id),
        "sync": "full",
        "filter-node-name": nodes.node(nodes.FILTER, copy.source_id),
        "auto-dismiss": False,
        "speed": speed or 0,
    }


def _take_back(monitor: Monitor, place: Place, copy: DiskCopy) -> None:
    try:
        far_side.release(monitor, place, copy.disk_id, flushed=False)
        if copy.target is None:
            nodes.close_disk(monitor, copy.disk_id)
            place.run("rm", "-f", "--", place.disk_unfinished(copy.disk_id), place.disk_reserved(copy.disk_id))
        disks.close_unused(monitor, copy.source_id)
    except (DaemonRefused, EngineError):  # the first failure is the one to hear of
        return
