"""Images in whose tables qcow2 has met what cannot be: a bit that changed on the medium, a lost write.

QEMU marks such an image for good and serves nothing of it any more, so that nothing false is read. It then refuses to list any node of the
daemon (QEMU 7.2), and nobody could manage the other disks. So the image is cut off and closed, and a file beside it says why.
"""

import contextlib
import re

import structlog

from naos.engines.array import exports, nodes
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor

_GIVEN_UP = re.compile(rf"Block device ([{nodes.IMAGE}{nodes.SCRATCH}]\.[a-z2-7]{{26}}) is ejected")
_log = structlog.get_logger()


def put_aside(monitor: Monitor, place: Place) -> None:
    """Close every image that the daemon has given up. The guests that have them stand still with an I/O error."""
    while (disk_id := _given_up(monitor)) is not None:
        _log.error("array.image_damaged", array=place.where, lun=place.lun_id, image=disk_id)
        place.run("touch", "--", place.disk_damaged(disk_id))
        exports.cut(monitor, disk_id)
        for kind in (nodes.THROTTLE, nodes.SCRATCH, nodes.SCRATCH_FILE, nodes.IMAGE, nodes.FILE):
            with contextlib.suppress(DaemonRefused):  # it has none of the kind
                monitor.execute("blockdev-del", {"node-name": nodes.node(kind, disk_id)})
        if _given_up(monitor) == disk_id:
            raise DaemonRefused(monitor.where, f"closing disk {disk_id}", "something still uses its damaged image")


def _given_up(monitor: Monitor) -> str | None:
    try:
        nodes.present(monitor)
    except DaemonRefused as error:
        match = _GIVEN_UP.search(error.reason)
        if match is None:
            raise
        return nodes.object_of(match[1])
    return None
