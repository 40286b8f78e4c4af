"""The images of points: one a disk and point, each over the one that it was received over.

Of a set's folder: ``<point>.json`` says that a point is complete, ``<point>.dropping`` that it is being dropped;
``<disk>/<point>.part`` is being received, ``<disk>/<point>.qcow2`` with ``<disk>/<point>.sums`` is sealed, ``<disk>/<point>.gone`` is
the checksums of one that is being dropped.
"""

import contextlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from typing import Any

from naos.engines.points.onhost import early, hashing, mapping
from naos.engines.points.onhost.sums import BLOCK, UNKNOWN, ZEROES, Damaged, Pace, Table

_HEADER = struct.Struct(">4sIQII Q")  # qcow2: magic, version, where the name below is, its length, cluster bits, size
_SLOWEST = 10 * 2**20  # bytes a second: what a host reads and writes at the least
_MOST = 1000  # findings of one disk that are listed
_FULL = ("No space left on device", "Disk quota exceeded")


class Refused(Exception):
    """kind: missing, busy, full or failed."""

    def __init__(self, kind: str, what: str, reason: str) -> None:
        super().__init__(kind, what, reason)
        self.kind, self.what, self.reason = kind, what, reason


def image(folder: str, disk: str, point: str) -> str:
    return f"{folder}/{disk}/{point}.qcow2"


def part(folder: str, disk: str, point: str) -> str:
    return f"{folder}/{disk}/{point}.part"


def sums(folder: str, disk: str, point: str) -> str:
    return f"{folder}/{disk}/{point}.sums"


def gone(folder: str, disk: str, point: str) -> str:
    return f"{folder}/{disk}/{point}.gone"


def record(folder: str, point: str) -> str:
    return f"{folder}/{point}.json"


def dropping(folder: str, point: str) -> str:
    return f"{folder}/{point}.dropping"


def header(path: str) -> tuple[int, str | None]:
    """Bytes of the disk, and the point that the image is over. Raises Refused for what is no image."""
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:4] != b"QFI\xfb":
            raise Refused("failed", path, "it is no qcow2 image")
        _, _, at, length, _, size = _HEADER.unpack(head)
        if not at:
            return size, None
        file.seek(at)
        return size, file.read(length).decode().removesuffix(".qcow2")


def disks(folder: str) -> list[str]:
    """Of a set."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and len(entry.name) == 36)
    return []


def records(folder: str) -> list[dict[str, Any]]:
    """Of the complete points, oldest first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.name.endswith(".json") and len(entry.name) == 41:
                with open(entry.path, encoding="utf-8") as file:
                    found.append(json.load(file))
    return sorted(found, key=lambda kept: (kept["number"], kept["id"]))


def chain(folder: str, disk: str, top: str) -> list[str]:
    """Paths of an image and those below it. top: the image's path."""
    found = [top]
    while (below := header(found[-1])[1]) is not None:
        found.append(image(folder, disk, below))
        if len(found) > 10000:
            raise Refused("failed", top, "the images below it go in a circle")
    return found


