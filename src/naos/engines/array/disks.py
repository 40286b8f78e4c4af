"""Disks of a volume: made, measured, grown and removed. An image gets its name only once it is complete."""

import contextlib
from collections.abc import Iterator

from naos.engines import layouts
from naos.engines.array import changes, doors, exports, far_side, images, jobs, nodes, scratches
from naos.engines.array.daemon import served
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, EngineError, Missing, Unsupported
from naos.engines.ports import DiskFacts, Provisioning


def is_open(monitor: Monitor, disk_id: str) -> bool:
    """Whether the daemon has the disk's image open: then it is there."""
    return nodes.node(nodes.IMAGE, disk_id) in nodes.present(monitor)


def check_present(place: Place, disk_id: str, monitor: Monitor | None = None) -> None:
    """monitor: a session that may know it. Raises Missing."""
    if monitor is not None and is_open(monitor, disk_id):
        return
    if not place.exists(place.disk(disk_id)):
        raise Missing(place.where, f"disk {disk_id}", f"volume {place.lun_id} does not hold it")


def create(place: Place, disk_id: str, size: int, provisioning: Provisioning, template_id: str | None = None) -> None:
    """Make an empty disk of `size` bytes, its space reserved unless it is dynamic; or a reserved one with the content of a
    staged template. Raises NoSpace, Busy, Missing, Unsupported."""
    if template_id is not None and provisioning is Provisioning.DYNAMIC:
        raise Unsupported(place.where, f"disk {disk_id}", "a dynamic disk with content is a clone of its template")
    if template_id is not None and not place.exists(place.template(template_id)):
        raise Missing(place.where, f"template {template_id} on volume {place.lun_id}", "stage it first")
    with served(place) as monitor:
        if _made_earlier(monitor, place, disk_id, size):
            return
        if provisioning is Provisioning.DYNAMIC:
            part = place.disk_unfinished(disk_id)
            with _removed_on_failure(place, part):
                place.run("rm", "-f", "--", part)
                images.make(place, part, size, f"disk {disk_id}", layouts.cluster_bits(size))
            keep(place, disk_id)
            return
    with _removed_on_failure(place, place.disk_reserved(disk_id)):
        place.run("touch", "--", place.disk_reserved(disk_id))
        images.make_reserved(place, disk_id, size, provisioning, template_id)


def clone(monitor: Monitor, place: Place, disk_id: str, template_id: str, size: int) -> None:
    """Make a copy-on-write disk of a staged template, of its size or more. Raises Missing, NoSpace, Busy."""
    template = place.template(template_id)
    if not place.exists(template):
        raise Missing(place.where, f"template {template_id} on volume {place.lun_id}", "stage it first")
    size = max(size, images.read_closed(place, template).size)
    if _made_earlier(monitor, place, disk_id, size):
        return
    part = place.disk_unfinished(disk_id)
    with _removed_on_failure(place, part):
        place.run("rm", "-f", "--", part)
        images.make_clone(place, part, template_id, size)
    keep(place, disk_id)


def keep(place: Place, disk_id: str) -> None:
    """The unfinished image is complete: give it its name, for good."""
    part = place.disk_unfinished(disk_id)
    place.run("sync", "--", part, timeout=120)
    place.run("mv", "-T", "--", part, place.disk(disk_id))
    place.run("sync", "--", place.disks, timeout=120)


