"""Real file systems in image files, made without the kernel; what is in them is told beside."""

import hashlib
import os
import random
import stat
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from naos.engines.files.onhost import names
from naos.engines.ports import Completed

MIB = 2**20
Told = dict[str, tuple[object, ...]]


class ThisHost:
    """This machine, as a host."""

    name = "here"

    def run(self, argv: Sequence[str], *, stdin=b"", timeout=30.0, check=True) -> Completed:
        done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=check)
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def socket(self, path: str) -> Iterator[str]:
        yield path


def call(*argv: object) -> None:
    words, speech = [str(word) for word in argv], {**os.environ, "LC_ALL": "C.UTF-8"}
    subprocess.run(words, check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, env=speech)


def populate(folder: Path, *, plain: bool = False) -> Told:
    """Files of every sort; plain: only what every file system can hold. Returns what `told` does."""
    chance = random.Random(11)
    (folder / "etc/deep/er").mkdir(parents=True)
    (folder / "many").mkdir()
    (folder / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (folder / "etc/deep/er/été ☃.txt").write_text("snow\n")
    (folder / "100%").write_text("a sign of its own")
    (folder / "empty").touch()
    (folder / "tiny").write_text("x")
    (folder / "random").write_bytes(chance.randbytes(3 * MIB + 17))
    (folder / "words").write_bytes(b"the same words again " * 60000)
    for number in range(400):
        (folder / "many" / f"file-{number:04}-of-a-long-name").write_text(str(number))
    if not plain:
        (folder / os.fsdecode(b"bad\xff\xfename")).write_text("no text")
        (folder / "two\nlines").write_text("a newline")
        (folder / "etc/again").hardlink_to(folder / "etc/hosts")
        (folder / "absolute").symlink_to("/etc/passwd")
        (folder / "upwards").symlink_to("../../../../outside")
        (folder / "long").symlink_to("a" * 180)
        os.mkfifo(folder / "pipe")
        with (folder / "sparse").open("wb") as file:
            file.seek(40 * MIB)
            file.write(b"end")
        (folder / "etc/hosts").chmod(0o640)
    return told(folder)


def told(folder: Path) -> Told:
    """By path as the reader writes it: sort, and size and hash, or target."""
    found: Told = {}
    base = os.fsencode(folder)
    for parent, folders, files in os.walk(base):
        for name in folders + files:
            path = parent + b"/" + name
            status = os.lstat(path)
            shown = names.path(os.path.relpath(path, base).split(b"/"))
            if stat.S_ISREG(status.st_mode):
                found[shown] = (
                    "file",
                    status.st_size,
                    hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest(),
                )
            elif stat.S_ISLNK(status.st_mode):
                found[shown] = ("link", os.fsencode(Path(os.fsdecode(path)).readlink()).decode())
            else:
                found[shown] = ("folder",) if stat.S_ISDIR(status.st_mode) else ("skipped",)
    return found


def empty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def ext4(path: Path, source: Path, *options: str, size: int = 128 * MIB) -> Path:
    call("mkfs.ext4", "-q", "-F", "-L", "built", *options, "-d", source, empty(path, size))
    return path


def joined(path: Path, parts: Sequence[tuple[int, Path]], size: int) -> Path:
    """A disk with the contents of files at places; what is there stays."""
    with path.open("r+b" if path.exists() else "w+b") as target:
        target.truncate(max(size, path.stat().st_size))
        for at, part in parts:
            with part.open("rb") as source:
                offset = 0
                while chunk := source.read(MIB):
                    if chunk.strip(b"\0"):
                        target.seek(at + offset)
                        target.write(chunk)
                    offset += len(chunk)
    return path


def gpt(path: Path, parts: Sequence[Path]) -> Path:
    """One partition each, from 1 MiB on."""
    at, words, places = MIB, [], []
    for number, part in enumerate(parts, 1):
        size = part.stat().st_size
        words += ["-n", f"{number}:{at // 512}:{(at + size) // 512 - 1}", "-c", f"{number}:part-{number}"]
        places.append((at, part))
        at += size
    empty(path, at + MIB)
    call("sgdisk", *words, path)
    return joined(path, places, at + MIB)


def mbr(path: Path, first: Path, logical: Sequence[Path]) -> Path:
    """A primary partition, and logical ones in an extended one."""
    at = MIB
    table = bytearray(512)
    sectors = first.stat().st_size // 512
    struct.pack_into("<B3xB3xII", table, 446, 0, 0x83, at // 512, sectors)
    places = [(at, first)]
    extended = at // 512 + sectors
    struct.pack_into("<B3xB3xII", table, 462, 0, 0x0F, extended, 2**20)
    table[510:] = b"\x55\xaa"
    tables = [(0, bytes(table))]
    here = extended
    for number, part in enumerate(logical):
        sectors = part.stat().st_size // 512
        small = bytearray(512)
        struct.pack_into("<B3xB3xII", small, 446, 0, 0x83, 2048, sectors)
        after = here + 2048 + sectors
        if number + 1 < len(logical):
            struct.pack_into("<B3xB3xII", small, 462, 0, 0x05, after - extended, sectors)
        small[510:] = b"\x55\xaa"
        tables.append((here * 512, bytes(small)))
        places.append(((here + 2048) * 512, part))
        here = after
    joined(path, places, here * 512 + MIB)
    with path.open("r+b") as file:
        for at, data in tables:
            file.seek(at)
            file.write(data)
    return path


def physical_volume(path: Path, group: str, ids: tuple[str, str, str], content: Path, *, striped: bool = False) -> Path:
    """A disk that is a physical volume of LVM with one logical volume, `root`. ids: of the physical volume, the group, the volume."""
    extent, start = 4 * MIB, MIB
    count = -(-content.stat().st_size // extent)
    pieces = [(0, count)] if not striped else [(0, count // 2), (count // 2, count - count // 2)]

    def hyphened(text: str) -> str:
        lengths, at, parts = (6, 4, 4, 4, 4, 4, 6), 0, []
        for length in lengths:
            parts.append(text[at : at + length])
            at += length
        return "-".join(parts)

    # the second half of a volume in two segments stands before the first one on the disk
    where = [0] if not striped else [pieces[1][1] + 3, 0]
    segments = "".join(
        f'segment{number} {{\nstart_extent = {first}\nextent_count = {length}\ntype = "striped"\nstripe_count = 1\n'
        f'stripes = [\n"pv0", {place}\n]\n}}\n'
        for number, ((first, length), place) in enumerate(zip(pieces, where, strict=True), 1)
    )
    text = (
        f'{group} {{\nid = "{hyphened(ids[1])}"\nseqno = 3\nformat = "lvm2"\nstatus = ["RESIZEABLE", "READ", "WRITE"]\n'
        f'extent_size = {extent // 512}\nphysical_volumes {{\npv0 {{\nid = "{hyphened(ids[0])}"\n'
        f'device = "/dev/vda" # a hint only\npe_start = {start // 512}\npe_count = {count + 8}\n}}\n}}\n'
        f'logical_volumes {{\nroot {{\nid = "{hyphened(ids[2])}"\nstatus = ["READ", "WRITE", "VISIBLE"]\n'
        f'segment_count = {len(pieces)}\n{segments}}}\n}}\n}}\n# Generated by the tests\ncontents = "Text Format Volume Group"\n'
    ).encode() + b"\0"
    label = bytearray(512)
    label[:8] = b"LABELONE"
    struct.pack_into("<QII8s", label, 8, 1, 0, 32, b"LVM2 001")
    struct.pack_into("<32sQ", label, 32, ids[0].encode(), 0)
    struct.pack_into("<QQQQ", label, 72, start, 0, 0, 0)
    struct.pack_into("<QQQQ", label, 104, 4096, start - 4096, 0, 0)
    head = bytearray(512)
    struct.pack_into("<I16sIQQ", head, 0, 0, b" LVM2 x[5A%r0N*>", 1, 4096, start - 4096)
    struct.pack_into("<QQII", head, 40, 512, len(text), 0, 0)
    size = start + (count + 8) * extent
    data = content.read_bytes()
    empty(path, size)
    with path.open("r+b") as file:
        for at, piece in ((512, bytes(label)), (4096, bytes(head)), (4608, text)):
            file.seek(at)
            file.write(piece)
        for (first, length), place in zip(pieces, where, strict=True):
            file.seek(start + place * extent)
            file.write(data[first * extent : (first + length) * extent])
    return path


def read_tree(point: object, volume: str, path: str = "/") -> Iterator[tuple[str, tuple[object, ...]]]:
    """What the reader says of a tree, in the form of `told`."""
    from naos.engines.files.onhost import requests

    found: Told = {}

    def send(answer, pieces) -> None:
        kind = answer["kind"]
        if kind == "broken":
            found[answer["path"]] = ("broken", answer["note"])
        elif "same" in answer:
            found[answer["path"]] = found[answer["same"]]
        elif pieces is not None:
            digest, total = hashlib.sha256(), 0
            for length, data in pieces:
                assert data is None or len(data) == length
                digest.update(bytes(length) if data is None else data)
                total += length
            assert total == answer["size"]
            found[answer["path"]] = ("file", total, digest.hexdigest())
        else:
            found[answer["path"]] = ("link", answer["target"]) if kind == "link" else (kind,)

    requests.content(point, {"volume": volume, "path": path}, send)
    found.pop("/", None)
    found.pop("/lost+found", None)
    return iter(found.items())
