"""Image files: made, measured and read with qemu-img while nothing has them open; headers read on this machine.

`qemu-img` is never let near an image that the daemon has open; QEMU's own locks on the file would refuse it, too.
"""

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naos.engines import layouts
from naos.engines.array import encryption, seals
from naos.engines.array.errors import named
from naos.engines.array.places import Place
from naos.engines.array.volume import numbers
from naos.engines.errors import CommandFailed, Unsupported
from naos.engines.ports import Provisioning
from naos.ids import normal_id

OVERHEAD = 2 * 2**20
"""Bytes of an image's own tables, roughly, beside the 1/8192 of its size that mapping everything takes."""
_PREALLOCATION = {
    Provisioning.STATIC_DIFFERED: "falloc",
    Provisioning.STATIC_IMMEDIATE: "full",
}
_BACKING = re.compile(r"\.\./templates/([0-9a-f-]{36})\.(?:qcow2|door)")
_HEADER = struct.Struct(">4sIQII QIIQ QIIQ Q")  # qcow2, up to the incompatible features of version 3
_DAMAGED, _EXTERNAL_DATA = 1 << 1, 1 << 2
_SLOWEST = 20 * 2**20  # bytes a second: what an array writes at the least
_MAKE_RESERVED = """
test -e "$4" && exit 0
qemu-img create -q -f qcow2 -o "preallocation=$1,$6" "$2" "$3" &&
    { test -z "$5" || qemu-img convert -q -n --target-is-zero -f qcow2 -O qcow2 "$5" "$2"; } &&
    sync -- "$2" && mv --no-clobber -T -- "$2" "$4" && exit 0
code=$?
rm -f -- "$2"
exit "$code"
"""
"""Preallocation, unfinished path, size, final path, path of the template that it is filled from or nothing, layout."""
_MAKE_RESERVED_SEALED = """
test -e "$4" && exit 0
read -r key
target=$(printf %s "$2" | sed s/,/,,/g)
fill() {
    printf %s "$key" | qemu-img convert -q -n -S 0 --object "$secret" \\
        --target-image-opts "$1" "driver=qcow2,encrypt.key-secret=key,file.filename=$target"
}
secret=$6
gzip -dc > "$2" &&
    fallocate --keep-size --offset "$(stat -c %s -- "$2")" --length "$3" "$2" &&
    { test "$1" != full || fill "$7"; } &&
    { test -z "$5" || fill "$5"; } &&
    sync -- "$2" && mv --no-clobber -T -- "$2" "$4" && exit 0
code=$?
rm -f -- "$2"
exit "$code"
"""
"""As above, but the third is how many bytes to reserve; then the secret, and where zeroes come from. On the input the key's line and the
empty image. QEMU's own preallocation would leave an encrypted disk with noise in it instead of zeroes, so the blocks are the
file system's, and written zeroes are encrypted as all else."""


@dataclass(frozen=True)
class ImageFacts:
    """backing: id of the template that the image still needs, or, behind_door, of the way to what it needs of a point store.
    snapshots: names, oldest first."""

    size: int
    allocated: int
    backing: str | None
    snapshots: Sequence[str] = field(default=())
    encrypted: bool = False
    behind_door: bool = False


def facts(image: dict[str, Any]) -> ImageFacts:
    """From what qemu-img or the daemon says of an image."""
    return ImageFacts(
        size=int(image["virtual-size"]),
        allocated=int(image.get("actual-size", 0)),
        backing=template_of(image.get("backing-filename")),
        snapshots=tuple(entry["name"] for entry in image.get("snapshots", ())),
        encrypted=bool(image.get("encrypted", False)),
        behind_door=(image.get("backing-filename") or "").endswith(".door"),
    )


def template_of(backing: str | None) -> str | None:
    """The template's id in an image's reference to it. Raises Unsupported for a reference that naos did not write."""
    if not backing:
        return None
    match = _BACKING.fullmatch(backing)
    template_id = normal_id(match[1]) if match else None
    if template_id is None:
        raise Unsupported("the array", f"an image that backs on {backing!r}", "it is no template of the volume")
    return template_id


def read_closed(place: Place, path: str) -> ImageFacts:
    """Raises CommandFailed when the image is open somewhere, or is none."""
    words = ("qemu-img", "info", "--output=json", "-f", "qcow2", path)
    try:
        done = place.run(*words)
    except CommandFailed as error:
        if "bitmap" not in error.reason.lower():
            raise
        seals.disown(place, path)
        done = place.run(*words)
    return facts(json.loads(done.stdout))


def _create(place: Place, path: str, size: int, below: str | None = None, bits: int = layouts.PLAIN) -> None:
    """below: another image's path, as seen from this one's folder. bits: of its clusters (see `layouts`)."""
    if place.key is not None:
        place.run("sh", "-c", 'gzip -dc > "$1"', "make", path, stdin=encryption.empty(place, size, below, bits))
        return
    over = () if below is None else ("-b", below, "-F", "qcow2")
    place.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", layouts.options(bits), *over, path, str(size))


