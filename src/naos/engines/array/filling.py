"""Disks that are filled with what is behind a door: a point that a store serves becomes a disk's content.

The disk is used by nobody meanwhile. A job's id is its kind, the disk's id and the reader's; it ends with the daemon, and the next call
begins anew.
"""

import contextlib

from naos.engines.array import disks, doors, images, jobs, nodes, volume
from naos.engines.array.errors import is_full
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.errors import EngineError
from naos.engines.ports import Door, JobState


def fill(
    monitor: Monitor, place: Place, disk_id: str, reader: str, door: Door, *, speed: int | None = None
) -> JobState:
    """Start, or report, the job. Not running and without error: the disk holds what is behind the door.

    A failure is reported once. Raises Missing, Busy for a disk in use, DaemonRefused when nobody answers at the door.
    """
    check_id(place.where, reader)
    disks.check_present(place, disk_id)
    job = jobs.find(monitor, jobs.FILL, disk_id)
    if job is not None:
        return _report(monitor, place, disk_id, job)
    disks.check_closed(monitor, place, disk_id)
    _start(monitor, place, disk_id, reader, door, speed)
    size = nodes.disk_facts(monitor, place, disk_id).size
    return JobState(running=True, total=size)


def _start(monitor: Monitor, place: Place, disk_id: str, reader: str, door: Door, speed: int | None) -> None:
    """Below the volume's limit, as the array's other copying."""
    reserved = place.exists(place.disk_reserved(disk_id))
    sealed = images.read_closed(place, place.disk(disk_id)).encrypted
    try:
        doors.open_door(monitor, place, disk_id, reader, door, read_only=True)
        path = place.disk(disk_id)
        nodes.open_image(monitor, disk_id, path, backing=None, give_back=not reserved, encrypted=sealed)
        backup = {
            "job-id": jobs.job_id(jobs.FILL, disk_id, reader, "0"),
            "device": doors.name(nodes.DOOR, disk_id, reader),
            "target": nodes.node(nodes.IMAGE, disk_id),
            "sync": "full",
            "filter-node-name": doors.name(nodes.FILTER, disk_id, reader),
            "auto-dismiss": False,
            "speed": speed or 0,
        }
        monitor.execute("blockdev-backup", backup)
    except EngineError:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            _let_go(monitor, place, disk_id, reader)
        raise


def _report(monitor: Monitor, place: Place, disk_id: str, job: jobs.Job) -> JobState:
    if not job.ended:
        return job.state
    facts = nodes.disk_facts(monitor, place, disk_id)
    jobs.dismiss(monitor, job)
    _let_go(monitor, place, disk_id, job.point)
    if job.error is not None and is_full(job.error):
        error = f"{job.error}: {volume.numbers(place, images.full_size(facts.size) - facts.allocated)}"
        return JobState(running=False, done=job.done, total=job.total, error=error)
    if job.error is None and job.done < job.total:
        return JobState(running=False, done=job.done, total=job.total, error="the job was cancelled")
    return job.state


def _let_go(monitor: Monitor, place: Place, disk_id: str, reader: str) -> None:
    nodes.close_disk(monitor, disk_id)
    doors.close(monitor, place, disk_id, reader)
