"""What is asked of a point's files, and answered: volumes, a folder, a file, a whole tree."""

from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any

from naos.engines.files.onhost import names
from naos.engines.files.onhost.tree import FILE, FOLDER, LINK, MOST_ENTRIES, OTHER, FileSystem, Node
from naos.engines.files.onhost.volumes import FAILURES, Point, Volume, reason

DEEPEST = 256  # folders inside each other
MOST_PAGE = 1000

Answer = dict[str, Any]
Send = Callable[[Answer, Iterator[tuple[int, bytes | None]] | None], None]


class Refused(Exception):
    """kind: missing, unreadable or unfit (of another kind than what was asked)."""

    def __init__(self, kind: str, what: str, why: str) -> None:
        super().__init__(kind, what, why)
        self.kind, self.what, self.why = kind, what, why


def _told(volume: Volume) -> Answer:
    keys = ("id", "name", "disk", "size", "kind", "label", "problem", "note")
    return {key: getattr(volume, key) for key in keys}


def volumes(point: Point) -> Answer:
    return {"volumes": [_told(volume) for volume in point.volumes()]}


def _opened(point: Point, identifier: str) -> FileSystem:
    volume = point.volume(identifier)
    if volume is None:
        raise Refused("missing", f"volume {identifier}", "the point has no such volume")
    if volume.opened is None:
        raise Refused("unreadable", volume.name, volume.problem)
    return volume.opened


def _found(system: FileSystem, path: list[bytes]) -> Any:
    """The key at a path. No symbolic link is followed. Raises Refused."""
    key = system.root()
    for depth, wanted in enumerate(path):
        here = names.path(path[:depth])
        node = system.node(key)
        if node.kind == LINK:
            raise Refused(
                "unfit", here, f"it is a symbolic link to {names.shown(system.target(key))}, which is not followed"
            )
        if node.kind != FOLDER:
            raise Refused("unfit", here, "it is no folder")
        for name, below in system.entries(key):
            if name == wanted:
                key = below
                break
        else:
            raise Refused("missing", names.path(path[: depth + 1]), "there is no such file or folder")
    return key


def _entry(name: bytes, node: Node, system: FileSystem) -> Answer:
    answer: Answer = {
        "name": names.shown(name),
        "kind": node.kind,
        "size": node.size if node.kind == FILE else 0,
        "mtime": node.mtime,
        "mode": node.mode,
        "uid": node.uid,
        "gid": node.gid,
        "links": node.links,
        "note": node.note,
    }
    if node.kind == LINK:
        answer["target"] = names.shown(system.target(node.key)).replace("%2F", "/")
    return answer


def _looked(system: FileSystem, name: bytes, key: Any) -> Answer:
    """An entry; one that cannot be read is told as such, and the others beside it are not lost."""
    try:
        return _entry(name, system.node(key), system)
    except FAILURES as error:
        nothing = {"size": 0, "mtime": 0.0, "mode": 0, "uid": 0, "gid": 0, "links": 0}
        return {"name": names.shown(name), "kind": OTHER, "note": reason(error), **nothing}


def folder(point: Point, request: Answer) -> Answer:
    """A page of a folder's entries in the order of their bytes. after: the last name of the page before."""
    system, path = _opened(point, request["volume"]), names.named(request["path"])
    key = _found(system, path)
    if system.node(key).kind != FOLDER:
        raise Refused("unfit", names.path(path), "it is no folder")
    after = names.named(request["after"])[0] if request.get("after") else b""
    limit = max(1, min(int(request["limit"]), MOST_PAGE))
    wanted = (entry for entry in islice(system.entries(key), MOST_ENTRIES) if entry[0] > after)
    page = nsmallest(limit + 1, wanted, key=lambda entry: entry[0])
    return {
        "entries": [_looked(system, name, below) for name, below in page[:limit]],
        "more": len(page) > limit,
    }


def content(point: Point, request: Answer, send: Send) -> None:
    """One file, or a folder with all that is below it: each entry with its path, content after it.

    Paths begin with the name of what was asked. same: the path of a file that was sent before, and is this one; again: without that.
    """
    system, path = _opened(point, request["volume"]), names.named(request["path"])
    key = _found(system, path)
    node = system.node(key)
    first = path[-1:]
    if node.kind == FOLDER:
        _Walk(system, send, again=bool(request.get("again"))).folder(first, key, ())
    elif node.kind == FILE:
        send({**_entry(path[-1], node, system), "path": names.path(first)}, system.pieces(key))
    else:
        what = "a symbolic link" if node.kind == LINK else node.note
        raise Refused("unfit", names.path(path), f"it is {what}, which has no content")


class _Walk:
    def __init__(self, system: FileSystem, send: Send, *, again: bool) -> None:
        self._system, self._send, self._again = system, send, again
        self._sent: dict[Any, str] = {}

    def folder(self, path: list[bytes], key: Any, above: tuple[Any, ...]) -> None:
        """Breadth within, depth between: a folder's own entries follow each other. Raises Damaged for one that is inside itself."""
        if key in above or len(above) > DEEPEST:
            self._skip(path, "it is inside itself, or too deep")
            return
        node = self._system.node(key)
        self._send({**_entry(path[-1] if path else b"", node, self._system), "path": names.path(path)}, None)
        try:
            entries = sorted(islice(self._system.entries(key), MOST_ENTRIES), key=lambda entry: entry[0])
        except FAILURES as error:
            self._skip(path, reason(error))
            return
        for name, below in entries:
            here = [*path, name]
            try:
                kind = self._system.node(below).kind
            except FAILURES as error:
                self._skip(here, reason(error))
                continue
            if kind == FOLDER:
                self.folder(here, below, (*above, key))
            else:
                self._entry(here, name, below)

    def _entry(self, path: list[bytes], name: bytes, key: Any) -> None:
        node = self._system.node(key)
        if node.kind == OTHER:
            self._skip(path, f"it is {node.note}")
            return
        try:
            answer: Answer = {**_entry(name, node, self._system), "path": names.path(path)}
        except FAILURES as error:
            self._skip(path, reason(error))
            return
        if node.kind == FILE:
            if key in self._sent:
                answer["same"] = self._sent[key]
            elif node.links > 1 and not self._again:
                self._sent[key] = answer["path"]
            self._send(answer, None if "same" in answer else self._system.pieces(key))
        else:
            self._send(answer, None)

    def _skip(self, path: list[bytes], why: str) -> None:
        self._send({"kind": "skipped", "path": names.path(path), "note": why}, None)
