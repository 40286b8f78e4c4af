"""Archives of what was read from a restore point, written piece by piece: nothing is in memory as a whole.

Names in an archive are relative, and none leads out of it: neither by itself nor through a link of the archive. What was left out, or could
not be read to its end, is told in a file `left-out.txt` in the archive.
"""

import stat
import tarfile
import time
import zipfile
from collections.abc import Iterator
from typing import IO, BinaryIO, Protocol, cast

from naos.engines.files.onhost.names import Unclear, named, shown
from naos.engines.ports.files import FileEntry, FileEvent, Hole

LEFT_OUT = "left-out.txt"
_ZEROES = bytes(2**20)
_TAR_END = bytes(2 * 512)
_MOST_NOTES = 10000
_EARLIEST, _LATEST = 315532800.0, 4354819198.0  # moments that a zip can say, in seconds since 1970
_LONGEST_ZIP_NAME = 65000  # bytes


def parts_of(path: str) -> list[bytes] | None:
    """The names of a path of the reader's, each safe as a name of a file; None for what is none."""
    try:
        found = named(path)
    except Unclear:
        return None
    return None if any(name in (b".", b"..", b"") or b"/" in name for name in found) else found


def pieces(data: bytes | Hole) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    left = data.length
    while left:
        step = min(left, len(_ZEROES))
        yield _ZEROES if step == len(_ZEROES) else _ZEROES[:step]
        left -= step


class _Notes:
    """What was left out, and why."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, path: str, why: str) -> None:
        if len(self._lines) < _MOST_NOTES:
            self._lines.append(f"{path or '/'}: {why}\n")
        else:
            self._more += 1

    def text(self) -> bytes:
        more = [f"... and {self._more} more\n"] if self._more else []
        return "".join([*self._lines, *more]).encode("utf-8", "replace")


class _Places:
    """The folders and links of an archive by now: nothing is below a link."""

    def __init__(self) -> None:
        self._links: set[bytes] = set()
        self._folders: set[bytes] = set()

    def refused(self, names: list[bytes], kind: str) -> str:
        """Why an entry has no place, "" when it has one, and takes it."""
        path = b"/".join(names)
        if any(b"/".join(names[:end]) in self._links for end in range(1, len(names) + 1)):
            return "its place is taken by a link"
        if kind == "link":
            if path in self._folders:
                return "its place is taken by a folder"
            self._links.add(path)
        self._folders.update(b"/".join(names[:end]) for end in range(1, len(names) + (kind == "folder")))
        return ""


class _Writer(Protocol):
    def refused(self, entry: FileEntry) -> str:
        """Why an entry has no place, "" when it has one, which it then takes."""

    def begin(self, entry: FileEntry) -> Iterator[bytes]: ...
    def content(self, data: bytes) -> Iterator[bytes]: ...
    def end(self) -> Iterator[bytes]:
        """Of the entry that was begun last, whose content may have ended too early."""

    def finish(self, name: str, left_out: bytes, at: float) -> Iterator[bytes]:
        """name: of the file for what was left out, when anything was."""


def tar(events: Iterator[FileEvent], at: float) -> Iterator[bytes]:
    """at: the instant of the restore point, in seconds since 1970."""
    return _written(events, _Tar(), at)


def zipped(events: Iterator[FileEvent], at: float) -> Iterator[bytes]:
    """Names that are no text are written with %XX. Symbolic links are told among what was left out: not every zip program knows them."""
    return _written(events, _Zip(), at)


def _written(events: Iterator[FileEvent], writer: _Writer, at: float) -> Iterator[bytes]:
    notes, skipping, name = _Notes(), True, LEFT_OUT
    for event in events:
        if not isinstance(event, FileEntry):
            for data in pieces(event) if not skipping else ():
                yield from writer.content(data)
        elif event.kind == "broken":
            notes.add(event.path, f"{event.note}; the rest of its content is missing")
        else:
            yield from writer.end()
            names = parts_of(event.path)
            why = event.note if event.kind in ("skipped", "other") else _nameless(names, event) or writer.refused(event)
            skipping = bool(why) or event.kind != "file"
            if why:
                notes.add(event.path, why)
            elif names:
                if names[0] == name.encode():
                    name = f"naos-{name}"
                yield from writer.begin(event)
    yield from writer.end()
    yield from writer.finish(name, notes.text(), at)


def _nameless(names: list[bytes] | None, event: FileEntry) -> str:
    """Only the root itself has no name."""
    return "its name is none" if names is None or (not names and event.kind != "folder") else ""


class _Tar:
    def __init__(self) -> None:
        self._places = _Places()
        self._files: set[str] = set()
        self._left = self._padding = 0

    def refused(self, entry: FileEntry) -> str:
        if entry.same and entry.same not in self._files:
            return "it is another name of a file that is not here"
        return self._places.refused(parts_of(entry.path) or [], entry.kind)

    def begin(self, entry: FileEntry) -> Iterator[bytes]:
        info = _header(entry, parts_of(entry.path) or [])
        if info.type == tarfile.REGTYPE:
            self._left, self._padding = entry.size, -entry.size % 512
            if entry.links > 1:
                self._files.add(entry.path)
        yield _block(info)

    def content(self, data: bytes) -> Iterator[bytes]:
        self._left -= len(data)
        yield data

    def end(self) -> Iterator[bytes]:
        """A size that was told stays: what is missing is zeroes."""
        count, self._left, self._padding = self._left + self._padding, 0, 0
        if count:
            yield from pieces(Hole(count))

    def finish(self, name: str, left_out: bytes, at: float) -> Iterator[bytes]:
        if left_out:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(left_out), int(at)
            yield _block(info) + left_out + bytes(-len(left_out) % 512)
        yield _TAR_END


def _block(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _header(event: FileEntry, names: list[bytes]) -> tarfile.TarInfo:
    info = tarfile.TarInfo(_name(names))
    info.mode, info.uid, info.gid = event.mode & 0o777, event.uid & 0x7FFFFFFF, event.gid & 0x7FFFFFFF
    info.mtime = max(int(event.mtime), 0)
    if event.kind == "folder":
        info.type = tarfile.DIRTYPE
    elif event.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, "/".join(_plain(part) for part in event.target.split("/"))
    elif event.same:
        info.type, info.linkname = tarfile.LNKTYPE, _name(parts_of(event.same) or [])
    else:
        info.size = event.size
    return info


def _name(names: list[bytes]) -> str:
    return b"/".join(names).decode("utf-8", "surrogateescape")


def _plain(part: str) -> str:
    """One name of a link's target, in the bytes that it had."""
    try:
        found = named(part) if part not in ("", ".", "..") else []
    except Unclear:
        return part
    return found[0].decode("utf-8", "surrogateescape") if found else part


