"""The doors of a point store as a volume's daemon sees them: a node a disk and point, under TLS with the door's key."""

import contextlib
from collections.abc import Iterable

from naos.engines.array import jobs, nodes
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.ports import Door

CONNECTING = 5  # seconds
CIPHERS = "NORMAL:-CHACHA20-POLY1305"
"""What both ends of a door speak. With a shared key GnuTLS would take ChaCha20, which has no instructions of its own in servers'
processors and costs more than all the rest of a copy; what is left is AES-GCM."""
_KEYS = "points"
"""Of the volume's folder: where the keys of doors are while they are used."""


def name(kind: str, disk_id: str, point_id: str) -> str:
    """A node's or an object's."""
    return nodes.name_of(kind, disk_id, point_id)


def open_door(
    monitor: Monitor, place: Place, disk_id: str, point_id: str, door: Door, *, read_only: bool = False
) -> None:
    """Raises DaemonRefused when nobody answers there, or the key is none."""
    shut(monitor, place, disk_id, point_id)
    folder, key = _folder(place, disk_id, point_id), name(nodes.KEY, disk_id, point_id)
    script = 'rm -rf -- "$1" && umask 077 && mkdir -p -- "$1" && echo "$2 $3" > "$1/address" && cat > "$1/keys.psk"'
    where = (door.address.host, str(door.address.port))
    place.host.run(["sh", "-c", script, "key", folder, *where], stdin=f"{door.user}:{door.key}\n".encode())
    credentials = {"qom-type": "tls-creds-psk", "id": key, "endpoint": "client", "dir": folder, "username": door.user}
    credentials["priority"] = CIPHERS
    monitor.execute("object-add", credentials)
    node = {
        "driver": "nbd",
        "node-name": name(nodes.DOOR, disk_id, point_id),
        "server": {"type": "inet", "host": door.address.host, "port": str(door.address.port)},
        "export": door.address.name,
        "tls-creds": key,
        "open-timeout": CONNECTING,
        "read-only": read_only,
    }
    monitor.execute("blockdev-add", node)


def open_pace(monitor: Monitor, disk_id: str, point_id: str, speed: int | None) -> str:
    """A node before an open door that lets so many bytes a second through, evenly; its name.

    A job's own speed lets a tenth of a second's worth through at once, ten times a second, and guests' writes wait for all of it.
    """
    pace = name(nodes.PACE, disk_id, point_id)
    monitor.execute("object-add", {"qom-type": "throttle-group", "id": pace, "limits": _limits(speed)})
    behind = {"file": name(nodes.DOOR, disk_id, point_id), "throttle-group": pace}
    monitor.execute("blockdev-add", {"driver": "throttle", "node-name": pace, **behind})
    return pace


def set_pace(monitor: Monitor, disk_id: str, point_id: str, speed: int | None) -> None:
    """Raises DaemonRefused where there is none."""
    path = f"/objects/{name(nodes.PACE, disk_id, point_id)}"
    monitor.execute("qom-set", {"path": path, "property": "limits", "value": _limits(speed)})


def _limits(speed: int | None) -> dict[str, int]:
    return {"bps-total": speed or 0}


def cut(place: Place, disk_id: str, point_id: str) -> None:
    """Break the connections to a door whose other side does not answer: what waits for it fails, and guests' writes with it.

    QEMU has no deadline for NBD requests, and the kernel's is a quarter of an hour.
    """
    script = 'read -r host port < "$1/address" && ss -K -t -n dst "$host" dport = ":$port"'
    place.run("sh", "-c", script, "cut", _folder(place, disk_id, point_id), check=False)


def close(monitor: Monitor, place: Place, disk_id: str, point_id: str) -> None:
    """None is fine."""
    shut(monitor, place, disk_id, point_id)
    forget_keys(place, point_id, [disk_id])


def shut(monitor: Monitor, place: Place, disk_id: str, point_id: str) -> None:
    """Close a door whose key is still kept: `forget_keys` is to follow. None is fine.

    The connection of one that was written to is broken first: QEMU flushes a node that goes, and where the other side does not answer the
    whole daemon would stand still for it, with all guests. Nobody needs that flush, as who seals a point brings it to the medium. One that
    is read alone is not flushed, and others may still read at the same address.
    """
    door = nodes.present(monitor).get(name(nodes.DOOR, disk_id, point_id))
    if door is not None and not door["ro"]:
        cut(place, disk_id, point_id)
    for kind in (nodes.PACE, nodes.DOOR):
        nodes.close_named(monitor, name(kind, disk_id, point_id))
    for kind in (nodes.PACE, nodes.KEY):
        with contextlib.suppress(DaemonRefused):  # there is none
            monitor.execute("object-del", {"id": name(kind, disk_id, point_id)})


def forget_keys(place: Place, point_id: str, disk_ids: Iterable[str]) -> None:
    """Of doors that are shut."""
    place.run("rm", "-rf", "--", *(_folder(place, disk_id, point_id) for disk_id in disk_ids))


def end_all(monitor: Monitor, place: Place, disk_id: str) -> None:
    """End a disk's copies into points, whatever they are at, and close their doors."""
    found = [job for job in jobs.of_disk(monitor, disk_id) if job.point]

    def cut_all() -> None:
        for job in found:
            cut(place, disk_id, job.point)

    jobs.settle(monitor, found, force=cut_all)
    for job in found:
        close(monitor, place, disk_id, job.point)


def _folder(place: Place, disk_id: str, point_id: str) -> str:
    return f"{place.folder}/{_KEYS}/{point_id}.{disk_id}"
