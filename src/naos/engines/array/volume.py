"""A volume's space: a sparse file with XFS in it, mounted through a loop device with direct I/O.

The file gets its name only once its file system is complete, and every step looks first: a call repeated after a crash
goes on where the earlier one stopped.
"""

import structlog

from naos.engines.array.errors import named
from naos.engines.array.places import Place
from naos.engines.errors import CommandFailed, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.ports import LunSpec, LunUsage

SMALLEST = 300 * 2**20  # bytes: mkfs.xfs makes nothing smaller
OPTIONS = "loop,nouuid,noatime,discard"  # discard: what is deleted in the volume leaves the file too
_log = structlog.get_logger()


def create(place: Place, lun: LunSpec) -> None:
    """Make the file with its file system. Raises Unsupported for a capacity that none fits into, NoSpace."""
    if place.exists(place.image):
        grow(place, lun)
        return
    if lun.capacity < SMALLEST:
        raise Unsupported(
            place.where, f"a volume of {lun.capacity} bytes", f"its file system needs at least {SMALLEST}"
        )
    try:
        place.run("mkdir", "-p", "--", place.files)
        place.run("rm", "-f", "--", place.unfinished)
        place.run("truncate", "-s", str(lun.capacity), "--", place.unfinished)
        place.run("mkfs.xfs", "-q", "-m", f"uuid={place.lun_id}", place.unfinished, timeout=120)
        place.run("sync", "--", place.unfinished, timeout=120)
        place.run("mv", "-T", "--", place.unfinished, place.image)
    except CommandFailed as error:
        words = f"the folder {place.root} has too little room for the file system's own blocks"
        raise named(error, f"volume {place.lun_id}", lambda: words) from error
    _log.info("array.volume_created", array=place.where, lun=place.lun_id, capacity=lun.capacity)


def capacity(place: Place) -> int:
    """Bytes. Raises Missing."""
    if not place.exists(place.image):
        raise Missing(place.where, f"volume {place.lun_id}", "it is not on this array")
    return int(place.run("stat", "-c", "%s", "--", place.image).stdout)


def mounted(place: Place) -> str | None:
    """The loop device under the mount point, or None."""
    done = place.run("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", place.files, check=False)
    return done.stdout.strip() if done.code == 0 else None


def mount(place: Place) -> None:
    """Mount the volume, if it is not, with the folders in it. Raises Missing."""
    capacity(place)
    device = mounted(place)
    if device is None:
        place.run("mkdir", "-p", "--", place.files)
        done = place.run("mount", "-t", "xfs", "-o", OPTIONS, place.image, place.files, timeout=120, check=False)
        device = mounted(place)
        if device is None:  # else another controller was quicker
            raise CommandFailed(place.where, f"mounting volume {place.lun_id}", " ".join(done.stderr.split()))
    if device.startswith("/dev/loop"):
        # where the file system below can, the device reads and writes the file directly: else it caches too
        place.run("losetup", "--direct-io=on", device, check=False)
    place.run("mkdir", "-p", "--", place.disks, place.templates)


def unmount(place: Place) -> None:
    """The loop device goes with the mount. Raises CommandFailed while something is open on the volume."""
    if mounted(place) is not None:
        place.run("umount", "--", place.files, timeout=120)


def grow(place: Place, lun: LunSpec) -> None:
    """Bring the volume to at least its capacity, mounted or not. Raises Unsupported when it would shrink."""
    present = capacity(place)
    if lun.capacity < present:
        reason = f"it has {present} and never shrinks"
        raise Unsupported(place.where, f"volume {lun.id} of {lun.capacity} bytes", reason)
    if lun.capacity > present:
        place.run("truncate", "-s", str(lun.capacity), "--", place.image)
    device = mounted(place)
    if device is not None:
        place.run("losetup", "--set-capacity", device)
        place.run("xfs_growfs", "-d", place.files, timeout=120)


def usage(place: Place) -> LunUsage:
    """Bytes of the volume, its file system's own blocks counted as used. Raises Missing, Unreachable."""
    size = capacity(place)
    if mounted(place) is None:
        raise Unreachable(place.where, f"volume {place.lun_id}", "it is not mounted; its daemon does not run")
    blocks, block = place.run("stat", "--file-system", "-c", "%a %S", "--", place.files).stdout.split()
    free = int(blocks) * int(block)
    return LunUsage(size, size - free, free)


def check_room(place: Place, what: str, needed: int) -> None:
    """Raises NoSpace with the numbers when fewer than `needed` bytes are free."""
    free = usage(place).free
    if needed > free:
        raise NoSpace(place.where, what, f"volume {place.lun_id} has {free} bytes free, {needed} are needed")


def numbers(place: Place, needed: int) -> str:
    """What the volume has and what was asked of it, for NoSpace."""
    found = usage(place)
    return f"volume {place.lun_id} of {found.capacity} bytes has {found.free} free, up to {needed} are needed"


def remove(place: Place) -> None:
    """Remove what lies in the volume's folder on the host, by name; the volume must be unmounted."""
    for path in (place.image, place.unfinished, place.socket, place.pid_file):
        place.run("rm", "-f", "--", path)
    if place.exists(place.files):
        place.run("rmdir", "--", place.files)
    if place.exists(place.folder):
        place.run("rm", "-f", "--", place.lock)
        place.run("rmdir", "--", place.folder)


def listed(place: Place) -> list[str]:
    """Paths of everything on the mounted volume, relative to its root, two levels deep; folders end in a slash."""
    found = place.run(
        "find", place.files, "-mindepth", "1", "-maxdepth", "2", *("(", "-type", "d", "-printf", "%P/\\0"),
        *("-o", "-printf", "%P\\0", ")"), timeout=60,
    ).stdout  # fmt: skip
    return sorted(path for path in found.split("\0") if path)
