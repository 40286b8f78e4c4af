"""The calls of a point store, as its host answers them. One JSON object in, one out."""

import contextlib
import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from naos.engines.points.onhost import layers, rest, sessions
from naos.engines.points.onhost.layers import Refused
from naos.engines.points.onhost.sums import Pace


def _folder(request: dict[str, Any]) -> str:
    return f"{request['root']}/{request['set']}"


@contextlib.contextmanager
def _turn(folder: str) -> Iterator[None]:
    """One call of a set at a time."""
    with open(f"{folder}/lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _reading(folder: str, *, alone: bool = False) -> Iterator[int]:
    """Nothing of the set is changed inside; alone: and nothing of it is read. Raises Refused, busy."""
    with open(f"{folder}/reading", "ab") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = "its points are being read, or one is being received" if alone else "a point is being dropped"
            raise Refused("busy", f"set {os.path.basename(folder)}", reason) from None
        yield file.fileno()


def _described(folder: str, kept: dict[str, Any]) -> dict[str, Any]:
    found = []
    for disk in kept["disks"]:
        path = layers.image(folder, disk["id"], kept["id"])
        _, base = layers.header(path)
        files = (path, layers.sums(folder, disk["id"], kept["id"]))
        stored = sum(os.stat(file).st_blocks * 512 for file in files)
        found.append({"id": disk["id"], "size": disk["size"], "base": base, "stored": stored})
    return {"id": kept["id"], "set": kept["set"], "instant": kept["instant"], "disks": found}


def _check_complete(folder: str, point: str) -> dict[str, Any]:
    for kept in layers.records(folder):
        if kept["id"] == point:
            return kept
    raise Refused("missing", f"point {point}", "it was never completed here, or it was dropped")


@contextlib.contextmanager
def held(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is kept of a complete point, while nothing of its set is dropped: until every copy of the open lock is closed, those of processes
    that were begun inside too. Raises Refused."""
    folder = _folder(request)
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {request['point']}", "the set is unknown")
    with contextlib.ExitStack() as stack:
        with _turn(folder):
            kept = _check_complete(folder, request["point"])
            stack.enter_context(_reading(folder))
        yield kept


def _doors(request: dict[str, Any], session: dict[str, Any]) -> dict[str, Any]:
    return {"port": session["port"], "key": session["key"], "user": sessions.USER, "disks": request.get("disks", [])}


# ---------------------------------------------------------------------------------------------------------------- calls


def sets(request: dict[str, Any]) -> Any:
    with contextlib.suppress(FileNotFoundError):
        return sorted(entry.name for entry in os.scandir(request["root"]) if entry.is_dir() and len(entry.name) == 36)
    return []


def points(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    if not os.path.isdir(folder):
        return []
    with _turn(folder):
        return [_described(folder, kept) for kept in layers.records(folder)]


def receive(request: dict[str, Any]) -> Any:
    folder, point, wanted = _folder(request), request["point"], request["disks"]
    os.makedirs(folder, exist_ok=True)
    session_folder = f"{folder}/receiving"
    with _turn(folder):
        complete = {kept["id"] for kept in layers.records(folder)}
        if point in complete:
            raise Refused("busy", f"point {point}", "it is complete")
        session = sessions.read(session_folder)
        same = session is not None and session["point"] == point and session["disks"] == wanted
        if session is not None and same and sessions.lives(session_folder):
            return _doors(request, session)
        sessions.stop(session_folder)
        if session is not None:
            for disk in wanted:
                _take_over(folder, session, point, disk)
        sessions.remove_folder(session_folder)
        layers.clean(folder, spared=point)
        fresh = [disk["id"] for disk in wanted if _make_part(folder, point, disk)]
        with _reading(folder) as held:
            images = [(disk["id"], layers.part(folder, disk["id"], point)) for disk in wanted]
            purpose = {"point": point, "disks": wanted}
            session = sessions.start(
                session_folder, request["address"], images, purpose, writable=True, held=held, fresh=fresh
            )
        return _doors(request, session)


def _take_over(folder: str, session: dict[str, Any], point: str, disk: dict[str, Any]) -> None:
    """What was received of the point of an earlier session goes on as this one's, where that is asked for."""
    if disk["since"] is None or disk["since"] == disk["base"]:
        return
    known = {(kept["id"], kept["size"], kept["base"]) for kept in session["disks"]}
    part = layers.part(folder, disk["id"], disk["since"])
    same = session["point"] == disk["since"] and (disk["id"], disk["size"], disk["base"]) in known
    same = same and sessions.of_this_boot(session)
    if not same or not os.path.exists(part):
        raise Refused("missing", f"disk {disk['id']} of unfinished point {disk['since']}", "it is not there any more")
    os.rename(part, layers.part(folder, disk["id"], point))


def _make_part(folder: str, point: str, disk: dict[str, Any]) -> bool:
    """False for one that is there already, and goes on."""
    if disk["since"] not in (None, disk["base"]) and os.path.exists(layers.part(folder, disk["id"], point)):
        return False
    layers.remove(layers.part(folder, disk["id"], point))
    os.makedirs(f"{folder}/{disk['id']}", exist_ok=True)
    over: list[str] = []
    if disk["base"] is not None:
        base = layers.image(folder, disk["id"], disk["base"])
        if not os.path.exists(base):
            raise Refused("missing", f"disk {disk['id']} of point {disk['base']}", "it was dropped")
        over = ["-b", os.path.basename(base), "-F", "qcow2"]
    layers.qemu_img("create", "-q", "-f", "qcow2", *over, layers.part(folder, disk["id"], point), str(disk["size"]))
    return True


def seal(request: dict[str, Any]) -> Any:
    folder, point = _folder(request), request["point"]
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {point}", "it is not being received")
    session_folder = f"{folder}/receiving"
    with _turn(folder):
        present = layers.records(folder)
        if all(kept["id"] != point for kept in present):
            session = sessions.read(session_folder)
            if session is None or session["point"] != point:
                raise Refused("missing", f"point {point}", "it is not being received")
            if not sessions.stop(session_folder) or not sessions.of_this_boot(session):
                raise Refused("failed", f"point {point}", "the daemon that received it died; receive it anew")
            for disk in session["disks"]:
                layers.seal(folder, disk["id"], point, sessions.sums_of(session_folder, disk["id"]))
            if sessions.lost(session_folder):
                raise Refused("failed", f"point {point}", "what was received could not be written to the medium")
            number = max((kept["number"] for kept in present), default=0) + 1
            named = [{"id": disk["id"], "size": disk["size"]} for disk in session["disks"]]
            kept = {"id": point, "set": request["set"], "number": number, "instant": request["instant"], "disks": named}
            layers.write_whole(layers.record(folder, point), json.dumps(kept))
        if (sessions.read(session_folder) or {}).get("point") == point:
            sessions.remove_folder(session_folder)
        return _described(folder, _check_complete(folder, point))


def unfinished(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    session = sessions.read(f"{folder}/receiving")
    if session is None or os.path.exists(layers.record(folder, session["point"])):
        return None
    if sessions.lost(f"{folder}/receiving") or not sessions.of_this_boot(session):
        return None
    found = []
    for disk in session["disks"]:
        with contextlib.suppress(FileNotFoundError):
            stored = os.stat(layers.part(folder, disk["id"], session["point"])).st_blocks * 512
            found.append({**disk, "stored": stored})
    return {"point": session["point"], "disks": found}


def suspend(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    session_folder = f"{folder}/receiving"
    if not os.path.isdir(session_folder):
        return None
    with _turn(folder):
        session = sessions.read(session_folder)
        if session is not None and session["point"] == request["point"]:
            sessions.stop(session_folder)
    return None


def abandon(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    if not os.path.isdir(folder):
        return None
    session_folder = f"{folder}/receiving"
    with _turn(folder):
        session = sessions.read(session_folder)
        if session is not None and session["point"] == request["point"]:
            sessions.stop(session_folder)
            sessions.remove_folder(session_folder)
            layers.clean(folder)
    return None


def checksums(request: dict[str, Any]) -> Any:
    """The path of a file on this host, which whoever asked removes."""
    folder, point, disk = _folder(request), request["point"], request["disk"]
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {point}", "the set is unknown")
    session_folder = f"{folder}/receiving"
    with _turn(folder):
        path = f"{folder}/{request['file']}.asked"
        session = sessions.read(session_folder)
        if session is not None and session["point"] == point and not os.path.exists(layers.record(folder, point)):
            if sessions.lives(session_folder):
                raise Refused("busy", f"point {point}", "it is being received")
            if not sessions.of_this_boot(session):
                raise Refused("missing", f"point {point}", "its host was started anew while it was being received")
            killed = os.path.exists(f"{session_folder}/pid")
            layers.received(folder, disk, point, repair=killed).write(path)
            return path
        if all(kept["id"] != disk for kept in _check_complete(folder, point)["disks"]):
            raise Refused("missing", f"disk {disk} of point {point}", "the point is without it")
        layers.whole(folder, disk, point).write(path)
    return path


def drop(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    if not os.path.isdir(folder):
        return None
    with _turn(folder), _reading(folder, alone=True):
        layers.recover(folder)
        layers.drop_point(folder, request["point"])
    return None


def forget(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    if not os.path.isdir(folder):
        return None
    with _turn(folder):
        sessions.stop(f"{folder}/receiving")
        with _reading(folder, alone=True):
            sessions.remove_folder(f"{folder}/receiving")
            for kept in layers.records(folder):
                os.unlink(layers.record(folder, kept["id"]))
            from shutil import rmtree  # late: most calls are short, and do without

            rmtree(folder)
    return None


def verify(request: dict[str, Any]) -> Any:
    folder, point = _folder(request), request["point"]
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {point}", "the set is unknown")
    pace = Pace(request["pace"])
    with contextlib.ExitStack() as stack:
        with _turn(folder):
            kept = _check_complete(folder, point)
            stack.enter_context(_reading(folder))
        damages = [
            {"disk": disk["id"], **damage}
            for disk in kept["disks"]
            for damage in layers.verify(folder, disk["id"], point, pace)
        ]
    return {"read": pace.done, "damages": damages}


def serve(request: dict[str, Any]) -> Any:
    folder, point = _folder(request), request["point"]
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {point}", "the set is unknown")
    session_folder = f"{folder}/readers/{request['reader']}"
    with _turn(folder):
        named = [disk["id"] for disk in _check_complete(folder, point)["disks"]]
        request["disks"] = [{"id": disk} for disk in named]
        session = sessions.read(session_folder)
        if session is not None and session["point"] == point and sessions.lives(session_folder):
            return _doors(request, session)
        sessions.stop(session_folder)
        with _reading(folder) as held:
            images = [(disk, layers.image(folder, disk, point)) for disk in named]
            purpose = {"point": point}
            before = session if session is not None and session["point"] == point else None
            session = sessions.start(
                session_folder, request["address"], images, purpose, writable=False, held=held, before=before
            )
        return _doors(request, session)


def end_serving(request: dict[str, Any]) -> Any:
    folder = _folder(request)
    if not os.path.isdir(folder):
        return None
    session_folder = f"{folder}/readers/{request['reader']}"
    with _turn(folder):
        sessions.stop(session_folder)
        sessions.remove_folder(session_folder)
    return None


def adopt(request: dict[str, Any]) -> Any:
    """Move the last point's images, whole, to `target`, under their disks' ids; what was moved earlier is found there."""
    folder, point, target = _folder(request), request["point"], request["target"]
    if not os.path.isdir(folder):
        raise Refused("missing", f"point {point}", "the set is unknown")
    with _turn(folder):
        session_folder = f"{folder}/receiving"
        sessions.stop(session_folder)
        sessions.remove_folder(session_folder)
        with _reading(folder, alone=True):
            layers.clean(folder)
            present = layers.records(folder)
            named = [disk["id"] for disk in _check_complete(folder, point)["disks"]]
            if present[-1]["id"] != point:
                raise Refused("failed", f"point {point}", f"it is not the last one, which is {present[-1]['id']}")
            for kept in present[:-1]:
                layers.drop_point(folder, kept["id"])
            for disk in named:
                source = layers.image(folder, disk, point)
                if os.path.exists(source):
                    os.rename(source, f"{target}/{disk}.qcow2")
            layers.sync(target)
    return named


def _there(request: dict[str, Any]) -> str:
    """The root, or the folder that it will be in."""
    path: str = request["root"]
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def at_rest(request: dict[str, Any]) -> Any:
    return rest.at_rest(_there(request))


def usage(request: dict[str, Any]) -> Any:
    found = os.statvfs(_there(request))
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return {"capacity": size, "used": size - free, "free": free}


CALLS: dict[str, Callable[[dict[str, Any]], Any]] = {
    call.__name__: call
    for call in (
        sets, points, receive, seal, unfinished, suspend, abandon, checksums, drop, forget, verify, serve, end_serving, adopt, at_rest, usage,
    )
}  # fmt: skip


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`found`, or `refused`: kind, what and reason."""
    if request["mount"] is not None and not os.path.ismount(request["mount"]):
        return {"refused": ["unreachable", request["call"], f"nothing is mounted at {request['mount']}"]}
    try:
        return {"found": CALLS[request["call"]](request)}
    except Refused as error:
        return {"refused": [error.kind, error.what, error.reason]}
    except OSError as error:
        kind = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
        return {"refused": [kind, f"{request['call']} in {request['root']}", str(error)]}


def main(request: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer(request)))
