"""A point store in a folder of a host: images that rest on each other, each with its checksums.

Everything happens on the host, in one call of `onhost.keeper` each, so that a lost connection leaves nothing half done that the next
call does not end.
"""

import contextlib
import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from naos.engines.errors import Busy, EngineError, Missing, NoSpace, Unreachable, Unsupported
from naos.engines.points import carrying
from naos.engines.ports import (
    Damage,
    DiskPoint,
    Door,
    Host,
    Incoming,
    LunUsage,
    NbdAddress,
    Point,
    Unfinished,
    Verdict,
)
from naos.ids import normal_id

_PACKAGE = "naos.engines.points.onhost"
MODULES = tuple(
    f"{_PACKAGE}.{name}" for name in ("sums", "hashing", "mapping", "early", "layers", "rest", "sessions", "keeper")
)
_LOOK = 'exec cat -- "$1/session.json"'
_GIVE = '(set -C; : > "$1/sent") 2> /dev/null || rm -f -- "$1"/*.early; exec cat -- "$1/session.json"'
"""Of a session's folder. Whoever asks for the doors again may send again: then checksums that were computed early do not count."""
_SHORT = 120.0  # seconds
_LONG = 24 * 3600.0
"""Work that grows with what is stored; the host's own tools end with an error long before."""


