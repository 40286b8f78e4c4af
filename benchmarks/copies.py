"""What copies cost: their speed against other tools', what they take from guests, and the pause of a guest whose disk moves.

1. A disk copied by the array to another of its volumes, against `qemu-img convert` (and `nbdcopy` where it is installed) of the
   same data between the same volumes, in turn.
2. A guest's operations on a limited volume while one of its disks is copied away, and on the volume that the copy fills, against
   the same without a copy.
3. The longest time between two flushed writes of a real guest while its disk moves to another volume, against the longest
   without a move. (Two blades and a storage server in namespaces, as the hypervisor's tests use them.)

    python benchmarks/copies.py [--rounds N] [--size MIB] [--folder FOLDER] [--without-guest]

Needs root.
"""

import argparse
import contextlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from naos.catalogue.images import tiny
from naos.catalogue.images.network import visiting
from naos.engines.array.driver import StorageDaemonArray
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.ports import DiskCopy, DomainSpec, LunSpec, NbdAddress, Provisioning

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from hypervisor_rig import Console, Rig, wait_for
from nbd_path import ADDRESS, LocalHost

MIB = 2**20
THIN = Provisioning.DYNAMIC
LIMIT = 1000  # operations a second of the limited volumes
TIME = re.compile(r"Run completed in ([0-9.]+) seconds")


class Volumes:
    """Two volumes of one array, with the same limit."""

    def __init__(self, folder: Path, iops: int | None, port: int, capacity: int) -> None:
        self.array = StorageDaemonArray("benchmark", LocalHost(), ADDRESS, "file", str(folder))
        self.luns = [LunSpec(str(uuid.uuid4()), capacity, iops, port + number) for number in range(2)]
        for lun in self.luns:
            self.array.create_lun(lun)
            self.array.ensure_daemon(lun, [])

    def disk(self, number: int, size: int) -> tuple[str, NbdAddress]:
        disk_id = str(uuid.uuid4())
        self.array.create_disk(self.luns[number], disk_id, size, THIN)
        return disk_id, self.array.export_disk(self.luns[number], disk_id, 1)

    def begin(self, source: str, disk_id: str, target: NbdAddress, speed: int | None = None) -> Callable[[], None]:
        """Begin a copy from the first volume to the second; returns what waits for its end."""
        wanted = [DiskCopy(source, disk_id, target)]
        self.array.begin_copies(self.luns[0], wanted, speed=speed)

        def wait() -> None:
            while self.array.copies(self.luns[0], wanted).running:
                time.sleep(0.02)
            self.array.finish_copies(self.luns[0], wanted)

        return wait

    def close(self) -> None:
        for lun in self.luns:
            for disk_id in self.array.contents(lun.id).disks:
                self.array.delete_disk(lun.id, disk_id)
            self.array.delete_lun(lun.id)


@contextlib.contextmanager
def volumes(folder: Path, iops: int | None, port: int, capacity: int) -> Iterator[Volumes]:
    made = Volumes(folder, iops, port, capacity)
    try:
        yield made
    finally:
        made.close()


def url(address: NbdAddress) -> str:
    return f"nbd://{address.host}:{address.port}/{address.name}"


def fill(address: NbdAddress, data: Path) -> None:
    run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(data), url(address))


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def same(left: NbdAddress, right: NbdAddress) -> None:
    run("qemu-img", "compare", "-f", "raw", "-F", "raw", url(left), url(right))


def throughput(folder: Path, size: int, rounds: int) -> None:
    data = folder / "data"
    run("dd", "if=/dev/urandom", f"of={data}", "bs=1M", f"count={size // MIB}")
    others = {"qemu-img convert": ["qemu-img", "convert", "-n", "-W", "-m", "16", "-f", "raw", "-O", "raw"]}
    if shutil.which("nbdcopy"):
        others["nbdcopy"] = ["nbdcopy", "--flush"]
    took: dict[str, list[float]] = {name: [] for name in ("ours", *others)}
    with volumes(folder, None, 20831, 3 * size + 512 * MIB) as made:
        source, address = made.disk(0, size)
        fill(address, data)
        for _ in range(rounds):
            for name, seconds in took.items():
                disk_id, target = made.disk(1, size)
                began = time.monotonic()
                if name == "ours":
                    made.begin(source, disk_id, target)()
                else:
                    run(*others[name], url(address), url(target))
                    run("qemu-io", "-f", "raw", "-c", "flush", url(target))
                seconds.append(time.monotonic() - began)
                same(address, target)
                made.array.delete_disk(made.luns[1].id, disk_id)
    data.unlink()
    ours = size / MIB / statistics.median(took["ours"])
    for name in others:
        theirs = size / MIB / statistics.median(took[name])
        print(
            f"copy of {size // MIB} MiB: {ours:,.0f} MiB/s against {theirs:,.0f} MiB/s with {name}, ratio {ours / theirs:.2f}"
        )


