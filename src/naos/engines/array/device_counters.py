"""What the devices below mounted volumes did, as their host's kernel counts it: one command for all of an array's volumes.

The daemons themselves count nothing (QEMU 7.2 counts at guests' devices, and an export is none).
"""

import re
from pathlib import PurePosixPath

from naos.engines.ports import Host, IoCounters
from naos.ids import normal_id

_SECTOR = 512  # the kernel's unit in its statistics, whatever the device has
_ESCAPED = re.compile(r"\\([0-7]{3})")


def read(host: Host, root: str) -> dict[str, IoCounters]:
    """By volume id. Raises Unreachable with the host."""
    return parse(host.run(["cat", "/proc/self/mountinfo", "/proc/diskstats"]).stdout, root)


def parse(told: str, root: str) -> dict[str, IoCounters]:
    """Both files, one after the other. A mount's line names its device as `major:minor` in its third word."""
    volumes: dict[str, str] = {}
    counted: dict[str, IoCounters] = {}
    for line in told.splitlines():
        words = line.split()
        if len(words) > 6 and "-" in words[6:]:
            lun_id = _volume(words[4], root)
            if lun_id is not None:
                volumes[words[2]] = lun_id
        elif len(words) >= 11 and f"{words[0]}:{words[1]}" in volumes:
            reads, _, read_sectors, read_ms, writes, _, write_sectors, write_ms = map(int, words[3:11])
            counted[volumes[f"{words[0]}:{words[1]}"]] = IoCounters(
                reads, writes, read_sectors * _SECTOR, write_sectors * _SECTOR, (read_ms + write_ms) * 10**6
            )
    return counted


def _volume(mount_point: str, root: str) -> str | None:
    """The id of the volume that is mounted there."""
    path = PurePosixPath(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), mount_point))
    lun_id = path.parent.name
    return lun_id if path == PurePosixPath(root, lun_id, "files") and normal_id(lun_id) == lun_id else None