class HostPointStore:
    """Points in the folder `root` of a host, received and served at `address`. mount: what must be mounted for it, None for nothing.

    Needs qemu-storage-daemon, qemu-img and python3 on the host.
    """

    def __init__(self, name: str, host: Host, address: str, root: str, mount: str | None = None) -> None:
        self.name, self._mount = name, mount
        self._host, self._address, self._root = host, address, root

    def sets(self) -> list[str]:
        found: list[str] = self._call("sets")
        return [set_id for set_id in found if normal_id(set_id) == set_id]

    def points(self, set_id: str) -> list[Point]:
        return [_point(entry) for entry in self._call("points", set=set_id)]

    def receive(self, set_id: str, point_id: str, disks: Sequence[Incoming]) -> dict[str, Door]:
        """Ends, and drops, what another unfinished point of the set had received. Raises Missing, NoSpace, Busy."""
        wanted = [
            {"id": disk.disk_id, "size": disk.size, "base": disk.base, "since": disk.since or disk.base}
            for disk in disks
        ]
        for disk in disks:
            self._check_ids(disk.disk_id, *(text for text in (disk.base, disk.since) if text is not None))
        return self._doors(self._call("receive", set=set_id, point=point_id, disks=wanted, timeout=_LONG))

    def doors(self, set_id: str, point_id: str) -> dict[str, tuple[Incoming, Door]]:
        found = self._session(set_id, _GIVE)
        if found is None or found["point"] != point_id:
            raise Missing(self.name, f"point {point_id}", "it is not being received")
        doors = self._doors(found)
        return {disk["id"]: (_incoming(disk), doors[disk["id"]]) for disk in found["disks"]}

    def seal(self, set_id: str, point_id: str, instant: datetime) -> Point:
        """Raises Missing when it is not being received, EngineError when its daemon died, NoSpace."""
        return _point(self._call("seal", set=set_id, point=point_id, instant=instant.isoformat(), timeout=_LONG))

    def unfinished(self, set_id: str) -> Unfinished | None:
        found = None if self._session(set_id) is None else self._call("unfinished", set=set_id)
        if found is None:
            return None
        return Unfinished(found["point"], [(_incoming(disk), int(disk["stored"])) for disk in found["disks"]])

    def suspend(self, set_id: str, point_id: str) -> None:
        self._call("suspend", set=set_id, point=point_id, timeout=_LONG)

    def abandon(self, set_id: str, point_id: str) -> None:
        self._call("abandon", set=set_id, point=point_id, timeout=_LONG)

    def checksums(self, set_id: str, point_id: str, disk_id: str, target: Path) -> None:
        self._check_ids(disk_id)
        file = str(uuid.uuid4())
        path = self._call("checksums", set=set_id, point=point_id, disk=disk_id, file=file, timeout=_LONG)
        try:
            self._host.get(path, target)
        finally:
            with contextlib.suppress(EngineError):
                self._host.run(["rm", "-f", "--", path])

    def drop(self, set_id: str, point_id: str) -> None:
        """Raises Busy while a point of the set is being read or received."""
        self._call("drop", set=set_id, point=point_id, timeout=_LONG)

    def forget(self, set_id: str) -> None:
        self._call("forget", set=set_id, timeout=_LONG)

    def verify(self, set_id: str, point_id: str, *, pace: int | None = None) -> Verdict:
        found = self._call("verify", set=set_id, point=point_id, pace=pace, timeout=_LONG)
        damages = [
            Damage(entry["disk"], entry["offset"], entry["length"], entry["reason"]) for entry in found["damages"]
        ]
        return Verdict(found["read"], damages)

    def serve(self, set_id: str, point_id: str, reader: str) -> dict[str, Door]:
        self._check_ids(reader)
        return self._doors(self._call("serve", set=set_id, point=point_id, reader=reader))

    def end_serving(self, set_id: str, reader: str) -> None:
        self._check_ids(reader)
        self._call("end_serving", set=set_id, reader=reader, timeout=_LONG)

    def at_rest(self) -> str:
        found: str = self._call("at_rest")
        return found

    def usage(self) -> LunUsage:
        return LunUsage(**self._call("usage"))

    def adopt(self, set_id: str, point_id: str, target: str) -> list[str]:
        """Move the disks of the last point to the folder `target` of the same file system, as whole images named by their disks' ids;
        the set's other points go. Returns the disks."""
        found: list[str] = self._call("adopt", set=set_id, point=point_id, target=target, timeout=_LONG)
        return found

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _session(self, set_id: str, script: str = _LOOK) -> dict[str, Any] | None:
        """What is being received, or was and was not completed."""
        self._check_ids(set_id)
        argv = ["sh", "-c", script, "session", f"{self._root}/{set_id}/receiving"]
        done = self._host.run(argv, check=False)
        found: dict[str, Any] | None = json.loads(done.stdout) if done.code == 0 and done.stdout else None
        return found

    def _call(self, name: str, *, timeout: float = _SHORT, **arguments: Any) -> Any:
        self._check_ids(*(arguments[key] for key in ("set", "point") if key in arguments))
        fixed = {"root": self._root, "address": self._address, "mount": self._mount}
        request = {"call": name, **fixed, **arguments}
        answer = carrying.call(self._host, MODULES, request, timeout=timeout)
        if "refused" in answer:
            self._refuse(*answer["refused"])
        return answer["found"]

    def _refuse(self, kind: str, what: str, reason: str) -> NoReturn:
        errors = {"missing": Missing, "busy": Busy, "full": NoSpace, "unreachable": Unreachable}
        raise errors.get(kind, EngineError)(self.name, what, reason)

    def _doors(self, found: dict[str, Any]) -> dict[str, Door]:
        return {
            disk["id"]: Door(NbdAddress(self._address, found["port"], disk["id"]), found["key"])
            for disk in found["disks"]
        }

    def _check_ids(self, *ids: str) -> None:
        for text in ids:
            if normal_id(text) != text:
                raise Unsupported(self.name, f"the id {text!r}", "ids are UUIDs in lower case with hyphens")


def _incoming(disk: dict[str, Any]) -> Incoming:
    return Incoming(disk["id"], disk["size"], disk["base"], disk["since"])


def _point(found: dict[str, Any]) -> Point:
    disks = [DiskPoint(disk["id"], disk["size"], disk["base"], disk["stored"]) for disk in found["disks"]]
    return Point(found["id"], found["set"], datetime.fromisoformat(found["instant"]), disks)