def make(place: Place, path: str, size: int, what: str, bits: int = layouts.PLAIN) -> None:
    """Create an image under `path` that takes space as it is written; `what` it is, for messages. Raises NoSpace."""
    try:
        _create(place, path, size, bits=bits)
    except CommandFailed as error:
        raise named(error, what, lambda: numbers(place, OVERHEAD)) from error


def make_reserved(
    place: Place, disk_id: str, size: int, provisioning: Provisioning, template_id: str | None = None
) -> None:
    """Create a disk's image with all its space, complete or not at all; a template's content is written into it.

    Writing that many zeroes takes its time, so the daemon is not kept from others meanwhile: the unfinished file is the lock
    between calls for the same disk, and whoever waited finds the disk there. Raises NoSpace.
    """
    part, deadline = place.disk_unfinished(disk_id), 60 + size / _SLOWEST
    locked = ("flock", "--wait", f"{deadline:.0f}", part, "sh", "-c")
    way, made = _PREALLOCATION[provisioning], place.disk(disk_id)
    filling = place.template(template_id) if template_id is not None else ""
    bits = layouts.cluster_bits(size)
    script, arguments, stdin = _MAKE_RESERVED, [way, part, str(size), made, filling, layouts.options(bits)], b""
    if place.key is not None:
        zeroes = "json:" + json.dumps({"driver": "null-co", "size": size, "read-zeroes": True})
        sealed = encryption.file_name(filling) if filling else ""
        script, arguments = (
            _MAKE_RESERVED_SEALED,
            [way, part, str(full_size(size)), made, sealed, encryption.OBJECT, zeroes],
        )
        stdin = encryption.encoded(place.key).encode() + b"\n" + encryption.empty(place, size, bits=bits)
    try:
        place.run(*locked, script, "make", *arguments, stdin=stdin, timeout=2 * deadline)
    except CommandFailed as error:
        raise named(error, f"disk {disk_id}", lambda: numbers(place, full_size(size))) from error


def make_clone(place: Place, path: str, template_id: str, size: int) -> None:
    """Create a copy-on-write image. Raises NoSpace."""
    backing = f"../templates/{template_id}.qcow2"
    try:
        _create(place, path, size, backing, layouts.cluster_bits(size))
    except CommandFailed as error:
        raise named(error, "a clone", lambda: numbers(place, OVERHEAD)) from error


def make_over(place: Place, path: str, below: str, size: int, what: str) -> None:
    """Create an image that takes what is written over the image `below`, a name in the same folder. Raises NoSpace."""
    try:
        _create(place, path, size, below)
    except CommandFailed as error:
        raise named(error, what, lambda: numbers(place, OVERHEAD)) from error


def make_behind(place: Place, path: str, base_id: str, size: int, what: str) -> None:
    """Create an image that takes what is written over what is behind a door, which is not opened for it. Raises NoSpace."""
    bits, door = layouts.cluster_bits(size), f"../templates/{base_id}.door"
    try:
        if place.key is not None:
            _create(place, path, size, door, bits)
            return
        below = ("-o", layouts.options(bits), "-u", "-b", door, "-F", "raw")
        place.run("qemu-img", "create", "-q", "-f", "qcow2", *below, path, str(size))
    except CommandFailed as error:
        raise named(error, what, lambda: numbers(place, OVERHEAD)) from error


def reserve(place: Place, path: str, more: int, what: str) -> None:
    """Reserve `more` bytes beyond the file's end without touching what is in it, open or not. Raises NoSpace."""
    end = int(place.run("stat", "-c", "%s", "--", path).stdout)
    argv = ("fallocate", "--keep-size", "--offset", str(end), "--length", str(more), path)
    try:
        place.run(*argv, timeout=120)
    except CommandFailed as error:
        raise named(error, what, lambda: numbers(place, more)) from error


def full_size(size: int) -> int:
    """Bytes that an image of this virtual size may come to take when all of it is written."""
    return size + size // 8192 + OVERHEAD


def check_template(where: str, image: Path) -> int:
    """The virtual size in bytes of a template's image on this machine.

    Raises Unsupported for what is no whole, self-contained qcow2 image: another file that the header names would be
    opened by the array on the guest's behalf.
    """
    with image.open("rb") as handle:
        head = handle.read(_HEADER.size)
    if len(head) < _HEADER.size or head[:4] != b"QFI\xfb":
        raise Unsupported(where, f"the template {image.name}", "it is no qcow2 image")
    _, version, backing, _, _, size, encryption, *_, features = _HEADER.unpack(head)
    features = features if version >= 3 else 0
    if version not in (2, 3):
        raise Unsupported(where, f"the template {image.name}", f"qcow2 version {version} is unknown")
    if backing:
        raise Unsupported(where, f"the template {image.name}", "it needs another image below it; make it whole first")
    if encryption:
        raise Unsupported(where, f"the template {image.name}", "it is encrypted; its clones could not be read")
    if features & _EXTERNAL_DATA:
        raise Unsupported(where, f"the template {image.name}", "it keeps its data in another file; make it whole first")
    if features & _DAMAGED:
        raise Unsupported(where, f"the template {image.name}", "it is marked as damaged; repair it first")
    return int(size)
