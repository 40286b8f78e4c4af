"""What is written to volatile disks: an image beside the disk's own, one an epoch.

A new epoch is a new start of the machine and begins with an empty one; a daemon that is brought back finds the epoch's own
again. Those of other epochs are what a crash has left.
"""

from naos.engines.array import images, nodes
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor


def make(place: Place, disk_id: str, epoch: int) -> str:
    """The epoch's image, made when it is not there. Raises NoSpace."""
    path = place.disk_scratch(disk_id, epoch)
    if not place.exists(path):
        size = images.read_closed(place, place.disk(disk_id)).size
        part = f"{path}.new"
        place.run("rm", "-f", "--", part)
        images.make_over(place, part, f"{disk_id}.qcow2", size, f"what is written to disk {disk_id}")
        place.run("mv", "-T", "--", part, path)
    return path


def drop(monitor: Monitor, place: Place, disk_id: str, *, spared: int | None = None) -> None:
    """Remove the disk's images of every epoch but `spared`. The disk must not be exported."""
    found = listed(place, disk_id)
    keep = place.disk_scratch(disk_id, spared) if spared is not None else None
    if surplus := [path for path in found if path != keep]:
        nodes.close_disk(monitor, disk_id)
        place.run("rm", "-f", "--", *surplus)


def listed(place: Place, disk_id: str) -> list[str]:
    argv = ("find", place.disks, "-maxdepth", "1", "-name", f"{disk_id}.*.scratch*", "-print0")
    return [path for path in place.run(*argv).stdout.split("\0") if path]


def remove(place: Place, disk_id: str, epoch: int) -> None:
    """Remove what a crash has left; the epoch must not be exported."""
    path = place.disk_scratch(disk_id, epoch)
    place.run("rm", "-f", "--", path, f"{path}.new")
