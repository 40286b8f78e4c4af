"""How long a look into a restore point takes: a disk of 20 GiB with many files, as a vault keeps it (an image over another one).

1. The first listing of its root, with everything that has to be begun for it; and the following ones.
2. A folder of 10 000 files with sizes, times and modes, page by page. Reference: debugfs (e2fsprogs) on the same disk as a raw image, which
   is told the place of every file too.
3. The content of one file, against debugfs again.

    nice python benchmarks/file_listing.py [--files N] [--size GIB] [--content MIB] [--folder FOLDER]

Needs root, for the reader gives up its rights. The goal: the first listing in less than 5 s.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from naos.engines.files.driver import HostPointFiles
from naos.engines.ports.files import FileEntry, FilePage, Hole, PlacedDisk

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from built_disks import MIB, ThisHost, call, ext4

Found = TypeVar("Found")
MANY = 10_000


def timed(act: Callable[[], Found]) -> tuple[float, Found]:
    began = time.monotonic()
    found = act()
    return time.monotonic() - began, found


def fill(folder: Path, files: int, content: int) -> None:
    (folder / "many").mkdir(parents=True)
    for number in range(MANY):
        (folder / "many" / f"file-{number:06}").write_text(str(number))
    for number in range(files - MANY):
        if number % 200 == 0:
            place = folder / f"folder-{number // 200:05}"
            place.mkdir()
        (place / f"{number:06}").write_text(str(number))
    with (folder / "content").open("wb") as file:
        for number in range(content):
            file.write(hashlib.sha256(str(number).encode()).digest() * (MIB // 32))


class Bench:
    def __init__(self, folder: Path, size: int) -> None:
        self.raw = folder / "raw"
        self.set_id, self.point, disk, base = (str(uuid.uuid4()) for _ in range(4))
        ext4(self.raw, folder / "source", size=size)
        place = folder / "points" / self.set_id / disk
        place.mkdir(parents=True)
        call("qemu-img", "convert", "-O", "qcow2", self.raw, place / f"{base}.qcow2")
        call("qemu-img", "create", "-f", "qcow2", "-b", f"{base}.qcow2", "-F", "qcow2", place / f"{self.point}.qcow2")
        kept = {"id": self.point, "set": self.set_id, "number": 1, "instant": "", "disks": [{"id": disk, "size": size}]}
        (place.parent / f"{self.point}.json").write_text(json.dumps(kept))
        self.files = HostPointFiles("vault", ThisHost(), str(folder / "points"))
        self.disks = [PlacedDisk(disk, "0", "system")]

    def page(self, path: str, after: str = "", limit: int = 1000) -> FilePage:
        return self.files.folder(self.set_id, self.point, self.disks, volume="0", path=path, after=after, limit=limit)

    def whole(self, path: str) -> list[FileEntry]:
        found: list[FileEntry] = []
        while True:
            page = self.page(path, found[-1].name if found else "")
            found += page.entries
            if not page.more:
                return found

    def content(self, path: str) -> str:
        digest = hashlib.sha256()
        with self.files.content(self.set_id, self.point, self.disks, volume="0", path=path) as events:
            for event in events:
                if isinstance(event, Hole):
                    digest.update(bytes(event.length))
                elif isinstance(event, bytes):
                    digest.update(event)
        return digest.hexdigest()

    def debugfs(self, words: str) -> bytes:
        done = subprocess.run(["debugfs", "-R", words, str(self.raw)], check=True, capture_output=True)
        return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=20, help="GiB of the disk")
    parser.add_argument("--content", type=int, default=128, help="MiB of one file")
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="naos-files-") as name:
        folder = Path(name)
        fill(folder / "source", max(given.files, MANY), given.content)
        bench = Bench(folder, given.size * 1024 * MIB)
        try:
            first, root = timed(lambda: bench.page("/"))
            again, _ = timed(lambda: bench.page("/"))
            reference, _ = timed(lambda: bench.debugfs("ls -l /"))
            print(f"{given.size} GiB, {max(given.files, MANY)} files, {len(root.entries)} in the root")
            print(f"first listing      {first:7.3f} s   (goal: under 5 s)")
            print(f"following listing  {again:7.3f} s   over debugfs ({reference:.3f} s): {again / reference:.2f}")
            many, found = timed(lambda: bench.whole("/many"))
            reference, said = timed(lambda: bench.debugfs("ls -l /many"))
            assert len(found) == MANY
            assert said.count(b"file-") == MANY
            print(f"{MANY} files       {many:7.3f} s   over debugfs ({reference:.3f} s): {many / reference:.2f}")
            read, digest = timed(lambda: bench.content("/content"))
            reference, said = timed(lambda: bench.debugfs("cat /content"))
            assert digest == hashlib.sha256(said).hexdigest()
            speed = given.content / read
            print(f"content            {speed:7.0f} MiB/s, hashed; over debugfs ({given.content / reference:.0f} MiB/s): "
                  f"{reference / read:.2f}")  # fmt: skip
        finally:
            bench.files.end([bench.point])


if __name__ == "__main__":
    main()
