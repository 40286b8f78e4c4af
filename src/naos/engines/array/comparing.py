"""What changed on a disk since a point, found anew: its content is compared with the point's checksums, where it lies.

The disk may be in use. Writes are recorded from before the first block is read, so a block that is neither found to differ nor
recorded is what it was; a block too many costs only its transfer.
"""

import contextlib
from pathlib import Path

from naos.engines.array import changes, disks, nodes
from naos.engines.array.daemon import served
from naos.engines.array.places import Place, check_id
from naos.engines.errors import EngineError
from naos.engines.points import carrying
from naos.engines.ports import LunSpec

_MODULES = ("naos.engines.points.onhost.sums", "naos.engines.points.onhost.scanning")
_LONG = 7 * 24 * 3600.0  # seconds


def compare(
    place: Place,
    lun: LunSpec,
    address: str,
    set_id: str,
    point_id: str,
    disk_id: str,
    checksums: Path,
    pace: int | None,
) -> int:
    """Bytes that differ. Raises Missing, EngineError when the disk was resized, deleted or lost its daemon meanwhile."""
    for text in (set_id, point_id, disk_id):
        check_id(place.where, text)
    name = changes.name(set_id, point_id)
    with served(place) as monitor:
        disks.check_present(place, disk_id)
        size = nodes.disk_facts(monitor, place, disk_id).size
        nodes.open_disk(monitor, place, disk_id)
        known_points = changes.known(monitor, disk_id, set_id)
        changes.forget(monitor, disk_id, set_id, spared=known_points - {point_id})
        changes.begin_comparing(monitor, disk_id, size)
    folder = f"{place.folder}/compared"
    file = f"{folder}/{disk_id}"
    try:
        place.run("mkdir", "-p", "--", folder)
        place.host.put(checksums, file)
        request = {
            "address": address,
            "port": lun.port,
            "read": f"{changes.READ}.{disk_id}",
            "differs": f"{changes.DIFFERS}.{disk_id}",
            "checksums": file,
            "pace": pace,
            "tls": place.tls,
        }
        answer = carrying.call(place.host, _MODULES, request, timeout=_LONG)
        if "refused" in answer:
            raise EngineError(place.where, f"comparing disk {disk_id}", answer["refused"])
        with served(place) as monitor:
            return changes.take_comparison(monitor, disk_id, name)
    finally:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of
            place.run("rm", "-f", "--", file)
        with contextlib.suppress(EngineError), served(place) as monitor:
            changes.break_off(monitor, disk_id)
            disks.close_unused(monitor, disk_id)
