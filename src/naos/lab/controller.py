"""The lab's controller: a process of its own inside the lab's network, whose API listens on this machine's loopback.

The API's socket is opened here, in the machine's own namespace, and inherited: so it is reached from outside the lab
while the controller itself reaches the lab's hosts.
"""

import base64
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from naos.engines.hosts import netns, processes
from naos.engines.hosts.processes import Process
from naos.lab import preflight, record
from naos.lab.errors import ControllerFailed, PortTaken
from naos.lab.record import Record

PORT = 8470
COMMAND = (sys.executable, "-m", "naos.controller")
START_TIMEOUT = 180.0  # seconds until the API answers; it may have tables to bring up to date
STOP_GRACE = 20.0  # seconds for running calls to end
_BACKLOG = 128
_POLL = 0.1
_LOG_TAIL = 800  # characters
# The controller begins when its process is on record: whoever is killed before leaves nothing that nobody knows of.
_GATE = 'read -r word && [ "$word" = begin ] && exec "$@" </dev/null'


def running(kept: Record) -> Process | None:
    """The controller's process, None when it does not run."""
    process = kept.controller
    if process is None or kept.boot != processes.boot_id() or not processes.alive(process):
        return None
    return process


def start(root: Path, *, command: Sequence[str] = COMMAND) -> Process:
    """Start the controller unless it runs, and return once its API answers HTTP on the lab's port of 127.0.0.1.

    command: takes ``--fd N``, the listening socket. Raises NoLab, PortTaken, ControllerFailed.
    """
    with record.exclusive(root):
        kept = record.require(root)
        process = running(kept)
        log = root / "controller.log"
        begin = log.stat().st_size if log.exists() else 0
        if process is None:
            process = _spawn(root, kept, command)
    _await_answer(root, process, kept.port, begin)
    return process


def stop(root: Path) -> bool:
    """End the controller: asked first, killed after `STOP_GRACE` seconds. False when it did not run. Raises NoLab."""
    with record.exclusive(root):
        kept = record.require(root)
        process = running(kept)
        if process is not None:
            _end(process, STOP_GRACE)
        record.write(root, record.with_controller(kept, None))
        return process is not None


def kill(root: Path) -> bool:
    """SIGKILL, as a crash is. False when it did not run. Raises NoLab."""
    process = running(record.require(root))
    return process is not None and processes.end_process(process, signal.SIGKILL, STOP_GRACE)


def end(kept: Record) -> None:
    """For a lab that goes: what the controller still does is of no use to anyone."""
    process = running(kept)
    if process is not None:
        _end(process, grace=2.0)


def _end(process: Process, grace: float) -> None:
    if not processes.end_process(process, signal.SIGTERM, grace):
        processes.end_process(process, signal.SIGKILL, STOP_GRACE)


def _spawn(root: Path, kept: Record, command: Sequence[str]) -> Process:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", kept.port))
            listener.listen(_BACKLOG)
        except OSError as error:
            raise PortTaken(kept.port, preflight.port_owner(kept.port) or str(error)) from error
        handle = listener.fileno()
        enter = ["nsenter", f"--net={netns.path(kept.plan.controller)}", "sh", "-c", _GATE, "naos"]
        # Images come in through this machine's own network; the lab's has no way out.
        with (root / "controller.log").open("ab") as log, Path("/proc/self/ns/net").open("rb") as outside:
            way_out = {"NAOS_DOWNLOAD_NAMESPACE": f"/proc/self/fd/{outside.fileno()}"}
            started = subprocess.Popen(
                [*enter, *command, "--fd", str(handle)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(handle, outside.fileno()),
                start_new_session=True,
                cwd="/",
                env=_environment(root) | way_out,
            )
    process = processes.identify(started.pid)
    if process is None or started.stdin is None:
        raise ControllerFailed("it ended at once", str(root / "controller.log"))
    record.write(root, record.with_controller(kept, process))
    try:
        started.stdin.write(b"begin\n")
        started.stdin.close()
    except BrokenPipeError as error:
        raise ControllerFailed("it ended at once", str(root / "controller.log")) from error
    return process


def _environment(root: Path) -> dict[str, str]:
    home = root / "controller"
    home.mkdir(mode=0o700, exist_ok=True)
    own = {
        "NAOS_ROOT": root,
        "NAOS_HOME": home,
        "NAOS_INVENTORY": root / "inventory.toml",
        "NAOS_CREDENTIALS": root / "credentials",
        "NAOS_VOLUME_KEYS": _volume_keys(root),
    }
    return os.environ | {name: str(path) for name, path in own.items()} | {"PYTHONUNBUFFERED": "1"}


def _volume_keys(root: Path) -> Path:
    """The file of master keys, made with the first controller: encrypted volumes of a lab last as long as the lab."""
    path = root / "volume-keys"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(base64.b64encode(os.urandom(32)).decode() + "\n", encoding="ascii")
    return path


def _await_answer(root: Path, process: Process, port: int, begin: int) -> None:
    """begin: bytes of the log that earlier controllers wrote."""
    end_of_wait = time.monotonic() + START_TIMEOUT
    while not _answers(port):
        if not processes.alive(process):
            raise ControllerFailed(_said(root, begin), str(root / "controller.log"))
        if time.monotonic() > end_of_wait:
            raise ControllerFailed(f"its API did not answer within {START_TIMEOUT:g} s", str(root / "controller.log"))
        time.sleep(_POLL)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _said(root: Path, begin: int) -> str:
    try:
        text = (root / "controller.log").read_bytes()[begin:].decode(errors="replace")
    except OSError:
        return "it said nothing"
    return text[-_LOG_TAIL:].strip() or "it said nothing"
