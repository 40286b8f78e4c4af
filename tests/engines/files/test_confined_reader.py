"""The process that reads a point's files on its host: what it answers, what it cannot do, when it ends."""

import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from built_disks import MIB, ThisHost, Told, call, empty, ext4, populate

from naos.engines.errors import Busy, EngineError, Missing, Unsupported
from naos.engines.files.driver import HostPointFiles
from naos.engines.files.onhost import confined
from naos.engines.files.onhost.browse import FOLDER
from naos.engines.points.driver import HostPointStore
from naos.engines.ports.files import FileEntry, Hole, PlacedDisk


class Kept:
    """A restore point of two layers in a folder, and its reader. raw: its disk; left out, one with ext4."""

    def __init__(self, folder: Path, raw: Path | None = None) -> None:
        self.set_id, self.point, disk, base = (str(uuid.uuid4()) for _ in range(4))
        (folder / "source").mkdir()
        self.told: Told = populate(folder / "source")
        place = folder / "points" / self.set_id / disk
        place.mkdir(parents=True)
        raw = raw or ext4(folder / "raw", folder / "source", size=24 * MIB)
        call("qemu-img", "convert", "-O", "qcow2", raw, place / f"{base}.qcow2")
        top = place / f"{self.point}.qcow2"
        call("qemu-img", "create", "-f", "qcow2", "-b", f"{base}.qcow2", "-F", "qcow2", top)
        kept = {
            "id": self.point,
            "set": self.set_id,
            "number": 1,
            "instant": "2026-01-01T00:00:00+00:00",
            "disks": [{"id": disk, "size": 24 * MIB}],
        }
        (place.parent / f"{self.point}.json").write_text(json.dumps(kept))
        self.disks = [PlacedDisk(disk, "0", "system")]
        self.files = HostPointFiles("vault", ThisHost(), str(folder / "points"))
        self.store = HostPointStore("vault", ThisHost(), "127.0.0.1", str(folder / "points"))

    def pid(self) -> int:
        return int(Path(FOLDER, f"{self.point}.pid").read_text())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    kept = Kept(tmp_path_factory.mktemp("kept"))
    yield kept
    kept.files.end([kept.point])
    assert not list(Path(FOLDER).glob(f"{kept.point}*"))


def test_names_in_other_alphabets_are_read_where_nothing_can_be_loaded_any_more(tmp_path: Path) -> None:
    disk = empty(tmp_path / "fat", 24 * MIB)
    call("mkfs.vfat", "-n", "STICK", disk)
    (tmp_path / "told").write_text("told")
    call("mcopy", "-i", disk, tmp_path / "told", "::/Größe und Maß.txt")
    kept = Kept(tmp_path, disk)
    try:
        (volume,) = kept.files.volumes(kept.set_id, kept.point, kept.disks)
        assert (volume.label, volume.problem) == ("STICK", "")
        page = kept.files.folder(kept.set_id, kept.point, kept.disks, volume="0", path="/", after="", limit=2)
        assert [entry.name for entry in page.entries] == ["Größe und Maß.txt"]
    finally:
        kept.files.end([kept.point])


def test_what_it_reads_is_what_was_written(kept: Kept) -> None:
    (volume,) = kept.files.volumes(kept.set_id, kept.point, kept.disks)
    assert (volume.id, volume.kind, volume.problem) == ("0", "ext4", "")
    page = kept.files.folder(kept.set_id, kept.point, kept.disks, volume="0", path="/etc", after="", limit=2)
    assert ([entry.name for entry in page.entries], page.more) == (["again", "deep"], True)
    found: dict[str, tuple[object, ...]] = {}
    with kept.files.content(kept.set_id, kept.point, kept.disks, volume="0", path="/", again=True) as events:
        last = FileEntry("", "folder")
        for event in events:
            if isinstance(event, FileEntry):
                last = event
                digest, size = hashlib.sha256(), 0
            else:
                data = bytes(event.length) if isinstance(event, Hole) else event
                digest.update(data)
                size += len(data)
            if last.kind == "file":
                found[last.path] = ("file", size, digest.hexdigest())
    assert found == {path: each for path, each in kept.told.items() if each[0] == "file"}
    for path, error in (("/nothing", Missing), ("/absolute", Unsupported), ("/../etc", Unsupported)):
        with pytest.raises(error), kept.files.content(kept.set_id, kept.point, kept.disks, volume="0", path=path):
            pass
    with pytest.raises(Missing):
        kept.files.volumes(kept.set_id, str(uuid.uuid4()), kept.disks)


def test_it_has_no_rights_and_holds_the_point(kept: Kept) -> None:
    kept.files.volumes(kept.set_id, kept.point, kept.disks)
    status = dict(line.split(":", 1) for line in Path(f"/proc/{kept.pid()}/status").read_text().splitlines())
    assert (status["Uid"].split(), status["Seccomp"].strip(), status["NoNewPrivs"].strip()) == (["65534"] * 4, "2", "1")
    assert int(status["CapEff"], 16) == 0
    assert str(Path(f"/proc/{kept.pid()}/root").readlink()) == f"{FOLDER}/empty"
    with pytest.raises(Busy):
        kept.store.drop(kept.set_id, kept.point)


def test_a_reader_that_is_killed_is_told_and_begun_again(kept: Kept) -> None:
    kept.files.volumes(kept.set_id, kept.point, kept.disks)
    with kept.files.content(kept.set_id, kept.point, kept.disks, volume="0", path="/") as events:
        next(events)
        children = Path(f"/proc/{kept.pid()}/task/{kept.pid()}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), 9)
        with pytest.raises(EngineError, match="damaged"):
            list(events)
    os.kill(kept.pid(), 9)
    until = time.monotonic() + 20
    while Path(f"/proc/{kept.pid()}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert kept.files.volumes(kept.set_id, kept.point, kept.disks)[0].kind == "ext4"


def test_a_confined_process_opens_and_starts_nothing(tmp_path: Path) -> None:
    script = f"""
import os, socket, sys
sys.path.insert(0, {str(Path(confined.__file__).parents[4])!r})
from naos.engines.files.onhost import confined
import encodings.utf_16_le
confined.confine({str(tmp_path)!r})
def tried(name, act):
    try:
        act()
    except OSError as error:
        print(name, error.errno)
    else:
        print(name, "done")
tried("open", lambda: os.open("/", os.O_RDONLY))
tried("create", lambda: os.open("x", os.O_WRONLY | os.O_CREAT))
tried("socket", lambda: socket.socket())
tried("program", lambda: os.execv("/bin/true", ["true"]))
tried("kill", lambda: os.kill(1, 0))
tried("root", lambda: os.setuid(0))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [
        f"{name} 1" for name in ("open", "create", "socket", "program", "kill", "root")
    ]
