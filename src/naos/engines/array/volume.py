"""A volume: XFS in the blocks that its space gives (see `spaces`), mounted in the volume's folder.

Every step looks first: a call repeated after a crash goes on where the earlier one stopped.
"""

import time

import structlog

from naos.engines.array import spaces
from naos.engines.array.errors import named
from naos.engines.array.places import Place
from naos.engines.errors import CommandFailed, NoSpace, Unreachable, Unsupported
from naos.engines.ports import LunSpec, LunUsage

SMALLEST = 300 * 2**20  # bytes: mkfs.xfs makes nothing smaller
_GROWING = 30.0  # seconds
_MOUNTING = 60.0  # seconds
_MOUNT_ONCE = 'mountpoint --quiet -- "$3" || exec mount -t xfs -o "$1" "$2" "$3"'
_log = structlog.get_logger()


def exists(place: Place) -> bool:
    return spaces.of(place).exists()


def create(place: Place, lun: LunSpec) -> None:
    """Make its blocks with a file system in them. Raises Unsupported for a capacity that none fits into, NoSpace."""
    space = spaces.of(place)
    if space.exists():
        grow(place, lun)
        return
    if lun.capacity < SMALLEST:
        raise Unsupported(
            place.where, f"a volume of {lun.capacity} bytes", f"its file system needs at least {SMALLEST}"
        )
    try:
        made = space.make(lun.capacity)
        place.run("mkfs.xfs", "-f", "-q", "-m", f"uuid={place.lun_id}", made, timeout=120)
        space.publish()
    except CommandFailed as error:
        words = f"the folder {place.root} has too little room for the file system's own blocks"
        raise named(error, f"volume {place.lun_id}", lambda: words) from error
    _log.info("array.volume_created", array=place.where, lun=place.lun_id, capacity=lun.capacity)


def capacity(place: Place) -> int:
    """Bytes. Raises Missing."""
    return spaces.of(place).capacity()


def whole(place: Place, lun: LunSpec) -> int:
    """Bytes that a volume of `lun.capacity` really has: extents are whole."""
    return spaces.of(place).whole(lun.capacity)


def mounted(place: Place) -> str | None:
    """The device under the mount point, or None."""
    done = place.run("findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", place.files, check=False)
    return done.stdout.strip() if done.code == 0 else None


def mount(place: Place) -> None:
    """Mount the volume, if it is not, with the folders in it. Raises Missing."""
    space = spaces.of(place)
    space.capacity()
    device = mounted(place)
    if device is None:
        place.run("mkdir", "-p", "--", place.files)
        # one at a time: a file system that is mounted twice is lost
        argv = ("flock", "--wait", f"{_MOUNTING:.0f}", place.folder, "sh", "-c", _MOUNT_ONCE)
        words = ("sh", space.options, space.source(), place.files)
        done = place.run(*argv, *words, timeout=2 * _MOUNTING, check=False)
        device = mounted(place)
        if device is None:
            raise CommandFailed(place.where, f"mounting volume {place.lun_id}", " ".join(done.stderr.split()))
    space.mounted(device)
    place.run("mkdir", "-p", "--", place.disks, place.templates)


def unmount(place: Place) -> None:
    """Raises CommandFailed while something is open on the volume."""
    if mounted(place) is not None:
        place.run("umount", "--", place.files, timeout=120)
        spaces.of(place).released()


def grow(place: Place, lun: LunSpec) -> None:
    """Bring the volume to at least its capacity, mounted or not. Raises Unsupported when it would shrink."""
    space = spaces.of(place)
    present, wanted = space.capacity(), space.whole(lun.capacity)
    if wanted < present:
        reason = f"it has {present} and never shrinks"
        raise Unsupported(place.where, f"volume {lun.id} of {lun.capacity} bytes", reason)
    if wanted > present:
        space.grow(lun.capacity)
    device = mounted(place)
    if device is not None:
        space.enlarged(device)
        _grow_file_system(place)


def _grow_file_system(place: Place) -> None:
    """The kernel turns a second caller away while another controller's is at work; whoever comes last sees the whole size."""
    until = time.monotonic() + _GROWING
    while True:
        done = place.run("xfs_growfs", "-d", place.files, timeout=120, check=False)
        if done.code == 0:
            return
        reason = " ".join(done.stderr.split())
        if "in progress already" not in reason or time.monotonic() > until:
            raise CommandFailed(place.where, f"growing volume {place.lun_id}", reason)
        time.sleep(0.05)


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


OF_COPIES = ("points", "compared")
"""Folders beside a volume: keys of the doors of its disks' copies, checksums that disks are compared with."""


def remove(place: Place) -> None:
    """Remove its blocks, and what lies in its folder on the host, by name; the volume must be unmounted."""
    spaces.of(place).remove()
    place.run("rm", "-f", "--", place.socket, place.pid_file)
    if place.exists(place.files):
        place.run("rmdir", "--", place.files)
    if place.exists(place.folder):
        place.run("rm", "-rf", "--", place.lock, *(f"{place.folder}/{name}" for name in OF_COPIES))
        place.run("rmdir", "--", place.folder)


def listed(place: Place) -> list[str]:
    """Paths of everything on the mounted volume, relative to its root, two levels deep; folders end in a slash."""
    found = place.run(
        "find", place.files, "-mindepth", "1", "-maxdepth", "2", *("(", "-type", "d", "-printf", "%P/\\0"),
        *("-o", "-printf", "%P\\0", ")"), timeout=60,
    ).stdout  # fmt: skip
    return sorted(path for path in found.split("\0") if path)
