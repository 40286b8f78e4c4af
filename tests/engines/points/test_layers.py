"""The images of points on their host: checksums that find a flipped bit, drops that can be broken off anywhere."""

import hashlib
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from naos.engines.points.onhost import keeper, layers
from naos.engines.points.onhost.layers import Pace, Refused
from naos.engines.points.onhost.sums import BLOCK, UNKNOWN, ZEROES, Damaged, Table, digest

SIZE = 4 * 2**20 + 4096  # the last block is short


class Set:
    """A set of one disk, whose points are made without daemons."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.disk = str(folder), str(uuid.uuid4())
        (folder / self.disk).mkdir(parents=True)
        self.points: list[str] = []
        self.contents: dict[str, str] = {}

    def add(self, *writes: str) -> str:
        """A point over the last one. writes: commands of qemu-io."""
        point = str(uuid.uuid4())
        part = layers.part(self.folder, self.disk, point)
        over = ["-b", f"{self.points[-1]}.qcow2", "-F", "qcow2"] if self.points else []
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, part, str(SIZE)], check=True)
        words = [word for line in writes for word in ("-c", line)]
        subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, part], check=True, capture_output=True)
        layers.seal(self.folder, self.disk, point)
        kept = {
            "id": point,
            "set": "s",
            "number": len(self.points),
            "instant": "",
            "disks": [{"id": self.disk, "size": SIZE}],
        }
        layers.write_whole(layers.record(self.folder, point), json.dumps(kept))
        self.points.append(point)
        self.contents[point] = self.read(point)
        return point

    def read(self, point: str) -> str:
        raw = f"{self.folder}/raw"
        image = layers.image(self.folder, self.disk, point)
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw], check=True)
        return hashlib.sha256(Path(raw).read_bytes()).hexdigest()

    def check(self) -> None:
        """What is left is what was taken, with checksums that hold."""
        left = [kept["id"] for kept in layers.records(self.folder)]
        for point in left:
            assert self.read(point) == self.contents[point]
            assert layers.verify(self.folder, self.disk, point, Pace(None)) == []

    def files(self) -> set[str]:
        return {path.name for path in Path(self.folder, self.disk).iterdir()}


@pytest.fixture
def made(tmp_path: Path) -> Set:
    """Four points: written, overwritten, made zero, discarded."""
    made = Set(tmp_path / "set")
    made.add("write -P 1 0 1M", "write -P 2 2M 1M", f"write -P 3 {SIZE - 4096} 4096")
    made.add("write -P 4 512K 1M", "write -z 2M 512K")
    made.add("write -P 5 64K 64K", "write -P 6 3M 128K", "discard 0 64K")
    made.add("write -P 7 2M 64K")
    return made


def test_every_point_is_what_it_was_and_a_flipped_bit_is_found(made: Set) -> None:
    made.check()
    image = Path(layers.image(made.folder, made.disk, made.points[0]))
    data = bytearray(image.read_bytes())
    data[data.index(b"\2" * BLOCK) + 700000] ^= 8
    image.write_bytes(data)
    for point in made.points:
        (found,) = layers.verify(made.folder, made.disk, point, Pace(None))
        assert (found["length"], found["offset"] % BLOCK) == (BLOCK, 0)
        assert 2 * 2**20 <= found["offset"] < 3 * 2**20
    sums = Path(layers.sums(made.folder, made.disk, made.points[1]))
    sums.write_bytes(sums.read_bytes()[:-40])
    (found,) = layers.verify(made.folder, made.disk, made.points[3], Pace(None))
    assert "sums" in found["reason"]
    assert layers.verify(made.folder, made.disk, made.points[0], Pace(None))[0]["length"] == BLOCK


class Killed(Exception):
    pass


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_drop_that_is_broken_off_anywhere_ends_when_it_is_repeated(made: Set, which: int) -> None:
    steps: list[str] = []
    point = made.points[which]

    def kill_at(number: int) -> Any:
        seen: list[str] = []

        def step(name: str) -> None:
            seen.append(name)
            if len(seen) > number:
                raise Killed(name)

        return step

    for number in range(6):
        try:
            layers.drop_point(made.folder, point, step=kill_at(number))
        except Killed as error:
            steps.append(str(error))
            made.check()  # nothing that could be restored has stopped being so
        else:
            break
    assert steps
    layers.recover(made.folder)
    assert made.files() == {f"{left}.{kind}" for left in made.points if left != point for kind in ("qcow2", "sums")}
    made.check()
    for left in made.points:
        layers.drop_point(made.folder, left)
        made.check()
    assert layers.records(made.folder) == []
    assert layers.disks(made.folder) == []


def test_space_is_freed_and_what_was_received_in_vain_goes(made: Set) -> None:
    before = sum(path.stat().st_blocks for path in Path(made.folder, made.disk).iterdir())
    for point in made.points[:-1]:
        layers.drop_point(made.folder, point)
    after = sum(path.stat().st_blocks for path in Path(made.folder, made.disk).iterdir())
    assert after < before
    (Path(made.folder, made.disk) / f"{uuid.uuid4()}.part").write_bytes(b"half")
    (Path(made.folder, made.disk) / f"{uuid.uuid4()}.sums").write_bytes(b"half")
    layers.clean(made.folder)
    assert made.files() == {f"{made.points[-1]}.qcow2", f"{made.points[-1]}.sums"}
    made.check()


def test_a_point_that_one_is_received_over_stays(made: Set) -> None:
    part = layers.part(made.folder, made.disk, str(uuid.uuid4()))
    over = ["-b", f"{made.points[-1]}.qcow2", "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *over, part, str(SIZE)], check=True)
    with pytest.raises(Refused) as caught:
        layers.drop(made.folder, made.disk, made.points[-1])
    assert caught.value.kind == "busy"
    made.check()


def test_checksums_survive_their_file(tmp_path: Path) -> None:
    table = Table(SIZE)
    table.put(0, digest(b"x" * BLOCK))
    table.put(3, ZEROES, 20)
    table.put(64, digest(b"y" * 4096))
    table.put(65, digest(b"z" * BLOCK))  # beyond the end
    table.write(str(tmp_path / "a"))
    again = Table(SIZE)
    again.read(str(tmp_path / "a"))
    assert list(again.runs()) == list(table.runs())
    assert (again.get(1), again.get(22), again.get(23)) == (UNKNOWN, ZEROES, UNKNOWN)
    assert digest(bytes(BLOCK)) == digest(bytes(100)) == ZEROES
    for at in (3, 40, -1):
        data = bytearray((tmp_path / "a").read_bytes())
        data[at] ^= 1
        (tmp_path / "b").write_bytes(data)
        with pytest.raises(Damaged):
            Table(SIZE).read(str(tmp_path / "b"))


def test_calls_refuse_in_words(tmp_path: Path) -> None:
    root = {"root": str(tmp_path), "mount": None, "set": str(uuid.uuid4()), "point": str(uuid.uuid4())}
    assert keeper.answer({**root, "call": "points"}) == {"found": []}
    assert keeper.answer({**root, "call": "seal", "instant": ""})["refused"][0] == "missing"
    assert keeper.answer({**root, "call": "drop"}) == {"found": None}
    mounted = {**root, "mount": str(tmp_path), "call": "sets"}
    assert keeper.answer(mounted)["refused"][0] == "unreachable"


@pytest.mark.parametrize("doubt", ["its host was started anew", "its medium failed"])
def test_what_was_received_in_doubt_is_not_gone_on_from(made: Set, doubt: str) -> None:
    """Until a point is sealed nothing waits for the medium: after a power cut, or when it fails, what was received can be anything."""
    folder, point = Path(made.folder), str(uuid.uuid4())
    part = layers.part(made.folder, made.disk, point)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", part, str(SIZE)], check=True)
    disk = {"id": made.disk, "size": SIZE, "base": None, "since": None}
    session = {"point": point, "disks": [disk], "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    (folder / "receiving").mkdir()
    (folder / "receiving" / "lock").touch()
    kept = folder / "receiving" / "session.json"
    kept.write_text(json.dumps(session))
    asked = {
        "root": str(folder.parent),
        "mount": None,
        "set": folder.name,
        "point": point,
        "file": "f",
        "disk": made.disk,
    }
    assert keeper.answer({**asked, "call": "unfinished"})["found"]["point"] == point
    if doubt == "its medium failed":
        (folder / "receiving" / "lost").touch()
    else:
        kept.write_text(json.dumps({**session, "boot": "another"}))
        assert keeper.answer({**asked, "call": "checksums"})["refused"][0] == "missing"
    assert keeper.answer({**asked, "call": "unfinished"}) == {"found": None}
    assert keeper.answer({**asked, "call": "seal", "instant": ""})["refused"][0] == "failed"
    assert [record["id"] for record in layers.records(made.folder)] == made.points
