"""Snapshots inside the images, named by the snapshot's id: one point in time for a set of disks, running or not."""

import json
from collections.abc import Sequence
from pathlib import Path

from naos.engines.array import changes, disks, encryption, jobs, laying, nodes
from naos.engines.array import held as looking
from naos.engines.array.errors import DaemonRefused, named
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.array.volume import numbers
from naos.engines.errors import Missing

_LOOK = 120.0  # seconds


def take(monitor: Monitor, place: Place, snapshot_id: str, disk_ids: Sequence[str]) -> None:
    """All disks in one transaction of the daemon; those that are at rest are opened for it.

    When an interrupted call left the snapshot on some of the disks only, those are taken anew: a set is of one moment.
    Raises Missing, Busy while a job works on one, NoSpace.
    """
    check_id(place.where, snapshot_id)
    for disk_id in disk_ids:
        disks.check_present(place, disk_id)
    having = [disk_id for disk_id in disk_ids if _has(monitor, place, disk_id, snapshot_id)]
    if len(having) == len(disk_ids):
        return
    for disk_id in disk_ids:
        jobs.check_none(monitor, place.where, disk_id)
        laying.check_moved_in(monitor, place, disk_id, "a snapshot of")
    with nodes.opened(monitor, place, list(disk_ids)):
        for disk_id in having:
            _delete(monitor, disk_id, snapshot_id)
        actions = [
            {"type": "blockdev-snapshot-internal-sync", "data": {"device": _device(disk_id), "name": snapshot_id}}
            for disk_id in disk_ids
        ]
        try:
            monitor.execute("transaction", {"actions": actions})
        except DaemonRefused as error:
            raise named(error, f"snapshot {snapshot_id}", lambda: numbers(place, 2**20 * len(actions))) from error


def revert(monitor: Monitor, place: Place, snapshot_id: str, disk_ids: Sequence[str]) -> None:
    """Bring the disks back to the snapshot; sizes too. Raises Busy while one is used, Missing; then none is changed."""
    check_id(place.where, snapshot_id)
    for disk_id in disk_ids:
        disks.check_present(place, disk_id)
        disks.check_closed(monitor, place, disk_id)
        if not _has(monitor, place, disk_id, snapshot_id):
            raise Missing(place.where, f"snapshot {snapshot_id} of disk {disk_id}", "it was never taken")
    changes.forget_closed(place, disk_ids)
    for disk_id in disk_ids:
        _apply(place, snapshot_id, disk_id)


def _apply(place: Place, snapshot_id: str, disk_id: str) -> None:
    words = ("snapshot", "-q", "-a", snapshot_id)
    if place.key is None:
        place.run("qemu-img", *words, place.disk(disk_id), timeout=300)
    else:
        sealed = ("--object", encryption.OBJECT, encryption.file_name(place.disk(disk_id)))
        encryption.run(place, "qemu-img", *words, *sealed, timeout=300)


def delete(monitor: Monitor, place: Place, snapshot_id: str, disk_ids: Sequence[str]) -> None:
    """Absent disks and snapshots are left alone. Raises Busy while a job works on a disk."""
    check_id(place.where, snapshot_id)
    here = [disk_id for disk_id in disk_ids if place.exists(place.disk(disk_id))]
    having = [disk_id for disk_id in here if _has(monitor, place, disk_id, snapshot_id)]
    for disk_id in having:
        jobs.check_none(monitor, place.where, disk_id)
    with nodes.opened(monitor, place, having):
        for disk_id in having:
            _delete(monitor, disk_id, snapshot_id)


def held(place: Place, disk_ids: Sequence[str]) -> dict[str, int]:
    """By snapshot, the bytes that the images of these disks have for its sake alone (see `held`). An absent disk has nothing."""
    script = Path(looking.__file__).read_text(encoding="utf-8")
    argv = ("nice", "-n", "10", "python3", "-c", script, *map(place.disk, disk_ids))
    sizes: dict[str, int] = json.loads(place.run(*argv, timeout=_LOOK).stdout)
    return sizes


def _has(monitor: Monitor, place: Place, disk_id: str, snapshot_id: str) -> bool:
    return snapshot_id in nodes.disk_facts(monitor, place, disk_id).snapshots


def _delete(monitor: Monitor, disk_id: str, snapshot_id: str) -> None:
    monitor.execute("blockdev-snapshot-delete-internal-sync", {"device": _device(disk_id), "name": snapshot_id})


def _device(disk_id: str) -> str:
    """The top of the chain: the daemon takes snapshots there and passes them on to the image."""
    return nodes.node(nodes.THROTTLE, disk_id)
