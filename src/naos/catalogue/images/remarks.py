"""What should be thought about a disk before many machines are made of it.

Its files are read by a process of its own under limits on memory and time: the file system is its sender's work. What cannot be
read is nothing to warn of.
"""

import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import structlog

from naos.catalogue.images import commands
from naos.catalogue.images.commands import Limits
from naos.catalogue.images.errors import ToolFailed, ToolMissing, ToolTimeout
from naos.engines.files.onhost.disk import Image
from naos.engines.files.onhost.tree import FILE, FileSystem, whole
from naos.engines.files.onhost.volumes import FAILURES, Point
from naos.units import GIB

_LIMITS = Limits(memory=GIB, cpu=20, file=0)
_TIMEOUT = 60.0  # seconds
_LONGEST = 64  # bytes of a machine-id and a bit
_MOST_NAMES = 100_000  # of a folder that is looked through
_NO_ID = {"", "uninitialized"}
MACHINE_ID = (
    "Its /etc/machine-id is filled in: machines made of it take each other for the same, and get one address from a DHCP server. "
    "Empty the file (`truncate -s 0 /etc/machine-id`) before the image is made."
)

log = structlog.get_logger()


def of_image(image: Path) -> list[str]:
    """Warnings about a qcow2 image without a backing file, whole sentences; none for one whose files cannot be read."""
    argv = [sys.executable, "-m", __name__, str(image)]
    try:
        found: list[str] = json.loads(commands.run(argv, timeout=_TIMEOUT, limits=_LIMITS))
    except (ToolFailed, ToolMissing, ToolTimeout, ValueError) as error:
        log.info("image.unread", image=image.name, reason=str(error))
        return []
    return found


def _warnings(image: str) -> Iterator[str]:
    handle = os.open(image, os.O_RDONLY)
    point = Point([("0", "disk", Image([handle]))])
    for volume in point.volumes():
        if volume.opened is None:
            continue
        try:
            held = _content(volume.opened, b"etc", b"machine-id")
        except FAILURES:
            continue
        if held is not None and held.decode(errors="replace").strip() not in _NO_ID:
            yield MACHINE_ID


def _content(files: FileSystem, *path: bytes) -> bytes | None:
    """The beginning of a file, None where there is none. Links are not followed."""
    key = files.root()
    for name in path:
        key = next((found for each, found in islice(files.entries(key), _MOST_NAMES) if each == name), None)
        if key is None:
            return None
    return whole(files.pieces(key), _LONGEST) if files.node(key).kind == FILE else None


if __name__ == "__main__":
    try:
        found = sorted(set(_warnings(sys.argv[1])))
    except (*FAILURES, OSError):
        found = []
    sys.stdout.write(json.dumps(found))
