"""Templates on a volume: whole qcow2 images that its clones share, never written again."""

from pathlib import Path

from naos.engines.array import images, nodes, volume
from naos.engines.array.errors import named
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Busy, CommandFailed, Missing


def staged(place: Place, template_id: str) -> bool:
    return place.exists(place.template(template_id))


def stage(place: Place, template_id: str, image: Path) -> None:
    """Bring an image of this machine onto the volume. Raises Missing, Unsupported, NoSpace."""
    if staged(place, template_id):
        return
    if not image.is_file():
        raise Missing("this machine", f"file {image}", "it was to be staged as a template")
    images.check_template(place.where, image)
    needed = image.stat().st_size
    volume.check_room(place, f"template {template_id}", image.stat().st_blocks * 512)
    try:
        place.host.put(image, place.template(template_id))
    except CommandFailed as error:
        raise named(error, f"template {template_id}", lambda: volume.numbers(place, needed)) from error
    place.run("chmod", "0444", "--", place.template(template_id))


def drop(monitor: Monitor | None, place: Place, template_id: str, disk_ids: list[str]) -> None:
    """Remove a template that none of the volume's disks backs on; an absent one is left alone. Raises Busy.

    disk_ids: every disk of the volume. monitor: a session, or None when the daemon is certainly dead.
    """
    if not staged(place, template_id):
        return
    for disk_id in disk_ids:
        if nodes.disk_facts(monitor, place, disk_id).backing == template_id:
            raise Busy(place.where, f"template {template_id}", f"disk {disk_id} still backs on it")
    if monitor is not None and not nodes.close_template(monitor, template_id):
        raise Busy(place.where, f"template {template_id}", "the daemon still has it open")
    place.run("rm", "-f", "--", place.template(template_id))
