"""The daemon's block nodes of a disk: file -> qcow2 -> throttle; a template's are file -> qcow2, read-only and shared.

A volatile disk's image is read-only; between it and the throttle comes another image, which takes what is written.

A disk's image is open in the daemon only while it is exported or a job works on it. Node names have at most 31 characters,
so they carry the id in base 32.
"""

import base64
import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

from naos.engines.array import bases, encryption, seals
from naos.engines.array.daemon import LIMIT
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.images import ImageFacts, facts, read_closed
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor

FILE, IMAGE, THROTTLE = "f", "q", "t"
SCRATCH_FILE, SCRATCH = "w", "v"
"""Where a volatile disk's writes go."""
REMOTE = "r"  # a disk of another volume, which a copy fills
NOTHING = "z"  # a disk of nothing, on which differences are marked
DOOR = "p"  # where a point's copy of a disk is received
KEY = "k"  # an object: with what a door is opened
PACE = "g"  # before a door, and an object: how fast a copy may write there
FILTER = "j"
"""A job's filter. It must have a name: QEMU 7.2 dies when its nodes are listed while a nameless one is being dropped."""
FLEECE_FILE, FLEECE = "e", "b"  # where a disk's overwritten blocks are kept while a point of it is copied
FLEECE_FILTER = "y"
VIEW = "a"  # the disk as it was at a point's instant
_LASTING, _PASSING = {"direct": True}, {"direct": False, "no-flush": True}
_LETTING_GO = 10.0  # seconds; a node is in use until its export's last request is answered


def node(kind: str, object_id: str) -> str:
    """The name of a disk's or template's node: kind, a dot, the id in base 32."""
    return f"{kind}.{base64.b32encode(uuid.UUID(object_id).bytes).decode().rstrip('=').lower()}"


def part_of(disk_id: str, point_id: str) -> str:
    """The id of a disk's part in a point; several points of one disk can be under way."""
    return str(uuid.uuid5(uuid.UUID(point_id), disk_id))


def name_of(kind: str, disk_id: str, point_id: str) -> str:
    """The name of a node, or an object, of a disk's part in a point."""
    return node(kind, part_of(disk_id, point_id))


def object_of(name: str) -> str:
    """The id in a node's name."""
    return str(uuid.UUID(bytes=base64.b32decode(f"{name.partition('.')[2].upper()}======")))


def present(monitor: Monitor) -> dict[str, dict[str, Any]]:
    """Every node of the daemon by name, as it describes them."""
    return {entry["node-name"]: entry for entry in monitor.execute("query-named-block-nodes", {"flat": True})}


def disk_facts(monitor: Monitor | None, place: Place, disk_id: str) -> ImageFacts:
    """What the image says: asked of the daemon when it has it open, else read from the file.

    monitor: a session, or None when the daemon is certainly dead.
    """
    open_nodes = present(monitor) if monitor is not None else {}
    described = open_nodes.get(node(IMAGE, disk_id))
    if described is not None:
        return facts(described["image"])
    return read_closed(place, place.disk(disk_id))


def open_disk(monitor: Monitor, place: Place, disk_id: str, scratch: str | None = None) -> None:
    """Open the disk's chain, the template that it backs on included; what is open already stays so.

    scratch: the image that takes a volatile disk's writes.
    """
    nodes = present(monitor)
    if node(THROTTLE, disk_id) in nodes and (scratch is None or node(SCRATCH, disk_id) in nodes):
        return
    close_disk(monitor, disk_id)  # what an interrupted opening left
    reserved = place.exists(place.disk_reserved(disk_id))
    found = read_closed(place, place.disk(disk_id))
    backing, sealed = found.backing, found.encrypted
    if backing is not None and found.behind_door:
        _open_base(monitor, place, backing)
    elif backing is not None:
        _open_template(monitor, place, backing, encrypted=sealed)
    volatile = scratch is not None
    layer: dict[str, Any] = {"give_back": not reserved and not volatile, "read_only": volatile, "encrypted": sealed}
    open_image(monitor, disk_id, place.disk(disk_id), backing=backing, **layer)
    seals.check(monitor, node(IMAGE, disk_id), present(monitor)[node(IMAGE, disk_id)])
    if scratch is not None:
        layer = {"give_back": True, "kinds": (SCRATCH_FILE, SCRATCH), "encrypted": sealed}
        open_image(monitor, disk_id, scratch, backing=disk_id, **layer)
    top = node(SCRATCH if volatile else IMAGE, disk_id)
    throttle = {"driver": "throttle", "node-name": node(THROTTLE, disk_id), "file": top}
    monitor.execute("blockdev-add", {**throttle, "throttle-group": LIMIT, "discard": "unmap"})


