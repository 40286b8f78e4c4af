"""What a disk begins with when that lies in a point store: a way there, kept on the volume.

The way is a folder beside the templates, so that a daemon that is started anew finds it: `keys.psk` is the session's key, `address` where
the store serves the point's disk. The node that reads through it has the place that a template's image has below a clone.

On an encrypted volume the session's key lies in `address`, sealed with the volume's; QEMU takes such keys from a folder only, so that has it in
memory for the moment in which the daemon reads it.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from naos.engines.array import encryption
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.array.qmp import Monitor
from naos.engines.errors import Unsupported
from naos.engines.ports import Door

CONNECTING = 5  # seconds
RECONNECTING = 5
"""Seconds for which a request waits for a store that has gone, before it fails and its guest stands still. Not long: whatever wants to
change the daemon's nodes waits as well."""
_WRITE = """
umask 077 && mkdir -p -- "$1" && cat > "$1/keys.psk.new" && printf %s "$2" > "$1/address.new" &&
mv -T -- "$1/keys.psk.new" "$1/keys.psk" && mv -T -- "$1/address.new" "$1/address" && sync -- "$1/keys.psk" "$1/address" "$1"
"""
_WRITE_SEALED = """
umask 077 && mkdir -p -- "$1" && printf %s "$2" > "$1/address.new" && mv -T -- "$1/address.new" "$1/address" && sync -- "$1/address" "$1"
"""
_SHOW = 'umask 077 && mkdir -p -- "$1" && cat > "$1/keys.psk"'


def write(place: Place, base_id: str, door: Door) -> None:
    """The way is this one from now on; a node that is open keeps the one that it has."""
    where = {"host": door.address.host, "port": door.address.port, "export": door.address.name, "user": door.user}
    key = f"{door.user}:{door.key}\n".encode()
    if place.key is not None:
        where["sealed"] = encryption.seal(place.key, key, base_id)
        place.run("sh", "-c", _WRITE_SEALED, "write", place.base(base_id), json.dumps(where))
        return
    place.run("sh", "-c", _WRITE, "write", place.base(base_id), json.dumps(where), stdin=key)


def read(place: Place, base_id: str) -> dict[str, Any]:
    """host, port, export, user, and the sealed key on an encrypted volume. Raises CommandFailed when there is no such way."""
    found: dict[str, Any] = json.loads(place.run("cat", "--", f"{place.base(base_id)}/address").stdout)
    return found


def open_node(monitor: Monitor, place: Place, base_id: str, name: str, key: str) -> None:
    """Add the node `name`, with its key as the object `key`. Raises DaemonRefused when nobody answers there."""
    where = read(place, base_id)
    forget_key(monitor, key)
    with _key_folder(place, base_id, where) as folder:
        credentials = {"qom-type": "tls-creds-psk", "id": key, "endpoint": "client", "dir": folder}
        monitor.execute("object-add", {**credentials, "username": where["user"]})
    node = {
        "driver": "nbd",
        "node-name": name,
        "server": {"type": "inet", "host": where["host"], "port": str(where["port"]), "keep-alive": True},
        "export": where["export"],
        "tls-creds": key,
        "open-timeout": CONNECTING,
        "reconnect-delay": RECONNECTING,
        "read-only": True,
    }
    monitor.execute("blockdev-add", node)


@contextlib.contextmanager
def _key_folder(place: Place, base_id: str, where: dict[str, Any]) -> Iterator[str]:
    """Where the daemon finds the session's key while it makes the object, which keeps it then."""
    sealed = where.get("sealed")
    if sealed is None:
        yield place.base(base_id)
        return
    if place.key is None:
        raise Unsupported(
            place.where, f"the way to {base_id}", "it is opened with the volume's key, which is not given"
        )
    folder = place.base_key(base_id)
    place.run("sh", "-c", _SHOW, "show", folder, stdin=encryption.unseal(place.key, sealed, base_id))
    try:
        yield folder
    finally:
        place.run("rm", "-rf", "--", folder)


def forget_key(monitor: Monitor, key: str) -> None:
    """None is fine."""
    with contextlib.suppress(DaemonRefused):
        monitor.execute("object-del", {"id": key})


def cut(place: Place, base_id: str) -> None:
    """Break the connection: one to a host that lost its power waits for ever otherwise. A store that answers is connected anew."""
    where = read(place, base_id)
    argv = ("ss", "-K", "-t", "-n", "dst", where["host"], "dport", "=", f":{where['port']}")
    place.run(*argv, check=False)


def remove(place: Place, base_id: str) -> None:
    """An absent one is left alone."""
    place.run("rm", "-rf", "--", place.base(base_id))
