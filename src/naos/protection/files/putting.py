"""Putting files of a restore point back into a running machine: written beside their place under another name, read back, then moved there."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from naos.activity import Plan
from naos.compute import machines, rules, steps
from naos.engines.ports.files import FileEntry, FileEvent, GuestAttributes, GuestFiles
from naos.errors import NaosError
from naos.protection.backup import points
from naos.protection.files import archives, reading
from naos.protection.files.errors import FileUnreadable, PutBackRefused, TargetFolderInvalid
from naos.protection.files.wire import PutBackRequest
from naos.world import World


def check_folder(folder: str) -> str:
    """The folder without a slash at its end. Raises TargetFolderInvalid."""
    if not folder.startswith("/") or ".." in folder.split("/") or not folder.isprintable():
        raise TargetFolderInvalid(folder)
    return folder.rstrip("/")


def plan(session: Session, world: World, tenant_id: str, point_id: str, request: PutBackRequest) -> Plan:
    """Raises Unknown, PointNotReady, TargetFolderInvalid, WrongPower, FileUnreadable."""
    point = points.find_good(session, tenant_id, point_id)
    machine = machines.find(session, tenant_id, request.virtual_machine_id)
    folder = check_folder(request.folder)
    rules.check_running(machine.name, machine.power)
    names = archives.parts_of(request.path)
    name = _text(names[-1]) if names else None
    if name is None:
        opened = reading.Opened(world, session, point)
        reason = "a file or folder is wanted whose name is text"
        raise FileUnreadable(opened.machine, opened.taken, request.path, reason)
    return Plan(
        kind="restore_point.put_back",
        description=f"Put {request.path} of {points.moment(point.taken_at)} back into {machine.name}, folder {folder or '/'}",
        arguments={
            "point_id": point.id,
            "tenant_id": tenant_id,
            "machine_id": machine.id,
            "machine": machine.name,
            "volume": request.volume,
            "path": request.path,
            "folder": folder,
            "name": name,
            "overwrite": request.overwrite,
        },
        locks=(points.lock(point.set_id, shared=True), machines.lock(machine.id)),
        concerned=(machines.item(machine.id), points.item(point.id)),
        type="BackupActivity",
    )


def staged(arguments: dict[str, Any], activity_id: str) -> str:
    return f"{arguments['folder']}/.naos-{activity_id}"


def _guest(world: World, arguments: dict[str, Any]) -> GuestFiles:
    machine_id = arguments["machine_id"]
    return world.rack.hypervisor(steps.home(world, machine_id)).guest_files(machine_id)


def write(world: World, arguments: dict[str, Any], activity_id: str, progress: Callable[[float], None]) -> None:
    """Everything beside its place. Repeated, it begins anew. Raises PutBackRefused, FileMissing, FileUnreadable, GuestRefused."""
    guest, stage = _guest(world, arguments), staged(arguments, activity_id)
    target = f"{arguments['folder']}/{arguments['name']}"
    if not guest.has(arguments["folder"] or "/", folder=True):
        raise PutBackRefused(arguments["machine"], arguments["name"], f"there is no folder {arguments['folder']}")
    if not arguments["overwrite"] and guest.has(target):
        raise PutBackRefused(arguments["machine"], arguments["name"], f"{target} is there, and not to be overwritten")
    guest.remove(stage)
    with world.database.read() as session:
        opened = reading.find(world, session, arguments["tenant_id"], arguments["point_id"])
    with opened.content(arguments["volume"], arguments["path"], again=True) as events:
        _Writing(guest, stage, arguments["machine"], progress).all(events)


@dataclass
class _Writing:
    """One tree, whose first entry becomes the staged one."""

    guest: GuestFiles
    stage: str
    machine: str
    progress: Callable[[float], None]
    attributes: list[GuestAttributes] = field(default_factory=list)
    links: list[GuestAttributes] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def all(self, events: Iterator[FileEvent]) -> None:
        content = _Ahead(events)
        folder = False
        while (entry := content.entry()) is not None:
            folder = folder or (entry.kind == "folder" and not self.seen)
            self._one(entry, content)
        if self.left_out and folder:
            self.guest.write(f"{self.stage}/{archives.LEFT_OUT}", iter(["".join(self.left_out).encode()]))
        self.guest.finish([*self.links, *reversed(self.attributes)])

    def _one(self, entry: FileEntry, content: "_Ahead") -> None:
        if entry.kind == "broken":
            raise PutBackRefused(self.machine, entry.path, entry.note)
        names = archives.parts_of(entry.path) or []
        texts = [_text(name) for name in names]
        why = (
            entry.note
            if entry.kind in ("skipped", "other")
            else ""
            if names and None not in texts
            else "its name is no text"
        )
        path = "/".join([self.stage, *(text or "" for text in texts[1:])])
        if not why and path in self.seen:
            why = "its name is taken"
        if why:
            self.left_out.append(f"{entry.path}: {why}\n")
            return
        self.seen.add(path)
        if entry.kind == "folder":
            self.guest.make_folder(path)
        elif entry.kind == "link":
            self.links.append(GuestAttributes(path, 0o777, entry.uid, entry.gid, entry.mtime, entry.target))
            return
        else:
            self._file(path, entry, content)
        self.attributes.append(GuestAttributes(path, entry.mode, entry.uid, entry.gid, entry.mtime))

    def _file(self, path: str, entry: FileEntry, content: "_Ahead") -> None:
        digest, done = hashlib.sha256(), 0

        def pieces() -> Iterator[bytes]:
            nonlocal done
            for data in content.pieces():
                digest.update(data)
                done += len(data)
                self.progress(done / entry.size if entry.size else 1.0)
                yield data

        found = self.guest.write(path, pieces())
        if done != entry.size:
            raise PutBackRefused(self.machine, entry.path, f"{done} of its {entry.size} bytes could be read")
        if found != digest.hexdigest():
            raise PutBackRefused(
                self.machine, entry.path, "what was read back from the guest differs from what was written"
            )


class _Ahead:
    """Events, of which an entry that ends a file's content is not lost."""

    def __init__(self, events: Iterator[FileEvent]) -> None:
        self._events = events
        self._next: FileEntry | None = None

    def entry(self) -> FileEntry | None:
        """The next one; content that nobody took is passed over."""
        found, self._next = self._next, None
        while found is None:
            event = next(self._events, None)
            if event is None:
                return None
            found = event if isinstance(event, FileEntry) else None
        return found

    def pieces(self) -> Iterator[bytes]:
        for event in self._events:
            if isinstance(event, FileEntry):
                self._next = event
                return
            yield from archives.pieces(event)


def _text(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def place(world: World, arguments: dict[str, Any], activity_id: str) -> None:
    """Give it its name. Repeated, it finds that it has it. Raises PutBackRefused."""
    guest, stage = _guest(world, arguments), staged(arguments, activity_id)
    if not guest.has(stage):
        return
    target = f"{arguments['folder']}/{arguments['name']}"
    if not guest.place(stage, target, overwrite=arguments["overwrite"]):
        raise PutBackRefused(arguments["machine"], arguments["name"], f"{target} is there, and not to be overwritten")


def clean(world: World, arguments: dict[str, Any]) -> bool:
    """Remove what was written beside its place; a guest that is off or gone keeps it, under a name that says what it is."""
    try:
        _guest(world, arguments).remove(arguments["staged"])
    except NaosError:
        return False
    return True
