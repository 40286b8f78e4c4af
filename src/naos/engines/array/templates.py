"""Templates on a volume: whole qcow2 images that its clones share, never written again."""

import contextlib
import gzip
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from naos.engines.array import bases, encryption, images, nodes, volume
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
    size = images.check_template(place.where, image)
    with _as_stored(place, image, size) as stored:
        needed = stored.stat().st_size
        volume.check_room(place, f"template {template_id}", stored.stat().st_blocks * 512)
        try:
            place.host.put(stored, place.template(template_id))
        except CommandFailed as error:
            raise named(error, f"template {template_id}", lambda: volume.numbers(place, needed)) from error
    place.run("chmod", "0444", "--", place.template(template_id))


@contextlib.contextmanager
def _as_stored(place: Place, image: Path, size: int) -> Iterator[Path]:
    """The image as it is to lie on the volume: encrypted on this machine, so that the array's disks never see it in clear."""
    if place.key is None:
        yield image
        return
    with tempfile.TemporaryDirectory(prefix="naos-template-") as folder:
        stored = Path(folder) / "image.qcow2"
        stored.write_bytes(gzip.decompress(encryption.empty(place, size)))
        target = f"driver=qcow2,encrypt.key-secret={encryption.SECRET},file.filename={str(stored).replace(',', ',,')}"
        words = ("-q", "-n", "--target-is-zero", "--object", encryption.OBJECT, "--target-image-opts")
        argv = ["qemu-img", "convert", *words, "-f", "qcow2", str(image), target]
        done = subprocess.run(argv, input=encryption.encoded(place.key).encode(), capture_output=True, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())
            raise CommandFailed("this machine", f"encrypting {image}", reason)
        yield stored


def drop(monitor: Monitor | None, place: Place, template_id: str, disk_ids: list[str]) -> None:
    """Remove a template that none of the volume's disks backs on; an absent one is left alone. Raises Busy.

    disk_ids: every disk of the volume. monitor: a session, or None when the daemon is certainly dead.
    """
    if not staged(place, template_id) and not place.exists(place.base(template_id)):
        return
    for disk_id in disk_ids:
        if nodes.disk_facts(monitor, place, disk_id).backing == template_id:
            raise Busy(place.where, f"template {template_id}", f"disk {disk_id} still backs on it")
    if monitor is not None and not nodes.close_template(monitor, template_id):
        raise Busy(place.where, f"template {template_id}", "the daemon still has it open")
    place.run("rm", "-f", "--", place.template(template_id))
    bases.remove(place, template_id)
