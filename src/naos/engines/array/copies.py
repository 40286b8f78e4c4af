"""Copies made by the daemon itself: a disk's point-in-time copy, and the rest of a template for its clone."""

import time

from naos.engines import layouts
from naos.engines.array import disks, far_side, images, jobs, nodes, volume
from naos.engines.array.daemon import served
from naos.engines.array.errors import is_full
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, EngineError, NoSpace, Unreachable
from naos.engines.ports import JobState

_FIRST_LOOK, _LONGEST_WAIT = 0.02, 1.0  # seconds between looks at a copy
_STANDSTILL = 300.0  # seconds without one more byte


def copy_disk(place: Place, source_id: str, disk_id: str) -> None:
    """Copy the source as it is at this moment, also while it is used. Returns when the copy is complete.

    A call after a crash joins the copy that is under way; when that ended with the daemon, it begins again, with the
    source as it is then. Raises Missing, Busy, NoSpace, Unreachable when nothing moves for 300 s.
    """
    wait, moved, until = _FIRST_LOOK, -1, time.monotonic() + _STANDSTILL
    while True:
        with served(place) as monitor:
            job = _join_copy(monitor, place, source_id, disk_id)
        if job is None:
            return
        if job.done != moved:
            moved, until = job.done, time.monotonic() + _STANDSTILL
        elif time.monotonic() > until:
            raise Unreachable(place.where, f"copying disk {source_id}", f"nothing moves after {job.done} bytes")
        time.sleep(wait)
        wait = min(wait * 2, _LONGEST_WAIT)


def flatten(monitor: Monitor, place: Place, disk_id: str) -> JobState:
    """Start, or report, the job that brings what a clone shares with its template into its own image.

    A failure is reported once; the next call starts anew. Snapshots of a clone rest on its template as the clone does, so as
    long as it has some it is not flattened, and the answer says so.
    """
    disks.check_present(place, disk_id)
    job = jobs.find(monitor, jobs.FLATTEN, disk_id)
    if job is not None:
        return _flattening(monitor, place, disk_id, job)
    found = nodes.disk_facts(monitor, place, disk_id)
    if found.backing is None:
        disks.close_unused(monitor, disk_id)
        return JobState(running=False, done=found.size, total=found.size)
    if nodes.node(nodes.SCRATCH, disk_id) in nodes.present(monitor):
        error = "its machine uses it and will drop what it writes; power the machine off first"
        return JobState(running=False, total=found.size, error=error)
    if found.snapshots:
        return JobState(
            running=False,
            total=found.size,
            error=f"{len(found.snapshots)} snapshots of the disk rest on template {found.backing}; delete them first",
        )
    jobs.check_none(monitor, place.where, disk_id)
    nodes.open_disk(monitor, place, disk_id)
    stream = {"job-id": jobs.job_id(jobs.FLATTEN, disk_id), "device": nodes.node(nodes.IMAGE, disk_id)}
    named = {"filter-node-name": nodes.node(nodes.FILTER, disk_id)}
    monitor.execute("block-stream", {**stream, **named, "auto-dismiss": False, "auto-finalize": False})
    return JobState(running=True, total=found.size)


def cancel(monitor: Monitor, place: Place, disk_id: str) -> None:
    """End the disk's jobs; what they had begun stays usable, and an unfinished copy is no disk."""
    for touched in far_side.end_jobs(monitor, place, disk_id):
        disks.close_unused(monitor, touched)


def _flattening(monitor: Monitor, place: Place, disk_id: str, job: jobs.Job) -> JobState:
    if job.waits:
        # The job's end writes that the image needs no template any more at once, and QEMU 7.2 leaves what was copied in tables
        # in memory: a power cut in between would leave a disk with holes.
        nodes.flush(monitor, disk_id)
        job = jobs.finalize(monitor, job)
    if not job.ended:
        return JobState(running=True, done=job.done, total=job.total)
    jobs.dismiss(monitor, job)
    found = nodes.disk_facts(monitor, place, disk_id)
    disks.close_unused(monitor, disk_id)
    if job.error is not None and is_full(job.error):
        error = f"{job.error}: {volume.numbers(place, images.full_size(found.size) - found.allocated)}"
        return JobState(running=False, done=job.done, total=job.total, error=error)
    if job.error is None and found.backing is not None:
        return JobState(running=False, done=job.done, total=job.total, error="the job was cancelled")
    return job.state


def _join_copy(monitor: Monitor, place: Place, source_id: str, disk_id: str) -> jobs.Job | None:
    """One look at the copy: start it, finish it, or the job as it stands. None when the copy is complete."""
    if place.exists(place.disk(disk_id)):
        disks.close_unused(monitor, source_id)
        return None
    job = jobs.find(monitor, jobs.COPY, disk_id)
    if job is None:
        disks.check_present(place, source_id)
        jobs.check_none(monitor, place.where, source_id)
        _start_copy(monitor, place, source_id, disk_id)
        return jobs.find(monitor, jobs.COPY, disk_id)
    if tuple(job.disks) != (disk_id, source_id):
        raise Busy(place.where, f"disk {disk_id}", f"it is being made as a copy of disk {job.disks[1]}")
    if not job.ended:
        return job
    jobs.dismiss(monitor, job)
    size = nodes.disk_facts(monitor, place, source_id).size
    nodes.close_disk(monitor, disk_id)
    disks.close_unused(monitor, source_id)
    if job.error is not None or job.done < job.total:
        place.run("rm", "-f", "--", place.disk_unfinished(disk_id))
        reason = job.error or "the copy was cancelled"
        if is_full(reason):
            raise NoSpace(place.where, f"a copy of disk {source_id}", volume.numbers(place, images.full_size(size)))
        raise EngineError(place.where, f"copying disk {source_id}", reason)
    disks.keep(place, disk_id)
    return None


def _start_copy(monitor: Monitor, place: Place, source_id: str, disk_id: str) -> None:
    """The job reads below the limit: the array's own copying takes nothing of the machines' operations."""
    size = nodes.disk_facts(monitor, place, source_id).size
    part = place.disk_unfinished(disk_id)
    nodes.close_disk(monitor, disk_id)
    place.run("rm", "-f", "--", part)
    what = f"a copy of disk {source_id}"
    try:
        images.make(place, part, size, what, layouts.cluster_bits(size))
        if place.exists(place.disk_reserved(source_id)):
            place.run("touch", "--", place.disk_reserved(disk_id))
            images.reserve(place, part, images.full_size(size), what)
        nodes.open_disk(monitor, place, source_id)
        nodes.open_image(monitor, disk_id, part, backing=None, give_back=False, encrypted=place.key is not None)
        backup = {
            "job-id": jobs.job_id(jobs.COPY, disk_id, source_id),
            "device": nodes.node(nodes.IMAGE, source_id),
            "target": nodes.node(nodes.IMAGE, disk_id),
            "sync": "full",
            "filter-node-name": nodes.node(nodes.FILTER, source_id),
            "auto-dismiss": False,
        }
        monitor.execute("blockdev-backup", backup)
    except EngineError:
        nodes.close_disk(monitor, disk_id)
        disks.close_unused(monitor, source_id)
        place.run("rm", "-f", "--", part, place.disk_reserved(disk_id))
        raise
