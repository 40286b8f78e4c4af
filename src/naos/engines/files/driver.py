"""The files of a vault's points: a confined process on its host reads them, and what it says is checked here again."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from naos.engines.errors import Busy, EngineError, Missing, Unreachable, Unsupported
from naos.engines.files.onhost.answering import GREETING
from naos.engines.files.onhost.browse import FOLDER
from naos.engines.points import carrying
from naos.engines.points.driver import MODULES as POINT_MODULES
from naos.engines.ports import Host
from naos.engines.ports.files import FileEntry, FileEvent, FilePage, FileVolume, Hole, PlacedDisk
from naos.ids import normal_id

_PACKAGE = "naos.engines.files.onhost"
MODULES = (
    *POINT_MODULES,
    *(
        f"{_PACKAGE}.{name}"
        for name in (
            "disk", "tree", "packing", "names", "journal", "ext", "xfs", "btrfs", "ntfs", "fat", "tables", "lvm", "volumes", "requests",
            "answering", "confined", "browse",
        )
    ),
)  # fmt: skip
_OPEN = 60.0  # seconds
_SILENCE = 120.0  # seconds without a byte; the reader itself gives up earlier
_FRAME = struct.Struct(">cQ")
_LONGEST = 16 * 2**20  # bytes of a description
_PIECE = 16 * 2**20  # bytes of content in a frame
_LONGEST_TEXT = 200_000  # characters: a path whose every byte is written as three
_LATEST = 1e12  # seconds since 1970; what is later is nonsense
_KINDS = frozenset({"file", "folder", "link", "other", "skipped", "broken"})


class HostPointFiles:
    """Files of the points in the folder `root` of a host, which needs python3 alone."""

    def __init__(self, name: str, host: Host, root: str, mount: str | None = None) -> None:
        self.name, self._host, self._root, self._mount = name, host, root, mount

    def volumes(self, set_id: str, point_id: str, disks: Sequence[PlacedDisk]) -> list[FileVolume]:
        with self._asked(set_id, point_id, disks, {"call": "volumes"}) as reading:
            return [volume(entry) for entry in reading.answer()["volumes"]]

    def folder(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, after: str, limit: int
    ) -> FilePage:
        question = {"call": "folder", "volume": volume, "path": path, "after": after, "limit": limit}
        with self._asked(set_id, point_id, disks, question) as reading:
            found = reading.answer()
            return FilePage([entry(each) for each in found["entries"]], bool(found["more"]))

    @contextlib.contextmanager
    def content(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], *, volume: str, path: str, again: bool = False
    ) -> Iterator[Iterator[FileEvent]]:
        question = {"call": "content", "volume": volume, "path": path, "again": again}
        with self._asked(set_id, point_id, disks, question) as reading:
            first = entry(reading.answer())
            yield reading.events(first)

    def end(self, point_ids: Sequence[str]) -> None:
        self._check_ids(*point_ids)
        request = {"call": "end", "mount": None, "points": list(point_ids)}
        answer = carrying.call(self._host, MODULES, request, timeout=_OPEN)
        if "refused" in answer:
            refuse(self.name, *answer["refused"])

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _check_ids(self, *ids: str) -> None:
        for text in ids:
            if normal_id(text) != text:
                raise Unsupported(self.name, f"the id {text!r}", "ids are UUIDs in lower case with hyphens")

    @contextlib.contextmanager
    def _asked(
        self, set_id: str, point_id: str, disks: Sequence[PlacedDisk], question: dict[str, Any]
    ) -> Iterator["Reading"]:
        self._check_ids(set_id, point_id, *(disk.disk_id for disk in disks))
        request = {
            "call": "open",
            "root": self._root,
            "mount": self._mount,
            "set": set_id,
            "point": point_id,
            "disks": [{"id": disk.disk_id, "place": disk.place, "name": disk.name} for disk in disks],
        }
        with contextlib.ExitStack() as stack:
            connection = self._connected(stack, request)
            connection.sendall(json.dumps(question).encode() + b"\n")
            yield Reading(self.name, connection)

    def _connected(self, stack: contextlib.ExitStack, request: dict[str, Any]) -> socket.socket:
        """To the reader of the point, which is begun when there is none: it ends when nobody has asked it for long."""
        path = f"{FOLDER}/{request['point']}.sock"
        for tries in range(3):
            if tries:
                answer = carrying.call(self._host, MODULES, request, timeout=_OPEN)
                if "refused" in answer:
                    refuse(self.name, *answer["refused"])
            connection = self._greeted(stack, path)
            if connection is not None:
                return connection
        raise Unreachable(self.name, "the reader of a point's files", "it does not answer")

    def _greeted(self, stack: contextlib.ExitStack, path: str) -> socket.socket | None:
        with contextlib.ExitStack() as mine:
            near = mine.enter_context(self._host.socket(path))
            connection = mine.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(_SILENCE)
            try:
                connection.connect(near)
                if connection.recv(len(GREETING), socket.MSG_WAITALL) != GREETING:
                    return None
            except OSError:
                return None
            stack.push(mine.pop_all())
            return connection


class Reading:
    """Answers of a reader, of which nothing is believed: it had hostile bytes before it."""

    def __init__(self, name: str, connection: socket.socket) -> None:
        self._name, self._connection = name, connection

    def answer(self) -> dict[str, Any]:
        """The first description. Raises what a refusal says."""
        kind, data = self._frame()
        if kind != b"J" or not isinstance(data, dict):
            raise self._confused()
        if "refused" in data:
            refuse(self._name, *data["refused"])
        return data

    def events(self, first: FileEntry) -> Iterator[FileEvent]:
        """All that follows the first entry, with it."""
        yield first
        left = first.size if first.kind == "file" and not first.same else None
        while True:
            kind, data = self._frame()
            if kind == b"Z":
                return
            if isinstance(data, dict):
                if "refused" in data:
                    refuse(self._name, *data["refused"])
                found = entry(data)
                yield found
                if found.kind == "broken":
                    left = None
                elif found.kind == "file" and not found.same:
                    left = found.size
            elif kind == b"E":
                if left:
                    raise self._confused()
                left = None
            else:
                length = data.length if isinstance(data, Hole) else len(data)
                if left is None or length > left:
                    raise self._confused()
                left -= length
                yield data

    def _frame(self) -> tuple[bytes, dict[str, Any] | bytes | Hole]:
        kind, length = _FRAME.unpack(self._exactly(_FRAME.size))
        if kind == b"J" and length <= _LONGEST:
            try:
                return kind, json.loads(self._exactly(length))
            except ValueError:
                raise self._confused() from None
        if kind == b"D" and length <= _PIECE:
            return kind, self._exactly(length)
        if kind == b"H":
            return kind, Hole(length)
        if kind in (b"E", b"Z"):
            return kind, b""
        raise self._confused()

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, done = memoryview(data), 0
        while done < size:
            try:
                count = self._connection.recv_into(view[done:])
            except OSError as error:
                raise Unreachable(self._name, "the reader of a point's files", str(error)) from error
            if not count:
                reason = "it took too long, or asked for too much memory: the file system may be damaged"
                raise EngineError(self._name, "reading files of a point", reason)
            done += count
        return bytes(data)

    def _confused(self) -> EngineError:
        return EngineError(self._name, "reading files of a point", "its answers contradict each other")


def refuse(name: str, kind: str, what: str, reason: str) -> NoReturn:
    errors = {"missing": Missing, "busy": Busy, "unreachable": Unreachable, "failed": EngineError}
    raise errors.get(kind, Unsupported)(name, what, reason)


def entry(found: dict[str, Any]) -> FileEntry:
    """Of a description, whose every field is looked at. Raises EngineError for nonsense."""
    try:
        texts = {key: str(found.get(key, ""))[:_LONGEST_TEXT] for key in ("name", "path", "target", "note", "same")}
        numbers = {key: max(0, int(found.get(key, 0))) for key in ("size", "mode", "uid", "gid", "links")}
        mtime, kind = float(found.get("mtime", 0.0)), str(found.get("kind"))
    except (TypeError, ValueError, OverflowError) as error:
        raise EngineError("the reader", "reading files of a point", "its answers make no sense") from error
    if kind not in _KINDS:
        raise EngineError("the reader", "reading files of a point", f"it speaks of a {kind[:100]!r}")
    return FileEntry(kind=kind, mtime=mtime if abs(mtime) < _LATEST else 0.0, **texts, **numbers)  # type: ignore[arg-type]


def volume(found: dict[str, Any]) -> FileVolume:
    told = {key: str(found.get(key, ""))[:1000] for key in ("id", "name", "disk", "kind", "label", "problem", "note")}
    return FileVolume(size=max(0, int(found.get("size", 0))), **told)
