"""What encryption at rest costs: the array's export of a disk on a volume in clear, and of one on an encrypted volume.

Every measure is `qemu-img bench` with the cache off on a disk that was written whole; the two are run in turn, and the median of the rounds
counts. A ratio of 1.00 is the speed of the disk in clear over the same way. All of it runs on this machine: client, daemon and ciphers
share its processors, so that a rack, where they do not, loses less.

    python benchmarks/encryption.py [--rounds N] [--seconds S] [--folder FOLDER]
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbd_path import ADDRESS, MIB, PORT, SIZE, TIME, LocalHost

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.ports import LunSpec, Provisioning


@dataclass(frozen=True)
class Load:
    """block: KiB."""

    write: bool
    depth: int
    block: int

    def __str__(self) -> str:
        return f"{self.block:4} KiB {'writes' if self.write else 'reads '} depth {self.depth:2}"


LOADS = [
    Load(write, depth, block)
    for block, depths in ((4, (1, 16)), (1024, (4,)))
    for depth in depths
    for write in (False, True)
]


class Way:
    """A volume with a disk, and how its clients reach it."""

    def __init__(self, folder: Path, port: int, *, sealed: bool) -> None:
        self.title = "encrypted" if sealed else "in clear"
        folder.mkdir()
        self.array = StorageDaemonArray("array", LocalHost(), ADDRESS, "file", str(folder))
        key = os.urandom(32)
        self.lun = LunSpec(str(uuid.uuid4()), 640 * MIB, None, port, key=(lambda: key) if sealed else None)
        self.disk_id = str(uuid.uuid4())
        self.url = ""

    def open(self) -> None:
        """Make the volume and its disk, written whole."""
        self.array.create_lun(self.lun)
        self.array.ensure_daemon(self.lun, [])
        self.array.create_disk(self.lun, self.disk_id, SIZE, Provisioning.DYNAMIC)
        address = self.array.export_disk(self.lun, self.disk_id, 1)
        self.url = f"nbd://{address.host}:{address.port}/{address.name}"
        argv = ["qemu-io", "-f", "raw", "-c", f"write -P 1 0 {SIZE}", self.url]
        subprocess.run(argv, check=True, capture_output=True)

    def rate(self, load: Load, seconds: float) -> float:
        """Operations a second."""
        count = 200
        trial = max(self._run(load, count), 0.001)
        count = max(200, int(count / trial * seconds))
        return count / max(self._run(load, count), 0.001)

    def _run(self, load: Load, count: int) -> float:
        block = load.block * 1024
        step = block * (
            7919 if block == 4096 else 1
        )  # a prime number of blocks: every block once, none next to the one before
        argv = [
            "qemu-img",
            "bench",
            "-f",
            "raw",
            "-t",
            "none",
            "-s",
            str(block),
            "-S",
            str(step),
            "-d",
            str(load.depth),
        ]
        argv += ["-c", str(count), *(["-w"] if load.write else []), self.url]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        found = TIME.search(done.stdout)
        if found is None:
            raise SystemExit(done.stdout)
        return float(found[1])

    def close(self) -> None:
        self.array.delete_disk(self.lun.id, self.disk_id)
        self.array.delete_lun(self.lun.id)


def compare(ways: Sequence[Way], rounds: int, seconds: float) -> None:
    for load in LOADS:
        found: dict[str, list[float]] = {way.title: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                found[way.title].append(way.rate(load, seconds))
        clear = statistics.median(found[ways[0].title])
        for title, rates in found.items():
            rate = statistics.median(rates)
            through = rate * load.block / 1024
            print(f"{load}  {title:18} {rate:9,.0f} /s {through:8,.1f} MiB/s  {rate / clear:5.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=None, help="where the volumes lie (default: a temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="en", dir=chosen.folder) as name:
        folder, ways = Path(name), []
        try:
            for number, sealed in enumerate((False, True)):
                ways.append(Way(folder / str(number), PORT + number, sealed=sealed))
                ways[-1].open()
            compare(ways, chosen.rounds, chosen.seconds)
        finally:
            for way in ways:
                way.close()


if __name__ == "__main__":
    main()
