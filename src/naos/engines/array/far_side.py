"""The other end of a copy to another volume: whether its daemon answers, and how to let go of one that does not.

QEMU flushes a node that is closed, and while the other end does not answer that flush the whole daemon stands still, with all guests.
So nothing that leads elsewhere is closed before it is known to answer, or its connection is broken.
"""

from urllib.parse import urlsplit

from naos.engines import greeting
from naos.engines.array import jobs, nodes
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Unreachable


def release(monitor: Monitor, place: Place, disk_id: str, *, flushed: bool) -> None:
    """Close what leads to the disk that a copy has filled; none is fine. flushed: it must be on the medium there when this returns.

    Raises Unreachable where that cannot be, and the way stays open.
    """
    where = _address(monitor, disk_id)
    if where is None:
        return
    if not greeting.answers(place.host, *where):
        if flushed:
            what = f"flushing the copy {disk_id} at {where[0]}:{where[1]}"
            raise Unreachable(place.where, what, f"it says nothing within {greeting.PATIENCE:g} s")
        cut(place, *where)
    nodes.close_remote(monitor, disk_id)


def end_jobs(monitor: Monitor, place: Place, disk_id: str) -> list[str]:
    """Cancel the disk's jobs, wait, take their results, and let what they filled elsewhere go. Returns every disk that they worked
    on. Raises Unreachable."""
    found = jobs.of_disk(monitor, disk_id)
    touched = sorted({each for job in found for each in job.disks})

    def give_up() -> None:
        for each in touched:
            where = _address(monitor, each)
            if where is not None and not greeting.answers(place.host, *where):
                cut(place, *where)

    jobs.settle(monitor, found, force=give_up)
    for each in touched:
        release(monitor, place, each, flushed=False)
    return touched


def cut(place: Place, host: str, port: int) -> None:
    """All connections of this host to that port."""
    place.run("ss", "-K", "-t", "-n", "dst", host, f"dport = :{port}", check=False)


def _address(monitor: Monitor, disk_id: str) -> tuple[str, int] | None:
    found = nodes.present(monitor).get(nodes.node(nodes.REMOTE, disk_id))
    if found is None:
        return None
    parts = urlsplit(found["image"]["filename"])
    return str(parts.hostname), int(parts.port or 0)
