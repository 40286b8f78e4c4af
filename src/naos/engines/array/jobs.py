"""Background jobs of the daemon: flattening a clone, copying a disk.

A job's id is its kind and the ids of the disks it works on, with dots between: whoever looks later finds it. A job that
has ended stays on the list until its result was taken.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from naos.engines.array import nodes
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, Unreachable
from naos.engines.ports import JobState

FLATTEN, COPY = "flatten", "copy"
POINT, YIELDING = "point", "cycle"
"""Copies of a disk into a point. Their ids go on with the point's, and with its instant in milliseconds. The second kind ends when
somebody wants to change the disk."""
FILL = "fill"
"""What is behind a door into a disk. Its id goes on with the reader's in the place of a point's, and a 0."""
FLEECE = "fleece"
"""Keeps what guests overwrite while a point's copy goes on, and copies nothing by itself. Its id goes on as the copy's does."""
_CANCELLING = 30.0  # seconds
_PATIENCE = 3.0  # seconds


@dataclass(frozen=True)
class Job:
    id: str
    kind: str
    disks: Sequence[str]
    ended: bool
    done: int
    total: int
    error: str | None
    point: str = ""
    milliseconds: int = 0
    waits: bool = False  # for `finalize`

    @property
    def instant(self) -> datetime:
        """Of a point."""
        return datetime.fromtimestamp(self.milliseconds / 1000, UTC)

    @property
    def state(self) -> JobState:
        return JobState(running=not self.ended, done=self.done, total=self.total, error=self.error)


def job_id(kind: str, *disk_ids: str) -> str:
    return ".".join((kind, *disk_ids))


def present(monitor: Monitor) -> list[Job]:
    """Every job that naos started and whose result was not taken yet."""
    found = []
    for entry in monitor.execute("query-jobs"):
        kind, *disks = entry["id"].split(".")
        of_point: dict[str, Any] = {}
        if kind in (POINT, YIELDING, FILL, FLEECE):
            of_point = {"point": disks[1], "milliseconds": int(disks[2])}
            del disks[1:]
        if kind in (FLATTEN, COPY, POINT, YIELDING, FILL, FLEECE):
            found.append(
                Job(
                    **of_point,
                    id=entry["id"],
                    kind=kind,
                    disks=tuple(disks),
                    ended=entry["status"] == "concluded",
                    waits=entry["status"] == "pending",
                    done=entry["current-progress"],
                    total=entry["total-progress"],
                    error=entry.get("error"),
                )
            )
    return found


def of_disk(monitor: Monitor, disk_id: str) -> list[Job]:
    return [job for job in present(monitor) if disk_id in job.disks]


def find(monitor: Monitor, kind: str, disk_id: str) -> Job | None:
    """The job of this kind whose first disk, the one it changes, is `disk_id`."""
    return next((job for job in present(monitor) if job.kind == kind and job.disks[0] == disk_id), None)


def dismiss(monitor: Monitor, job: Job) -> None:
    """Take an ended job's result off the list."""
    monitor.execute("job-dismiss", {"id": job.id})


def finalize(monitor: Monitor, job: Job) -> Job:
    """Let a job that waits for it end; the ended one. Raises Unreachable.

    The session is kept meanwhile: QEMU 7.2 drops the job's filter in several turns, and dies when its nodes are listed in between.
    """
    monitor.execute("job-finalize", {"id": job.id})
    until = time.monotonic() + _CANCELLING
    while time.monotonic() < until:
        found = next((entry for entry in present(monitor) if entry.id == job.id), None)
        if found is not None and found.ended:
            return found
        time.sleep(0.01)
    raise Unreachable(monitor.where, f"the end of job {job.id}", f"it has not come within {_CANCELLING:.0f} s")


def settle(monitor: Monitor, wanted: Sequence[Job], *, force: Callable[[], None] = lambda: None) -> None:
    """Cancel those that go on, wait, and take the results of all; fleeces go with the copies that they are for. Raises Unreachable.

    force: what to do, once, when they wait for somebody who does not answer.
    """
    _settle(monitor, [job for job in wanted if job.kind != FLEECE], force)
    for disk_id, point_id in {(job.disks[0], job.point) for job in wanted if job.kind in (POINT, YIELDING, FLEECE)}:
        drop_fleece(monitor, disk_id, point_id)


def drop_fleece(monitor: Monitor, disk_id: str, point_id: str) -> None:
    """Let go of what was kept for a copy that reads no more; none is fine."""
    nodes.close_named(monitor, nodes.name_of(nodes.VIEW, disk_id, point_id))
    _settle(monitor, [job for job in of_disk(monitor, disk_id) if (job.kind, job.point) == (FLEECE, point_id)])
    for kind in (nodes.FLEECE, nodes.FLEECE_FILE):
        nodes.close_named(monitor, nodes.name_of(kind, disk_id, point_id))
    with contextlib.suppress(DaemonRefused):  # there is none: the view has it
        image = nodes.node(nodes.IMAGE, disk_id)
        monitor.execute("block-dirty-bitmap-remove", {"node": image, "name": todo(point_id)})


def todo(point_id: str) -> str:
    """A bitmap's name: what a point's copy has to bring."""
    return f"todo.{point_id}"


def _settle(monitor: Monitor, wanted: Sequence[Job], force: Callable[[], None] = lambda: None) -> None:
    names = {job.id for job in wanted}
    asked: set[str] = set()
    until, forced = time.monotonic() + _CANCELLING, False
    while found := [job for job in present(monitor) if job.id in names]:
        for job in found:
            if job.ended:
                dismiss(monitor, job)
            elif job.id not in asked:
                with contextlib.suppress(DaemonRefused):  # it has ended meanwhile: the next look takes its result
                    monitor.execute("job-cancel", {"id": job.id})
                asked.add(job.id)
        if time.monotonic() > until:
            raise Unreachable(monitor.where, f"ending {len(found)} jobs", f"they go on after {_CANCELLING:g} s")
        if not forced and time.monotonic() > until - _CANCELLING + _PATIENCE:
            force()
            forced = True
        time.sleep(0.01)


def check_none(monitor: Monitor, where: str, disk_id: str) -> None:
    """Raises Busy while a job works on the disk, but ends those that give way."""
    found = of_disk(monitor, disk_id)
    settle(monitor, [job for job in found if job.kind == YIELDING and not job.ended])
    read = {job.point for job in found if job.kind == POINT and not job.ended}
    settle(monitor, [job for job in found if job.kind == FLEECE and job.point not in read])
    running = [job for job in of_disk(monitor, disk_id) if not job.ended and job.kind != FLEECE]
    if running:
        share = running[0].done / running[0].total if running[0].total else 0.0
        raise Busy(where, f"disk {disk_id}", f"a {running[0].kind} job works on it ({share:.0%} done)")
