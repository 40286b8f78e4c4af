"""Fleeces: the state of disks at one instant, kept on their own volume while it is copied away.

A filter over the disk's image brings each block that a guest is about to overwrite, and that is still to be copied, into an image
beside it first; a view joins the two. So a guest's write waits until the old block was read, and never for the network or for who is at
its other end. What the image takes goes to the volume when the host gets to it: nobody needs it once the daemon is dead. That image has no
name any more once it is open: it ends with the daemon, and nothing is left of it.

The filter belongs to a job that does nothing else: only jobs begin in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from naos.engines.array import changes, images, jobs, nodes
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.ports import Outgoing

SMALLEST = 8 * 2**20
"""Bytes to copy of a disk from which on a fleece is worth its making: less has gone out before a guest notices."""
MARGIN = 64 * 2**20
"""Bytes of the volume that stay free beside everything that fleeces may come to hold."""


@dataclass(frozen=True)
class _Source:
    size: int
    allocated: int
    read_only: bool
    encrypted: bool
    dirty: dict[str, int]  # bytes by bitmap


def open_images(
    monitor: Monitor, place: Place, set_id: str, point_id: str, parts: Sequence[Outgoing]
) -> frozenset[str]:
    """Open, for the disks that are to have a fleece, the image that takes the old blocks; these disks. Raises NoSpace.

    A disk that is only read needs none, and without the volume's key at hand nothing of an encrypted one may be written anew. All or none
    of the rest have theirs: there must be room whatever guests do.
    """
    found = nodes.present(monitor)
    sources = {part.disk_id: _source(found[nodes.node(nodes.IMAGE, part.disk_id)]) for part in parts}
    needed = {}
    for part in parts:
        source = sources[part.disk_id]
        known = source.dirty.get(changes.name(set_id, part.base), 0) if part.base else source.allocated
        if known >= SMALLEST and not source.read_only and not (source.encrypted and place.key is None):
            needed[part.disk_id] = min(known, source.size)
    if not needed or _free(place) < sum(needed.values()) + MARGIN:
        return frozenset()
    for disk_id in needed:
        _open_image(monitor, place, disk_id, point_id, sources[disk_id])
    return frozenset(needed)


def _free(place: Place) -> int:
    blocks, block = place.run("stat", "--file-system", "-c", "%a %S", "--", place.files).stdout.split()
    return int(blocks) * int(block)


def _open_image(monitor: Monitor, place: Place, disk_id: str, point_id: str, source: _Source) -> None:
    jobs.drop_fleece(monitor, disk_id, point_id)
    path = place.disk_unfinished(disk_id)
    place.run("rm", "-f", "--", path)
    images.make(place, path, source.size, f"what is overwritten of disk {disk_id} while it is copied")
    try:
        kinds = (nodes.FLEECE_FILE, nodes.FLEECE)
        of_point, encrypted = nodes.part_of(disk_id, point_id), source.encrypted
        way: dict[str, Any] = {"give_back": True, "lasting": False, "encrypted": encrypted, "kinds": kinds}
        nodes.open_image(monitor, of_point, path, backing=None, **way)
    finally:
        place.run("rm", "-f", "--", path)


def actions(disk_id: str, point_id: str, base: str | None, stamp: int) -> list[dict[str, Any]]:
    """Of the transaction that sets the instant, in milliseconds. base: the bitmap of what is to be copied, None for all of it.

    With a bitmap the job copies what it says by itself, a first piece of 1 MiB at most; its speed sees to it that the next one, and with it
    the job's end, never comes.
    """
    image = nodes.node(nodes.IMAGE, disk_id)
    found: list[dict[str, Any]] = []
    what: dict[str, Any] = {"sync": "none"}
    if base is not None:
        todo = {"node": image, "name": jobs.todo(point_id), "granularity": changes.GRANULARITY, "disabled": True}
        merge = {"node": image, "target": jobs.todo(point_id), "bitmaps": [base]}
        found.append({"type": "block-dirty-bitmap-add", "data": todo})
        found.append({"type": "block-dirty-bitmap-merge", "data": merge})
        what = {"sync": "bitmap", "bitmap": base, "bitmap-mode": "never", "speed": 1, "x-perf": {"max-workers": 1}}
    backup = {
        **what,
        "job-id": jobs.job_id(jobs.FLEECE, disk_id, point_id, str(stamp)),
        "device": image,
        "target": nodes.name_of(nodes.FLEECE, disk_id, point_id),
        "filter-node-name": nodes.name_of(nodes.FLEECE_FILTER, disk_id, point_id),
        "auto-dismiss": False,
    }
    return [*found, {"type": "blockdev-backup", "data": backup}]


def open_view(monitor: Monitor, disk_id: str, point_id: str, *, partly: bool) -> None:
    """From here on the disk's `nodes.VIEW` reads as the disk did at the instant. partly: it has a bitmap, `jobs.todo`, of what can be read
    there."""
    image, view = nodes.node(nodes.IMAGE, disk_id), nodes.name_of(nodes.VIEW, disk_id, point_id)
    joined = nodes.name_of(nodes.FLEECE_FILTER, disk_id, point_id)
    monitor.execute("blockdev-add", {"driver": "snapshot-access", "node-name": view, "file": joined})
    if partly:
        todo = jobs.todo(point_id)
        bitmap = {"node": view, "name": todo, "granularity": changes.GRANULARITY, "disabled": True}
        monitor.execute("block-dirty-bitmap-add", bitmap)
        merge = {"node": view, "target": todo, "bitmaps": [{"node": image, "name": todo}]}
        monitor.execute("block-dirty-bitmap-merge", merge)
        changes.remove(monitor, disk_id, todo)


def _source(described: dict[str, Any]) -> _Source:
    found = images.facts(described["image"])
    dirty = {entry["name"]: int(entry["count"]) for entry in described.get("dirty-bitmaps", []) if "name" in entry}
    return _Source(found.size, found.allocated, bool(described["ro"]), found.encrypted, dirty)