def open_image(
    monitor: Monitor,
    object_id: str,
    path: str,
    *,
    backing: str | None,
    give_back: bool,
    read_only: bool = False,
    encrypted: bool = False,
    lasting: bool = True,
    kinds: tuple[str, str] = (FILE, IMAGE),
) -> None:
    """Add the file's and the image's nodes, of these `kinds`. backing: whose image lies below.

    give_back: whether blocks that the guest discards leave the file, too. lasting: False for what ends with the daemon: it is written to
    the host's memory, and nobody waits for the medium.
    """
    file = {
        "driver": "file",
        "node-name": node(kinds[0], object_id),
        "filename": path,
        "aio": "native" if lasting else "threads",
        "cache": _LASTING if lasting else _PASSING,
        "read-only": read_only,
        "discard": "unmap" if give_back else "ignore",
    }
    image = _image(object_id, kinds, backing=backing, read_only=read_only, encrypted=encrypted)
    image["cache"] = file["cache"]
    monitor.execute("blockdev-add", file)
    try:
        monitor.execute("blockdev-add", image)
    except DaemonRefused:
        monitor.execute("blockdev-del", {"node-name": node(kinds[0], object_id)})
        raise


def _image(
    object_id: str, kinds: tuple[str, str], *, backing: str | None, read_only: bool, encrypted: bool
) -> dict[str, Any]:
    return {
        "driver": "qcow2",
        "node-name": node(kinds[1], object_id),
        "file": node(kinds[0], object_id),
        "backing": None if backing is None else node(IMAGE, backing),
        "read-only": read_only,
        "discard": "unmap",
        "cache": _LASTING,
        **encryption.node_options(encrypted=encrypted),
    }


def flush(monitor: Monitor, disk_id: str) -> None:
    """Bring to the medium what the open image's tables are in memory: opening it anew with the options that it has begins so."""
    found = facts(present(monitor)[node(IMAGE, disk_id)]["image"])
    same = _image(disk_id, (FILE, IMAGE), backing=found.backing, read_only=False, encrypted=found.encrypted)
    monitor.execute("blockdev-reopen", {"options": [same]})


def close_disk(monitor: Monitor, disk_id: str) -> None:
    """Close the disk's chain, and templates that no disk has open any more. Waits while requests are answered.

    Raises DaemonRefused when something still uses it.
    """
    nodes = present(monitor)
    above, below = (THROTTLE, SCRATCH, SCRATCH_FILE), (IMAGE, FILE)
    mine = [name for kind in (*above, *below) if (name := node(kind, disk_id)) in nodes]
    _delete(monitor, [name for name in mine if name in {node(kind, disk_id) for kind in above}])
    seal(monitor, disk_id)
    _delete(monitor, [name for name in mine if name in {node(kind, disk_id) for kind in below}])
    for name, described in nodes.items():  # a flattened disk no longer says which template it had
        if mine and name not in mine and described["ro"] and name.startswith(f"{IMAGE}."):
            close_template(monitor, object_of(name))


def seal(monitor: Monitor, disk_id: str) -> None:
    """What is known of an open image's changes is to be believed once it is opened anew: nothing writes to it any more."""
    described = present(monitor).get(node(IMAGE, disk_id))
    if described is not None:
        seals.put(monitor, node(IMAGE, disk_id), described)


def close_remote(monitor: Monitor, disk_id: str) -> None:
    """Let the disk of another volume go that a copy has filled. What was written to it is flushed there."""
    if node(REMOTE, disk_id) in present(monitor):
        _delete(monitor, [node(REMOTE, disk_id)])


def close_named(monitor: Monitor, name: str) -> None:
    """Let a node go that something else than a disk's chain is; none is fine."""
    if name in present(monitor):
        _delete(monitor, [name])


def close_template(monitor: Monitor, template_id: str) -> bool:
    """Close a template's nodes. False when a disk still uses them."""
    nodes = present(monitor)
    names = [name for kind in (IMAGE, FILE) if (name := node(kind, template_id)) in nodes]
    for name in names:
        try:
            monitor.execute("blockdev-del", {"node-name": name})
        except DaemonRefused:
            return False
        if nodes[name]["drv"] == "nbd":
            bases.forget_key(monitor, node(KEY, template_id))
    return True


@contextlib.contextmanager
def opened(monitor: Monitor, place: Place, disk_ids: list[str]) -> Iterator[None]:
    """The disks' chains are open inside; those that were not before are closed again."""
    nodes = present(monitor)
    extra = [disk_id for disk_id in disk_ids if node(THROTTLE, disk_id) not in nodes]
    try:
        for disk_id in extra:
            open_disk(monitor, place, disk_id)
        yield
    finally:
        for disk_id in extra:
            close_disk(monitor, disk_id)


def _open_template(monitor: Monitor, place: Place, template_id: str, *, encrypted: bool) -> None:
    if node(IMAGE, template_id) in present(monitor):
        return
    close_template(monitor, template_id)
    path = place.template(template_id)
    open_image(monitor, template_id, path, backing=None, give_back=False, read_only=True, encrypted=encrypted)


def _open_base(monitor: Monitor, place: Place, base_id: str) -> None:
    if node(IMAGE, base_id) not in present(monitor):
        bases.open_node(monitor, place, base_id, node(IMAGE, base_id), node(KEY, base_id))


def _delete(monitor: Monitor, names: list[str]) -> None:
    until = time.monotonic() + _LETTING_GO
    for name in names:
        while True:
            try:
                monitor.execute("blockdev-del", {"node-name": name})
                break
            except DaemonRefused:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
