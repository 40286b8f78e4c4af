"""NBD exports: one a disk and epoch, named ``<disk id>.<epoch>``. Cutting one cuts its clients, whatever they are doing."""

import contextlib
import time

from naos.engines.array import jobs, nodes, scratches
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place, check_id
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Unreachable

_CUT = 30.0  # seconds; requests that the daemon has taken are finished first
_PREFIX = "x."  # ids of the daemon's objects begin with a letter


def name(disk_id: str, epoch: int) -> str:
    """What clients ask for."""
    return f"{disk_id}.{epoch}"


def parse(export_id: str) -> tuple[str, int] | None:
    """Disk id and epoch of the daemon's export, or None for one that naos did not make."""
    disk_id, dot, epoch = export_id.removeprefix(_PREFIX).rpartition(".")
    return (disk_id, int(epoch)) if export_id.startswith(_PREFIX) and dot and epoch.isdecimal() else None


def present(monitor: Monitor) -> dict[str, list[int]]:
    """Epochs of each disk's exports, those that are being cut included."""
    found: dict[str, list[int]] = {}
    for entry in monitor.execute("query-block-exports"):
        parsed = parse(entry["id"])
        if parsed is not None:
            found.setdefault(parsed[0], []).append(parsed[1])
    return found


def add(monitor: Monitor, disk_id: str, epoch: int) -> None:
    """Export an open disk. Never with an iothread: a client's sudden end would abort the daemon (QEMU 7.2)."""
    export = {
        "type": "nbd",
        "id": f"{_PREFIX}{name(disk_id, epoch)}",
        "name": name(disk_id, epoch),
        "node-name": nodes.node(nodes.THROTTLE, disk_id),
        "writable": True,
    }
    monitor.execute("block-export-add", export)


def rest(monitor: Monitor) -> None:
    """Before the daemon ends: cut every export, and seal what is known of the disks' changes. Raises Unreachable."""
    for disk_id in present(monitor):
        cut(monitor, disk_id)
        nodes.seal(monitor, disk_id)


def cut(monitor: Monitor, disk_id: str, *, spared: int | None = None) -> None:
    """Cut every export of the disk, but the epoch `spared`, and wait until they are gone. Raises Unreachable."""
    asked: set[int] = set()
    until = time.monotonic() + _CUT
    while left := [epoch for epoch in present(monitor).get(disk_id, ()) if epoch != spared]:
        for epoch in left:
            if epoch not in asked:
                with contextlib.suppress(DaemonRefused):  # it is going already; whether it goes is seen below
                    monitor.execute("block-export-del", {"id": f"{_PREFIX}{name(disk_id, epoch)}", "mode": "hard"})
            asked.add(epoch)
        if time.monotonic() > until:
            raise Unreachable(monitor.where, f"cutting disk {disk_id} off", f"its clients hold on after {_CUT:g} s")
        time.sleep(0.002)


def ensure(monitor: Monitor, place: Place, disk_id: str, epoch: int, *, volatile: bool = False) -> None:
    """Exactly this export of the disk. A volatile one writes to the file of its epoch, which is made when it is not there.

    Raises Busy for a volatile one while a job works on the disk.
    """
    check_id(place.where, disk_id)
    cut(monitor, disk_id, spared=epoch)
    if epoch in present(monitor).get(disk_id, ()):
        return
    if volatile:
        jobs.check_none(monitor, place.where, disk_id)
    scratches.drop(monitor, place, disk_id, spared=epoch if volatile else None)
    nodes.open_disk(monitor, place, disk_id, scratches.make(place, disk_id, epoch) if volatile else None)
    add(monitor, disk_id, epoch)
