"""Opening a point's files: the images are opened, and a confined process is left that reads them."""

import codecs
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import time
from typing import Any

from naos.engines.files.onhost import answering, confined
from naos.engines.files.onhost.disk import Damaged, Image, Unsupported
from naos.engines.files.onhost.volumes import FAILURES, Point, reason
from naos.engines.points.onhost import keeper, layers
from naos.engines.points.onhost.layers import Refused

FOLDER = "/run/naos/files"
_PATIENCE = 20.0  # seconds for another one's process to answer
_MOMENT = 2.0  # seconds for one that is asked to end


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as tried, contextlib.suppress(OSError):
        tried.connect(path)
        return True
    return False


def opened(request: dict[str, Any], folder: str = FOLDER) -> str:
    """The socket at which a point's files are asked for. Raises Refused."""
    os.makedirs(f"{folder}/empty", exist_ok=True)
    path = f"{folder}/{request['point']}.sock"
    with open(f"{folder}/{request['point']}.lock", "ab") as lock:
        until = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if _answers(path):
                return path
            if time.monotonic() > until:
                raise Refused("busy", f"point {request['point']}", "another reader of it does not answer")
            time.sleep(0.02)
        try:
            with keeper.held(request) as kept:
                layers.remove(path)
                _start(request, kept, path, f"{folder}/empty")
        except Refused:
            layers.remove(lock.name)
            raise
    return path


def ended(request: dict[str, Any], folder: str = FOLDER) -> str:
    """The processes that read points' files end when nobody asks them; they are waited for then, for a moment."""
    for point in request["points"]:
        _end(f"{folder}/{point}", f"{folder}/empty")
    return ""


def _end(base: str, empty: str) -> None:
    try:
        with open(f"{base}.pid", encoding="ascii") as file, open(f"{base}.lock", "rb") as lock:
            pid = int(file.read())
            if os.readlink(f"/proc/{pid}/root") != empty:
                return
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + _MOMENT
            while time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    layers.remove(f"{base}.sock", f"{base}.pid", f"{base}.lock")
                    return
                time.sleep(0.02)
    except (OSError, ValueError):
        return


def _start(request: dict[str, Any], kept: dict[str, Any], path: str, empty: str) -> None:
    folder = f"{request['root']}/{request['set']}"
    present = {disk["id"] for disk in kept["disks"]}
    handles = []
    disks = []
    try:
        for disk in request["disks"]:
            if disk["id"] not in present:
                raise Refused("missing", f"disk {disk['id']} of point {request['point']}", "the point is without it")
            chain = layers.chain(folder, disk["id"], layers.image(folder, disk["id"], request["point"]))
            mine = [os.open(each, os.O_RDONLY) for each in chain]
            handles.extend(mine)
            disks.append((disk["place"], disk["name"], Image(mine)))
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen(64)
        listening.setblocking(False)  # a confined process cannot
        told, tells = os.pipe()
        child = os.fork()
        if not child:
            _child(listening, tells, empty, disks)
        layers.write_whole(f"{path.removesuffix('sock')}pid", str(child))
        os.close(tells)
        listening.close()
        with os.fdopen(told, "rb") as words:
            said = words.read().decode(errors="replace")
        if said != "ready":
            raise Refused("failed", f"the files of point {request['point']}", said or "its reader ended at once")
    except (Damaged, Unsupported) as error:
        raise Refused("failed", f"the files of point {request['point']}", reason(error)) from error
    finally:
        for handle in handles:
            os.close(handle)


def _child(listening: socket.socket, tells: int, empty: str, disks: list[Any]) -> None:
    """Never returns. The lock of this point, and the set's, stay open in it: they end with it."""
    code, said = 1, ""
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(nothing, number)
        for codec in ("utf-16-le", "cp437"):  # what is loaded when it is used first, is loaded now
            codecs.lookup(codec)
        try:
            confined.confine(empty)
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE)  # whom the point's own words keep busy for so long ends
            point = Point(disks)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except FAILURES as error:
            said = reason(error)
        except OSError as error:
            said = f"its reader cannot be confined: {error}"
        else:
            os.write(tells, b"ready")
            os.close(tells)
            answering.serve(listening, point)
            code = 0
        if said:
            os.write(tells, said.encode())
    finally:
        os._exit(code)


def main(request: dict[str, Any]) -> None:
    answer: dict[str, Any]
    if request["mount"] is not None and not os.path.ismount(request["mount"]):
        answer = {"refused": ["unreachable", "files", f"nothing is mounted at {request['mount']}"]}
    else:
        try:
            answer = {"found": ended(request) if request["call"] == "end" else opened(request)}
        except Refused as error:
            answer = {"refused": [error.kind, error.what, error.reason]}
        except OSError as error:
            answer = {"refused": ["failed", "the files of a point", str(error)]}
    sys.stdout.write(json.dumps(answer))
