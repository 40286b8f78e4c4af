"""Storage daemons that receive or serve points: one a session, on a port of its own, under TLS with a key of its own.

A session's folder holds its key, `session.json` (what it is for), and a lock that its daemon holds from its first instruction to its
last. A daemon that ended well has removed its pid file; one that was killed has not, and nobody knows what it still had in memory.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from naos.engines.points.onhost import early
from naos.engines.points.onhost.layers import Refused, remove, write_whole

if TYPE_CHECKING:
    import socket

USER = "naos"
CIPHERS = "NORMAL:-CHACHA20-POLY1305"
"""As clients ask for it: see `engines.array.doors.CIPHERS`."""
GROUP = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""The group ffdhe2048 of RFC 7919. Without the file a daemon searches for a prime number of its own as it starts, for up to seconds."""
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""Of the C library: buffers of a request are kept for the next one. Else each is asked of the kernel, which clears it first."""
_START, _END = 60.0, 600.0  # seconds; a daemon that ends writes what it holds


_RECEIVING = ("nice", "-n", "-5")
"""Without a fleece guests wait for a daemon that receives. It comes after those that serve disks, and before all the rest of a host."""
_TERMINATE = 15  # SIGTERM


def lives(folder: str) -> bool:
    """Whether the session's daemon runs."""
    try:
        with open(f"{folder}/lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def read(folder: str) -> dict[str, Any] | None:
    """What a session is for, and where: None for none."""
    with contextlib.suppress(FileNotFoundError, ValueError), open(f"{folder}/session.json", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
        return found
    return None


def of_this_boot(session: dict[str, Any]) -> bool:
    """Whether the host has run all the time since a session began. Its daemon leaves it to `layers.seal` to bring what was received to the
    medium: after a power cut an image that was not sealed can be anything."""
    return bool(session.get("boot") == _boot())


def sums_of(folder: str, disk: str) -> str:
    """The file of the checksums that are computed while a disk is being received."""
    return f"{folder}/{disk}.early"


def lost(folder: str) -> bool:
    """Whether something that the session has received could not be brought to the medium."""
    return os.path.exists(f"{folder}/{early.LOST}")


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def listen(address: str, port: int = 0) -> "socket.socket":
    """On the port, or a free one. QEMU before 8.1 leaves Nagle's algorithm on where it answers; sockets inherit this option."""
    import socket  # late: most calls are short, and do without

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((address, port))
    except OSError:
        if not port:
            raise
        listening.bind((address, 0))  # somebody else has it by now
    listening.listen(64)
    return listening


def start(
    folder: str,
    address: str,
    images: Sequence[tuple[str, str]],
    purpose: dict[str, Any],
    *,
    writable: bool,
    held: int,
    before: dict[str, Any] | None = None,
    fresh: Sequence[str] = (),
) -> dict[str, Any]:
    """Start a session. images: disk ids and their images' paths. fresh: disks whose images are empty as yet. held: an open lock that the
    daemon is to hold as well. before: the session whose clients are to find this one under the same port and key.

    Returns what `read` does: purpose, port, key. Raises Refused with the daemon's own words.
    """
    import subprocess  # late: most calls are short, and do without

    os.makedirs(folder, mode=0o700, exist_ok=True)
    remove(f"{folder}/session.json", f"{folder}/pid", f"{folder}/{early.LOST}")
    port, key = (0, os.urandom(32).hex()) if before is None else (before["port"], before["key"])
    with open(
        os.open(f"{folder}/keys.psk", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii"
    ) as file:
        file.write(f"{USER}:{key}\n")
    with open(f"{folder}/dh-params.pem", "w", encoding="ascii") as file:
        file.write(GROUP)
    with listen(address, port) as listening, open(f"{folder}/lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        server = {"addr": {"type": "fd", "str": str(listening.fileno())}, "tls-creds": "tls"}
        argv = [*(_RECEIVING if writable else ()), "qemu-storage-daemon", "--daemonize", "--pidfile", f"{folder}/pid"]
        credentials = {"qom-type": "tls-creds-psk", "id": "tls", "endpoint": "server", "dir": folder}
        argv += ["--object", json.dumps({**credentials, "priority": CIPHERS})]
        argv += ["--nbd-server", json.dumps(server)]
        for number, (disk, path) in enumerate(images):
            argv += ["--blockdev", json.dumps(_node(f"d{number}", path, writable=writable))]
            export = {"type": "nbd", "id": f"x{number}", "node-name": f"d{number}", "name": disk, "writable": writable}
            argv += ["--export", json.dumps(export)]
        handles = (listening.fileno(), lock.fileno(), held)
        try:
            done = subprocess.run(
                argv,
                pass_fds=handles,
                env={**os.environ, **MEMORY},
                capture_output=True,
                text=True,
                timeout=_START,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise Refused("failed", "starting a storage daemon", f"not done after {_START:g} s") from None
        if done.returncode:
            reason = " ".join(done.stderr.split())
            raise Refused("busy" if "lock" in reason else "failed", "starting a storage daemon", reason)
        port = listening.getsockname()[1]
    if writable:
        early.start(folder, [(path, sums_of(folder, disk) if disk in fresh else None) for disk, path in images])
    session = {**purpose, "port": port, "key": key, "boot": _boot()}
    # a power cut ends whoever sends, too, and what was received by then is not trusted
    write_whole(f"{folder}/session.json", json.dumps(session), lasting=not writable)
    os.chmod(f"{folder}/session.json", 0o600)
    return session


def stop(folder: str) -> bool:
    """End a session's daemon and wait. Whether it ended well, now or earlier; raises Refused when it does not end."""
    try:
        with open(f"{folder}/lock", "rb") as file:
            until = time.monotonic() + _END
            asked = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    asked = asked or _ask(folder)
                if time.monotonic() > until:
                    raise Refused("failed", "ending a storage daemon", f"it lives on after {_END:g} s")
                time.sleep(0.005)
    except FileNotFoundError:
        return False
    return not os.path.exists(f"{folder}/pid")


def remove_folder(folder: str) -> None:
    """There are files in it, and nothing else."""
    with contextlib.suppress(OSError):
        remove(*(entry.path for entry in os.scandir(folder)))
        os.rmdir(folder)


def _ask(folder: str) -> bool:
    """Tell the daemon to end; False when it has not yet said who it is."""
    try:
        with open(f"{folder}/pid", encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as command:
            if f"{folder}/pid".encode() not in command.read().split(b"\0"):
                return False
        os.kill(pid, _TERMINATE)
    except (OSError, ValueError):
        return False
    return True


def _node(name: str, path: str, *, writable: bool) -> dict[str, Any]:
    """Zeroes that arrive stay holes: what is full of them is not stored. Nothing waits for the medium but `layers.seal`."""
    node: dict[str, Any] = {
        "driver": "qcow2",
        "node-name": name,
        "read-only": not writable,
        "file": {"driver": "file", "filename": path, "read-only": not writable},
    }
    if writable:
        node["file"] |= {"discard": "unmap", "cache": {"no-flush": True}}
        node |= {**early.CACHE, "discard": "unmap", "detect-zeroes": "unmap"}
    return node
