"""A disk that nothing uses, served read-only to this machine: how its content leaves the array."""

import contextlib
from collections.abc import Iterator

from naos.engines.array import disks, encryption, images, laying
from naos.engines.array.daemon import served
from naos.engines.array.places import SOCKET_PATH_LIMIT, Place
from naos.engines.errors import EngineError, Unsupported

_SERVE = """
qemu-nbd --fork --read-only --shared=4 --persistent --format=qcow2 --socket="$1" --pid-file="$2" -- "$3" 2>"$2.said" && exit 0
code=$?
cat "$2.said" >&2
exit "$code"
"""
_SERVE_SEALED = """
cat | qemu-nbd --fork --read-only --shared=4 --persistent --object "$4" --socket="$1" --pid-file="$2" -- "$3" 2>"$2.said" && exit 0
code=$?
cat "$2.said" >&2
exit "$code"
"""
"""Socket, pid file, image. What it says goes through a file: a server that kept the caller's line open would keep the caller.
An encrypted image has its key on the standard input, as the secret that comes last."""
_END = """
pid=$(cat "$2" 2>/dev/null) && grep -qaF -- "$1" "/proc/$pid/cmdline" 2>/dev/null && kill "$pid"
rm -f -- "$1" "$2" "$2.said"
"""
"""Socket, pid file. Only the server of this very socket is ended."""


@contextlib.contextmanager
def reading(place: Place, disk_id: str) -> Iterator[str]:
    """A unix socket of this machine at which the disk is served over NBD, as the export without a name.

    A server that an interrupted call left is ended first. Raises Missing, Busy while the disk is exported or a job works on it.
    """
    disks.check_present(place, disk_id)
    with served(place) as monitor:
        disks.check_closed(monitor, place, disk_id)
        laying.check_moved_in(monitor, place, disk_id, "reading")
    socket = f"{place.folder}/r{disk_id[:6]}"
    if len(socket.encode()) > SOCKET_PATH_LIMIT:
        raise Unsupported(place.where, f"reading disk {disk_id}", f"{socket} is too long a path for a socket")
    pid_file = f"{place.folder}/r{disk_id}.pid"
    place.run("sh", "-c", _END, "end", socket, pid_file)
    try:
        _serve(place, socket, pid_file, disk_id)
        with place.host.socket(socket) as here:
            yield here
    finally:
        with contextlib.suppress(EngineError):  # the first failure is the one to hear of; the next call ends the server
            place.run("sh", "-c", _END, "end", socket, pid_file)


def _serve(place: Place, socket: str, pid_file: str, disk_id: str) -> None:
    if place.key is None:
        place.run("sh", "-c", _SERVE, "serve", socket, pid_file, place.disk(disk_id), timeout=60)
        return
    backing = images.read_closed(place, place.disk(disk_id)).backing
    named = encryption.file_name(place.disk(disk_id), None if backing is None else place.template(backing))
    argv = ("sh", "-c", _SERVE_SEALED, "serve", socket, pid_file, named, encryption.OBJECT)
    place.run(*argv, stdin=encryption.encoded(place.key).encode(), timeout=60)