def operations(address: NbdAddress, seconds: float) -> float:
    """4 KiB writes a second at depth 16."""
    count = int(LIMIT * seconds)
    argv = ["qemu-img", "bench", "-f", "raw", "-t", "none", "-n", "-s", "4096", "-S", str(4096 * 7919)]
    said = run(*argv, "-d", "16", "-c", str(count), "-w", url(address))
    found = TIME.search(said)
    assert found is not None, said
    return count / float(found[1])


def starvation(folder: Path, size: int) -> None:
    data = folder / "data"
    run("dd", "if=/dev/urandom", f"of={data}", "bs=1M", f"count={size // MIB}")
    with volumes(folder, LIMIT, 20841, 3 * size + 512 * MIB) as made:
        source, address = made.disk(0, size)
        fill(address, data)
        guests = [made.disk(number, 64 * MIB)[1] for number in range(2)]
        for number, where in enumerate(("copied from", "copied to")):
            alone = operations(guests[number], 4)
            disk_id, target = made.disk(1, size)
            pace = size // 6  # bytes a second, so that the copy outlasts the measure
            wait = made.begin(source, disk_id, target, min(LIMIT * MIB // 4, pace))
            during = operations(guests[number], 4)
            wait()
            print(
                f"a guest on the volume {where}: {during:,.0f} operations/s during a copy at {pace / MIB:,.0f} MiB/s against"
                f" {alone:,.0f} without, ratio {during / alone:.2f}"
            )
            made.array.delete_disk(made.luns[1].id, disk_id)
    data.unlink()


def pause(folder: Path, moves: int) -> None:
    rig = Rig(folder)
    try:
        rig.start()
        with visiting(rig.center):
            blade = rig.blades[0]
            wait_for(blade.answers, "the blade answers")
            image = tiny.build_tiny(folder / "tiny.qcow2")
            boot = rig.storage.create(0, image.virtual_size, base=image.path)
            data = rig.storage.create(1, 256 * MIB)
            machine = str(uuid.uuid4())
            hypervisor = LibvirtHypervisor(blade.name, blade.uri, blade, "tcg")
            try:
                hypervisor.define(DomainSpec(machine, "guest", 1, 1, 192 * MIB, disks=[boot, data]))
                hypervisor.start(machine)
                wait_for(lambda: "naos-tiny:~# " in hypervisor.serial_log(machine), "the guest is up", 90)
                console = Console(hypervisor, machine)
                console.type("dd if=/dev/urandom of=/dev/vdb bs=1M count=192 2> /dev/null")
                loop = "while :; do echo x | dd of=/dev/vdb conv=fsync,notrunc 2> /dev/null; cat /proc/uptime; done"
                console.type(f"({loop}) > /tmp/times 2>&1 & true")
                time.sleep(5)
                alone = longest(console)
                took = []
                for _ in range(moves):
                    other = rig.storage.create(1, 256 * MIB)
                    began = time.monotonic()
                    moved = replace(data, source=other.source)
                    hypervisor.mirror_disk(machine, moved)
                    hypervisor.switch_disk(machine, moved)
                    took.append(time.monotonic() - began)
                time.sleep(1)
                during = longest(console)
                print(
                    f"a guest whose disk moves {moves} times ({statistics.median(took):.1f} s each, 192 MiB): longest time between two"
                    f" flushed writes {during * 1000:.0f} ms against {alone * 1000:.0f} ms at rest, ratio {during / alone:.1f}"
                )
                hypervisor.power_off(machine)
            finally:
                hypervisor.close()
    finally:
        rig.stop()


def longest(console: Console) -> float:
    """Seconds; the guest's clock counts hundredths. The list begins anew."""
    program = "NR > 1 && $1 - last > most { most = $1 - last } { last = $1 } END { print most }"
    said = console.type(f"awk '{program}' /tmp/times; : > /tmp/times")
    return float(said.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=512, help="MiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the volumes lie (default: a temporary folder)")
    parser.add_argument("--without-guest", action="store_true", help="leave the third part out")
    arguments = parser.parse_args()
    for part in (
        lambda folder: throughput(folder, arguments.size * MIB, arguments.rounds),
        lambda folder: starvation(folder, arguments.size * MIB),
        *(() if arguments.without_guest else (lambda folder: pause(folder, 3),)),
    ):
        with tempfile.TemporaryDirectory(prefix="nc", dir=arguments.folder) as name:
            part(Path(name))


if __name__ == "__main__":
    main()
