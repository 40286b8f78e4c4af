"""What encryption costs: the array's export of a disk on a volume in clear, against one on an encrypted volume, and against the way
between blades and arrays with mutual TLS.

Disks were written whole; what is compared is run in turn, and the median of the rounds counts. A ratio of 1.00 is the speed of the disk in
clear. Encryption at rest is measured by `qemu-img bench` with the cache off. That tool knows no TLS, so the way is measured by `qemu-io`, which
asks for so many requests and waits for all of them, again and again. All of it runs on this machine: client, daemon and ciphers
share its processors, so that a rack, where they do not, loses less.

    python benchmarks/encryption.py [--rounds N] [--seconds S] [--only rest|way] [--folder FOLDER]
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbd_path import ADDRESS, MIB, PORT, SIZE, TIME, LocalHost

from naos.engines.array.driver import StorageDaemonArray
from naos.engines.ports import LunSpec, Provisioning
from naos.inventory import certificates
from naos.inventory.model import Inventory


@dataclass(frozen=True)
class Load:
    """block: KiB."""

    write: bool
    depth: int
    block: int

    def __str__(self) -> str:
        return f"{self.block:4} KiB {'writes' if self.write else 'reads '} depth {self.depth:2}"


ARRAY = "array1"
LOADS = [
    Load(write, depth, block)
    for block, depths in ((4, (1, 16)), (1024, (4,)))
    for depth in depths
    for write in (False, True)
]


class Way:
    """A volume with a disk, and how its clients reach it. tls: the folder of certificates that both sides have."""

    def __init__(self, folder: Path, port: int, *, sealed: bool = False, tls: Path | None = None) -> None:
        self.title = "encrypted" if sealed else "in clear" if tls is None else "mutual TLS"
        self.tls = tls
        folder.mkdir()
        self.array = StorageDaemonArray(
            ARRAY, LocalHost(), ADDRESS, "file", str(folder), None if tls is None else str(tls)
        )
        key = os.urandom(32)
        sealing = (lambda: key) if sealed else None
        self.lun = LunSpec(str(uuid.uuid4()), 640 * MIB, None, port, key=sealing, clients=(ARRAY,))
        self.disk_id = str(uuid.uuid4())
        self.url = ""
        self.client: list[str] = []  # qemu-io, on this disk

    def open(self) -> None:
        """Make the volume and its disk, written whole."""
        self.array.create_lun(self.lun)
        self.array.ensure_daemon(self.lun, [])
        self.array.create_disk(self.lun, self.disk_id, SIZE, Provisioning.DYNAMIC)
        address = self.array.export_disk(self.lun, self.disk_id, 1)
        self.url = f"nbd://{address.host}:{address.port}/{address.name}"
        options = f"driver=nbd,host={address.host},port={address.port},export={address.name}"
        self.client = ["qemu-io", "--image-opts", options]
        if self.tls is not None:
            secret = f"tls-creds-x509,id=own,endpoint=client,dir={self.tls}"
            self.client = ["qemu-io", "--object", secret, "--image-opts", f"{options},tls-creds=own"]
        self.ask([f"write -P 1 0 {SIZE}"])

    def rate(self, load: Load, seconds: float) -> float:
        """Operations a second."""
        count = 200
        trial = max(self._run(load, count), 0.001)
        count = max(200, int(count / trial * seconds))
        return count / max(self._run(load, count), 0.001)

    def ask(self, lines: Sequence[str]) -> float:
        """Have qemu-io do these; seconds, the connection's beginning and end included."""
        began = time.monotonic()
        done = subprocess.run(self.client, input="\n".join(lines), capture_output=True, text=True, check=True)
        took = time.monotonic() - began
        if "failed" in done.stdout + done.stderr:
            raise SystemExit(done.stdout + done.stderr)
        return took

    def rate_by_turns(self, load: Load, seconds: float) -> float:
        """Operations a second, so many at once and then the next; without what connecting costs."""
        few = 16 * load.depth
        base = self._turns(load, few)
        trial = max(self._turns(load, few * 4) - base, 0.001)
        count = max(few * 2, int(few * 3 / trial * seconds) // load.depth * load.depth)
        return count / max(self._turns(load, count + few) - base, 0.001)

    def _turns(self, load: Load, count: int) -> float:
        block, verb = load.block * 1024, "aio_write -q -P 2" if load.write else "aio_read -q"
        lines = []
        for number in range(count):
            lines.append(f"{verb} {number * (7919 if load.block == 4 else 1) * block % SIZE} {block}")
            if number % load.depth == load.depth - 1:
                lines.append("aio_flush")
        return self.ask(lines)

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


def compare(ways: Sequence[Way], rounds: int, measure: Callable[[Way, Load], float]) -> None:
    for load in LOADS:
        found: dict[str, list[float]] = {way.title: [] for way in ways}
        for _ in range(rounds):
            for way in ways:
                found[way.title].append(measure(way, load))
        clear = statistics.median(found[ways[0].title])
        for title, rates in found.items():
            rate = statistics.median(rates)
            through = rate * load.block / 1024
            print(f"{load}  {title:18} {rate:9,.0f} /s {through:8,.1f} MiB/s  {rate / clear:5.2f}", flush=True)


@contextlib.contextmanager
def opened(*ways: Way) -> Iterator[Sequence[Way]]:
    done: list[Way] = []
    try:
        for way in ways:
            done.append(way)
            way.open()
        yield ways
    finally:
        for way in done:
            way.close()


def certified(folder: Path) -> Path:
    """The certificates of an array, which is its own client here."""
    host = {"access": {"driver": "ssh", "target": "root@array1"}, "address": ADDRESS}
    volumes = {"backing": "file", "path": "/srv/luns", "capacity": 10**12}
    zones = [{"name": "R", "zones": [{"name": "Z1"}]}]
    arrays = [{"name": ARRAY, "zone": "Z1", **host, **volumes}]
    inventory = Inventory.model_validate({"regions": zones, "arrays": arrays, "blades": []})
    list(certificates.issue(inventory, folder))
    return folder / "arrays" / ARRAY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", choices=("rest", "way"), help="encryption at rest, or the way")
    parser.add_argument("--folder", type=Path, default=None, help="where the volumes lie (default: a temporary folder)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="en", dir=chosen.folder) as name:
        folder = Path(name)
        if chosen.only != "way":
            ways = (Way(folder / "clear", PORT), Way(folder / "sealed", PORT + 1, sealed=True))
            with opened(*ways):
                compare(ways, chosen.rounds, lambda way, load: way.rate(load, chosen.seconds))
        if chosen.only != "rest":
            tls = certified(folder / "certificates")
            ways = (Way(folder / "plain", PORT + 2), Way(folder / "tls", PORT + 3, tls=tls))
            with opened(*ways):
                compare(ways, chosen.rounds, lambda way, load: way.rate_by_turns(load, chosen.seconds))


if __name__ == "__main__":
    main()
