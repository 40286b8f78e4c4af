"""Copies of disks into points: one transaction begins, for all of them, the bitmap of the new point and the copy itself.

The bitmap of the point before is only read: it goes on recording, so a copy that fails has cost nothing. Which of the two counts is
said by the store, that has the new point or has it not.
"""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from naos.engines.array import changes, disks, doors, fleeces, jobs, nodes
from naos.engines.array.errors import DaemonRefused, is_full
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, EngineError, NoSpace
from naos.engines.ports import JobState, Outgoing

QUICK: dict[str, int] = {"max-workers": 32}
GENTLE = {"max-workers": 8, "max-chunk": 2**17}
EVEN = {"max-workers": 8, "max-chunk": 2**16}
"""Requests of a copy that are under way at once, of up to 1 MiB each where nothing else is said: guests' requests stand in line with them,
and with their encryption. A copy that goes on all the time keeps the line short, and so does one that is held to a speed, all the more: what
waits for its turn goes out at once when the daemon lets all requests end, as at a snapshot."""


def known(monitor: Monitor, place: Place, set_id: str, disk_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Raises Missing."""
    for disk_id in disk_ids:
        disks.check_present(place, disk_id, monitor)
    with nodes.opened(monitor, place, list(disk_ids)):
        return {disk_id: changes.known(monitor, disk_id, set_id) for disk_id in disk_ids}


def begin(
    monitor: Monitor,
    place: Place,
    set_id: str,
    point_id: str,
    parts: Sequence[Outgoing],
    *,
    speed: int | None,
    yielding: bool,
) -> datetime:
    """All in one transaction; a set of which only some go on begins anew. Raises Missing, Busy, EngineError."""
    for text in (set_id, point_id, *(part.disk_id for part in parts)):
        check_id(place.where, text)
    named = [part.disk_id for part in parts]
    going = _jobs(monitor, point_id, named)
    if len(going) == len(parts):
        return going[0].instant
    if going:
        end(monitor, place, set_id, point_id, named, complete=False)
    for disk_id in named:
        disks.check_present(place, disk_id, monitor)
        _check_free(monitor, place, disk_id)
    try:
        for part in parts:
            _open(monitor, place, set_id, point_id, part)
        fleeced = fleeces.open_images(monitor, place, set_id, point_id, parts)
        stamp = int(datetime.now(UTC).timestamp() * 1000)
        kind = jobs.YIELDING if yielding else jobs.POINT
        copies = {}
        for part in parts:
            job = jobs.job_id(kind, part.disk_id, point_id, str(stamp))
            pace: dict[str, Any] = {"x-perf": EVEN if speed else GENTLE if yielding else QUICK}
            if part.disk_id in fleeced:
                pace["target"] = doors.open_pace(monitor, part.disk_id, point_id, speed)
            else:  # guests' writes go the copy's way: they are not to be held up
                pace["speed"] = speed or 0
            backup = _backup(job, set_id, point_id, part, fleeced=part.disk_id in fleeced)
            copies[part.disk_id] = {"type": "blockdev-backup", "data": {**backup, **pace}}
        _start(monitor, set_id, point_id, parts, stamp, copies, fleeced)
    except EngineError:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            end(monitor, place, set_id, point_id, named, complete=False)
        raise
    return datetime.fromtimestamp(stamp / 1000, UTC)


def _start(
    monitor: Monitor,
    set_id: str,
    point_id: str,
    parts: Sequence[Outgoing],
    stamp: int,
    copies: Mapping[str, dict[str, Any]],
    fleeced: frozenset[str],
) -> None:
    """One transaction sets the instant, and begins the copies that read the disks themselves; the others read what is kept of it."""
    instant = []
    for part in parts:
        lasting = changes.can_last(monitor, part.disk_id)
        instant.append(changes.add(part.disk_id, changes.name(set_id, point_id), persistent=lasting))
        if part.disk_id in fleeced:
            base = None if part.base is None else changes.name(set_id, part.base)
            instant += fleeces.actions(part.disk_id, point_id, base, stamp)
        else:
            instant.append(copies[part.disk_id])
    monitor.execute("transaction", {"actions": instant})
    for part in parts:
        if part.disk_id in fleeced:
            fleeces.open_view(monitor, part.disk_id, point_id, partly=part.base is not None)
            monitor.execute("transaction", {"actions": [copies[part.disk_id]]})


def state(monitor: Monitor, place: Place, point_id: str, disk_ids: Sequence[str]) -> JobState:
    """Raises NoSpace, EngineError for a point that will never be complete."""
    found = {job.disks[0]: job for job in _jobs(monitor, point_id, disk_ids)}
    for disk_id in disk_ids:
        _check(place, disk_id, found.get(disk_id))
    return JobState(
        running=any(not job.ended for job in found.values()),
        done=sum(job.done for job in found.values()),
        total=sum(job.total for job in found.values()),
    )


def pace(monitor: Monitor, point_id: str, disk_ids: Sequence[str], speed: int | None) -> None:
    """Of copies that go on; those that have ended need none."""
    for job in _jobs(monitor, point_id, disk_ids):
        if not job.ended:
            try:
                doors.set_pace(monitor, job.disks[0], point_id, speed)
            except DaemonRefused:
                with contextlib.suppress(DaemonRefused):  # it has ended meanwhile
                    monitor.execute("block-job-set-speed", {"device": job.id, "speed": speed or 0})


def close(monitor: Monitor, place: Place, point_id: str, disk_ids: Sequence[str]) -> None:
    """Nothing is on its way any more; `end` forgets the rest. Raises Busy while a copy goes on, EngineError for one that failed."""
    if state(monitor, place, point_id, disk_ids).running:
        raise Busy(place.where, f"point {point_id}", "its copies go on")
    for disk_id in disk_ids:
        jobs.drop_fleece(monitor, disk_id, point_id)
        doors.shut(monitor, place, disk_id, point_id)


def end(monitor: Monitor, place: Place, set_id: str, point_id: str, disk_ids: Sequence[str], *, complete: bool) -> None:
    """Everything can be absent."""

    def cut() -> None:
        for disk_id in disk_ids:
            doors.cut(place, disk_id, point_id)

    jobs.settle(monitor, _jobs(monitor, point_id, disk_ids), force=cut)
    for disk_id in disk_ids:
        jobs.drop_fleece(monitor, disk_id, point_id)
        doors.shut(monitor, place, disk_id, point_id)
    doors.forget_keys(place, point_id, disk_ids)
    for disk_id in disk_ids:
        if disks.is_open(monitor, disk_id) or place.exists(place.disk(disk_id)):
            with nodes.opened(monitor, place, [disk_id]):
                _forget(monitor, disk_id, set_id, point_id, complete=complete)
            disks.close_unused(monitor, disk_id)


def forget(monitor: Monitor, place: Place, set_id: str, disk_ids: Sequence[str]) -> None:
    """Remove what is known since points of the set; absent disks are left alone."""
    here = [disk_id for disk_id in disk_ids if place.exists(place.disk(disk_id))]
    with nodes.opened(monitor, place, here):
        for disk_id in here:
            changes.forget(monitor, disk_id, set_id)


def _forget(monitor: Monitor, disk_id: str, set_id: str, point_id: str, *, complete: bool) -> None:
    known_points = changes.known(monitor, disk_id, set_id)
    spared = known_points & {point_id} if complete else known_points - {point_id}
    changes.forget(monitor, disk_id, set_id, spared=spared)


def _check(place: Place, disk_id: str, job: jobs.Job | None) -> None:
    what = f"copying disk {disk_id}"
    if job is None:
        raise EngineError(place.where, what, "the copy was ended, or ended with the volume's daemon; begin again")
    if job.error is not None and is_full(job.error):
        raise NoSpace(place.where, f"a copy of disk {disk_id}", "the place that keeps its points is full")
    if job.ended and (job.error is not None or job.done < job.total):
        raise EngineError(place.where, what, job.error or "the copy was ended")


def _check_free(monitor: Monitor, place: Place, disk_id: str) -> None:
    """Copies into several points can go on at once; other jobs change the disk, or are cut short. Raises Busy."""
    for job in jobs.of_disk(monitor, disk_id):
        if not job.point and not job.ended:
            raise Busy(place.where, f"disk {disk_id}", f"a {job.kind} job works on it")


def _jobs(monitor: Monitor, point_id: str, disk_ids: Sequence[str]) -> list[jobs.Job]:
    kinds = (jobs.POINT, jobs.YIELDING)
    return [
        job for job in jobs.present(monitor) if job.kind in kinds and job.point == point_id and job.disks[0] in disk_ids
    ]


def _open(monitor: Monitor, place: Place, set_id: str, point_id: str, part: Outgoing) -> None:
    """Source and door; what an earlier attempt left of the point goes. Raises EngineError for a base that is not known."""
    nodes.open_disk(monitor, place, part.disk_id)
    known_points = changes.known(monitor, part.disk_id, set_id)
    if part.base is not None and part.base not in known_points:
        reason = f"what changed since point {part.base} is not known; compare them first"
        raise EngineError(place.where, f"an increment of disk {part.disk_id}", reason)
    changes.forget(monitor, part.disk_id, set_id, spared=known_points - {point_id})
    doors.open_door(monitor, place, part.disk_id, point_id, part.door)


def _backup(job: str, set_id: str, point_id: str, part: Outgoing, *, fleeced: bool) -> dict[str, Any]:
    disk_id = part.disk_id
    source = nodes.name_of(nodes.VIEW, disk_id, point_id) if fleeced else nodes.node(nodes.IMAGE, disk_id)
    what: dict[str, Any] = {"sync": "full"}
    if part.base is not None:
        bitmap = jobs.todo(point_id) if fleeced else changes.name(set_id, part.base)
        what = {"sync": "bitmap", "bitmap": bitmap, "bitmap-mode": "never"}
    return {
        **what,
        "job-id": job,
        "device": source,
        "target": doors.name(nodes.DOOR, disk_id, point_id),
        "filter-node-name": doors.name(nodes.FILTER, disk_id, point_id),
        "auto-dismiss": False,
    }