class _Sink:
    """What a zip is written to: it cannot go back, so sizes stand behind the contents."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def taken(self) -> Iterator[bytes]:
        data = b"".join(self._parts)
        self._parts.clear()
        if data:
            yield data


class _Zip:
    def __init__(self) -> None:
        self._sink = _Sink()
        sink = cast(BinaryIO, self._sink)
        self._archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, allowZip64=True, compresslevel=1)
        self._inside: IO[bytes] | None = None
        self._names: set[str] = set()

    @staticmethod
    def _name(entry: FileEntry) -> str:
        """A backslash parts names for some programs, and so does none here."""
        name = "/".join(shown(part).replace("\\", "%5C") for part in parts_of(entry.path) or [])
        return f"{name}/" if entry.kind == "folder" else name

    def refused(self, entry: FileEntry) -> str:
        if entry.kind == "link":
            return f"it is a symbolic link to {entry.target}"
        if len(self._name(entry).encode()) > _LONGEST_ZIP_NAME:
            return "its name is too long for a zip"
        if self._name(entry) in self._names:
            return "its name is taken"
        self._names.add(self._name(entry))
        return ""

    def begin(self, entry: FileEntry) -> Iterator[bytes]:
        info = zipfile.ZipInfo(self._name(entry), _moment(entry.mtime))
        if entry.kind == "folder":
            info.external_attr = (stat.S_IFDIR | entry.mode & 0o777) << 16 | 0x10
            self._archive.writestr(info, b"")
        else:
            info.external_attr = (stat.S_IFREG | entry.mode & 0o777) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            self._inside = self._archive.open(info, "w", force_zip64=True)
        yield from self._sink.taken()

    def content(self, data: bytes) -> Iterator[bytes]:
        if self._inside is not None:
            self._inside.write(data)
        yield from self._sink.taken()

    def end(self) -> Iterator[bytes]:
        if self._inside is not None:
            self._inside.close()
            self._inside = None
        yield from self._sink.taken()

    def finish(self, name: str, left_out: bytes, at: float) -> Iterator[bytes]:
        if left_out:
            self._archive.writestr(zipfile.ZipInfo(name, _moment(at)), left_out)
        self._archive.close()
        yield from self._sink.taken()


def _moment(at: float) -> tuple[int, int, int, int, int, int]:
    """As a zip can say it: years from 1980 to 2107."""
    found = time.gmtime(min(max(at, _EARLIEST), _LATEST))
    return found.tm_year, found.tm_mon, found.tm_mday, found.tm_hour, found.tm_min, found.tm_sec