def qemu_img(*argv: str, size: int = 0) -> str:
    """Raises Refused: busy when the image is open elsewhere, full, failed."""
    import subprocess  # late: most calls are short, and do without

    timeout = 60 + size / _SLOWEST
    try:
        done = subprocess.run(
            ["qemu-img", *argv], capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Refused("failed", f"qemu-img {argv[0]}", f"not done after {timeout:.0f} s") from None
    if done.returncode:
        reason = " ".join(done.stderr.split())
        kind = "full" if any(words in reason for words in _FULL) else "busy" if "lock" in reason else "failed"
        raise Refused(kind, f"qemu-img {argv[0]} of {argv[-1]}", reason)
    return done.stdout


def sync(path: str) -> None:
    """A file's content, or a folder's names, are safe when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: str, text: str, *, lasting: bool = True) -> None:
    """All of it is there under its name, or nothing new is. lasting: after a power cut, too."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if lasting:
            os.fsync(file.fileno())
    os.rename(f"{path}.new", path)
    if lasting:
        sync(os.path.dirname(path))


def remove(*paths: str) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


# ------------------------------------------------------------------------------------------------------------ checksums


def extents(top: str) -> list[dict[str, Any]]:
    """What qemu-img says of an image's content and those below it."""
    size = header(top)[0]
    found: list[dict[str, Any]] = json.loads(qemu_img("map", "--output=json", "-f", "qcow2", top, size=size))
    return found


def _has_data(extent: dict[str, Any]) -> bool:
    return bool(extent["data"] and not extent["zero"])


def count(top: str, known: str = "") -> Table:
    """The checksums of what an image holds itself, without those below it. known: the file of those that were computed early, if any.

    Raises Refused for an image that was not made as points are.
    """
    table = Table(header(top)[0])
    file, before = os.open(top, os.O_RDONLY), early.Known(known)
    try:
        hashing.digests(_own_pieces(file, table, before), Pace(None), table.lay)
    except mapping.Strange as error:
        raise Refused("failed", top, f"it is no image of a point: {error}") from error
    finally:
        os.close(file)
        before.close()
    return table


def _own_pieces(file: int, table: Table, before: early.Known) -> Iterator[hashing.Piece]:
    """The data of an open image of which nothing is known; all the rest is noted at once."""
    for extent in mapping.own(file):
        if extent.offset is None:
            table.put(extent.first, ZEROES, -(-extent.length // BLOCK))
            continue
        end = -1
        for block, digest in before.of(extent):
            if digest is not None:
                table.put(block, digest)
            elif block >= end:
                done = (block - extent.first) * BLOCK
                piece = hashing.Piece(file, extent.offset + done, min(hashing.PIECE, extent.length - done), block)
                end = block + hashing.PIECE // BLOCK
                yield piece


def whole(folder: str, disk: str, point: str) -> Table:
    """The checksums of a point's whole disk. Raises Refused for damaged ones."""
    top = image(folder, disk, point)
    table = Table(header(top)[0])
    for path in reversed(chain(folder, disk, top)):
        kept = path.removesuffix("qcow2")
        try:  # a drop that was broken off has marked them
            table.read(f"{kept}sums" if os.path.exists(f"{kept}sums") else f"{kept}gone")
        except (Damaged, OSError) as error:
            raise Refused("failed", f"the checksums of disk {disk}", str(error)) from error
    return table


class _Findings:
    """What a verification has found."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._runs: list[tuple[int, int, str]] = []  # first block, the first beyond, reason

    def compare(self, first: int, digests: list[bytes]) -> None:
        """What was read of the data of blocks from the number `first` on."""
        for block, value in enumerate(digests, first):
            kept = self._table.get(block)
            if value != (ZEROES if kept == UNKNOWN else kept):
                self._note(block, "the data differ from their checksum")

    def empty(self, extent: dict[str, Any]) -> None:
        """There are no data."""
        first, blocks = extent["start"] // BLOCK, -(-extent["length"] // BLOCK)
        for block in range(first, first + blocks):
            if self._table.get(block) not in (UNKNOWN, ZEROES):
                self._note(block, "data are gone")

    def _note(self, block: int, reason: str) -> None:
        last = self._runs[-1] if self._runs else None
        if last is not None and last[1:] == (block, reason):
            self._runs[-1] = (last[0], block + 1, reason)
        else:
            self._runs.append((block, block + 1, reason))

    def listed(self) -> list[dict[str, Any]]:
        """Offset, length, reason, by offset; neighbours with one reason are one."""
        found: list[dict[str, Any]] = []
        for first, end, reason in sorted(self._runs):
            last = found[-1] if found else None
            if last is not None and last["reason"] == reason and last["offset"] + last["length"] == first * BLOCK:
                last["length"] += (end - first) * BLOCK
            elif len(found) < _MOST:
                found.append({"offset": first * BLOCK, "length": (end - first) * BLOCK, "reason": reason})
        return found


def received(folder: str, disk: str, point: str, *, repair: bool) -> Table:
    """The checksums of what there is of an unfinished point's disk, counted now. repair: its daemon was killed, and its image may name
    blocks that it does not use. Raises Refused for one that cannot be repaired."""
    path = part(folder, disk, point)
    if not os.path.exists(path):
        raise Refused("missing", f"disk {disk} of point {point}", "nothing of it was received")
    if repair:
        qemu_img("check", "-q", "-r", "all", "-f", "qcow2", path, size=os.stat(path).st_size)
    size, below = header(path)
    table = whole(folder, disk, below) if below is not None else Table(size)
    grown = Table(size)
    for found in (table, count(path)):
        for block, blocks, value in found.runs():
            grown.put(block, value, blocks)
    return grown


def verify(folder: str, disk: str, point: str, pace: Pace) -> list[dict[str, Any]]:
    """Where a point's disk differs from its checksums: offset, length, reason."""
    try:
        findings = _Findings(whole(folder, disk, point))
        paths = chain(folder, disk, image(folder, disk, point))
        mapped = extents(paths[0])
    except (Refused, OSError) as error:
        reason = error.reason if isinstance(error, Refused) else str(error)
        return [{"offset": 0, "length": 0, "reason": reason}]
    files = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        for extent in mapped:
            if not _has_data(extent):
                findings.empty(extent)
        wanted = (
            piece
            for extent in mapped
            if _has_data(extent)
            for piece in hashing.pieces(
                files[min(extent["depth"], len(files) - 1)],
                *(extent["offset"], extent["length"], extent["start"] // BLOCK),
            )
        )
        hashing.digests(wanted, pace, findings.compare)
    finally:
        for file in files:
            os.close(file)
    return findings.listed()


# -------------------------------------------------------------------------------------------------------------- changes


def seal(folder: str, disk: str, point: str, known: str = "") -> None:
    """A received image gets its checksums and its name; one that has them is left alone. known: see `count`."""
    source, target = part(folder, disk, point), image(folder, disk, point)
    if os.path.exists(target):
        return
    with hashing.beside(sync, source):  # what the processors do meanwhile does not wait for the medium
        table = count(source, known)
    table.write(f"{sums(folder, disk, point)}.new")
    os.rename(f"{sums(folder, disk, point)}.new", sums(folder, disk, point))
    os.rename(source, target)
    sync(f"{folder}/{disk}")


def drop(folder: str, disk: str, point: str, *, step: Callable[[str], None] = lambda _name: None) -> None:
    """Remove a point's image. What the one above shares with it becomes that one's; broken off anywhere, a repeat ends it.

    The image above is written into this one, which it hides meanwhile, and this one takes its name: so the work is that of the
    changes between the two, not of the whole disk.
    """
    mine, marked = image(folder, disk, point), gone(folder, disk, point)
    if not os.path.exists(marked):
        if not os.path.exists(mine):
            return
        above = _above(folder, disk, point)
        if above is not None:
            table = Table(header(image(folder, disk, above))[0])
            table.read(sums(folder, disk, point))
            table.read(sums(folder, disk, above))
            table.write(f"{sums(folder, disk, above)}.new")
            os.rename(f"{sums(folder, disk, above)}.new", sums(folder, disk, above))
            step("checksums")
        os.rename(sums(folder, disk, point), marked)
        sync(f"{folder}/{disk}")
    step("marked")
    if os.path.exists(mine):
        above = _above(folder, disk, point)
        if above is None:
            os.unlink(mine)
        else:
            upper = image(folder, disk, above)
            qemu_img("commit", "-q", "-d", "-f", "qcow2", upper, size=header(upper)[0])
            step("committed")
            sync(mine)
            os.rename(mine, upper)
        sync(f"{folder}/{disk}")
        step("renamed")
    remove(marked)


def _above(folder: str, disk: str, point: str) -> str | None:
    """The point whose image is over this one's. Raises Refused while one is being received over it."""
    for entry in os.scandir(f"{folder}/{disk}"):
        name, _, kind = entry.name.rpartition(".")
        if kind in ("qcow2", "part") and header(entry.path)[1] == point:
            if kind == "part":
                raise Refused("busy", f"point {point}", "another one is being received over it")
            return name
    return None


def drop_point(folder: str, point: str, *, step: Callable[[str], None] = lambda _name: None) -> None:
    """Drop a point of a set with all of its disks; an absent one is left alone."""
    kept, marked = record(folder, point), dropping(folder, point)
    if os.path.exists(kept):
        os.rename(kept, marked)
        sync(folder)
    if os.path.exists(marked):
        with open(marked, encoding="utf-8") as file:
            named = [disk["id"] for disk in json.load(file)["disks"]]
        for disk in named:
            drop(folder, disk, point, step=step)
            with contextlib.suppress(OSError):
                os.rmdir(f"{folder}/{disk}")
        remove(marked)
        sync(folder)


def recover(folder: str) -> None:
    """End the drops that were broken off."""
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if entry.name.endswith(".dropping"):
                drop_point(folder, entry.name.removesuffix(".dropping"))


def clean(folder: str, *, spared: str = "") -> None:
    """Remove what was received of points that are not complete, but the spared one."""
    recover(folder)
    complete = {spared, *(kept["id"] for kept in records(folder))}
    for disk in disks(folder):
        for entry in sorted(os.scandir(f"{folder}/{disk}"), key=lambda entry: entry.name):
            if entry.name.partition(".")[0] not in complete or entry.name.endswith(".new"):
                remove(entry.path)
        with contextlib.suppress(OSError):
            os.rmdir(f"{folder}/{disk}")