def resize(monitor: Monitor, place: Place, disk_id: str, size: int) -> None:
    """Grow a disk, reserving the growth when its space is reserved.

    An NBD client learns a size only when it connects, so an export is cut for the moment and made again under the same name;
    its client connects anew with its next request. Raises Unsupported when it would shrink, Busy, NoSpace.
    """
    check_present(place, disk_id)
    size = -(-size // 512) * 512
    present = nodes.disk_facts(monitor, place, disk_id)
    if size < present.size:
        raise Unsupported(place.where, f"disk {disk_id} of {size} bytes", f"it has {present.size} and never shrinks")
    if size == present.size:
        return
    jobs.check_none(monitor, place.where, disk_id)
    changes.break_off(monitor, disk_id)
    if place.exists(place.disk_reserved(disk_id)):
        more = images.full_size(size) - present.allocated
        images.reserve(place, place.disk(disk_id), min(more, size - present.size + images.OVERHEAD), f"disk {disk_id}")
    with nodes.opened(monitor, place, [disk_id]):
        changes.forget_broken(monitor, disk_id)
        epochs = exports.present(monitor).get(disk_id, ())
        exports.cut(monitor, disk_id)
        try:
            monitor.execute("block_resize", {"node-name": nodes.node(nodes.THROTTLE, disk_id), "size": size})
        finally:
            for epoch in epochs:
                exports.add(monitor, disk_id, epoch)


def describe(monitor: Monitor | None, place: Place, disk_id: str) -> DiskFacts | None:
    """None when the volume does not hold the disk."""
    known = monitor is not None and is_open(monitor, disk_id)
    if not known and not place.exists(place.disk(disk_id)):
        return None
    found = nodes.disk_facts(monitor, place, disk_id)
    return DiskFacts(disk_id, found.size, found.allocated, found.backing, found.snapshots)


def fence(monitor: Monitor, place: Place, disk_id: str) -> None:
    """Cut every export of the disk, then close its image unless a job needs it; what it wrote to a volatile one is dropped."""
    exports.cut(monitor, disk_id)
    close_unused(monitor, disk_id)
    scratches.drop(monitor, place, disk_id)


def close_unused(monitor: Monitor, disk_id: str) -> None:
    """Close the disk's image when nothing exports it and no job, ended or not, is listed for it."""
    if jobs.of_disk(monitor, disk_id) or changes.is_compared(monitor, disk_id):
        return
    nodes.close_remote(monitor, disk_id)
    if disk_id not in exports.present(monitor):
        nodes.close_disk(monitor, disk_id)


def delete(monitor: Monitor | None, place: Place, disk_id: str) -> None:
    """Cut it off, end its jobs, close it, remove its files; what is absent is left alone.

    monitor: a session, or None when the daemon is certainly dead.
    """
    kinds = (place.disk, place.disk_unfinished, place.disk_reserved, place.disk_damaged)
    paths = [path(disk_id) for path in kinds]
    if monitor is not None:
        exports.cut(monitor, disk_id)
        changes.break_off(monitor, disk_id)
        doors.end_all(monitor, place, disk_id)
        others = far_side.end_jobs(monitor, place, disk_id)
        nodes.close_disk(monitor, disk_id)
        for other in others:
            close_unused(monitor, other)
    place.run("rm", "-f", "--", *paths, *scratches.listed(place, disk_id))


def check_closed(monitor: Monitor, place: Place, disk_id: str) -> None:
    """The image is closed when this returns. Raises Busy while the disk is exported or a job works on it."""
    if disk_id in exports.present(monitor):
        raise Busy(place.where, f"disk {disk_id}", "it is exported; power its machine off first")
    jobs.check_none(monitor, place.where, disk_id)
    doors.end_all(monitor, place, disk_id)
    for job in jobs.of_disk(monitor, disk_id):
        jobs.dismiss(monitor, job)
    changes.break_off(monitor, disk_id)
    nodes.close_disk(monitor, disk_id)


def _made_earlier(monitor: Monitor, place: Place, disk_id: str, size: int) -> bool:
    """Whether an earlier call made this disk. Raises Busy when the id is a smaller disk's, which is another one."""
    if not place.exists(place.disk(disk_id)):
        return False
    present = nodes.disk_facts(monitor, place, disk_id)
    if present.size < size:
        raise Busy(place.where, f"the id {disk_id}", f"a disk of {present.size} bytes has it")
    return True


@contextlib.contextmanager
def _removed_on_failure(place: Place, path: str) -> Iterator[None]:
    try:
        yield
    except EngineError:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            place.run("rm", "-f", "--", path)
        raise
