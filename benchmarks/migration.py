"""What a live move costs: naos' own against bare `virsh migrate` of the same guest, in turn, in the same run.

The guest has memory that is not empty and writes a number to its disk, flushed, again and again. Measured from outside: the time from
the order to its return, and the longest time in which no new number reached the storage server (the guest's own clock stands still
when it does). Two blades and a storage server in namespaces, as the hypervisor's tests use them.

    python benchmarks/migration.py [--rounds N] [--filled MIB]

Needs root.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from naos.catalogue.images import tiny
from naos.catalogue.images.network import visiting
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.ports import DomainSpec, MigrationLimits

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from hypervisor_rig import Console, Rig, wait_for

MIB = 2**20
LOOP = "i=0; while :; do i=$((i+1)); echo $i | dd of=/dev/vdb conv=fsync,notrunc 2> /dev/null; done"
LIMITS = MigrationLimits(patience=120.0)  # as a controller sets them when it is told nothing else


class Watch:
    """How long the guest's number stands still, at most, while the context is open; seconds."""

    def __init__(self, file: Path) -> None:
        self._file, self._stop, self.longest = file, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)  # the guest goes on
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        with self._file.open("rb", buffering=0) as file:
            last, since = file.read(32), time.monotonic()
            while not self._stop.is_set():
                file.seek(0)
                now, moment = file.read(32), time.monotonic()
                if now != last:
                    self.longest = max(self.longest, moment - since)
                    last, since = now, moment
                time.sleep(0.001)


def bare(machine: str, source, target, folder: Path) -> None:
    """What an administrator would type, with the addresses of the other blade in the machine's XML."""
    subprocess.run(
        ["virsh", "-q", "-c", source.uri, "migrate", "--live", "--p2p", "--persistent", "--undefinesource",
         "--migrateuri", f"tcp://{target.address}", "--xml", str(folder / "live.xml"),
         "--persistent-xml", str(folder / "kept.xml"), machine, target.uri],
        check=True, capture_output=True,
    )  # fmt: skip


def write_xml(machine: str, source, target, folder: Path) -> None:
    for name, options in (("live.xml", ["--migratable"]), ("kept.xml", ["--inactive"])):
        said = subprocess.run(
            ["virsh", "-q", "-c", source.uri, "dumpxml", "--security-info", *options, machine],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        (folder / name).write_text(said.replace(source.address, target.address), encoding="utf-8")


def compare(folder: Path, rounds: int, filled: int) -> None:
    rig = Rig(folder)
    with ExitStack() as stack:
        stack.callback(rig.stop)
        rig.start()
        stack.enter_context(visiting(rig.center))
        for blade in rig.blades:
            wait_for(blade.answers, f"{blade.name} answers")
        image = tiny.build_tiny(folder / "tiny.qcow2")
        boot = rig.storage.create(0, image.virtual_size, base=image.path)
        data = rig.storage.create(1, 16 * MIB)
        machine = str(uuid.uuid4())
        drivers = [LibvirtHypervisor(blade.name, blade.uri, blade, "tcg") for blade in rig.blades]
        for driver in drivers:
            stack.callback(driver.close)
        drivers[0].define(DomainSpec(machine, "guest", 1, 1, (96 + filled) * MIB, disks=[boot, data]))
        drivers[0].start(machine)
        wait_for(lambda: "naos-tiny:~# " in drivers[0].serial_log(machine), "the guest is up", 120)
        console = Console(drivers[0], machine)
        console.type(f"dd if=/dev/urandom of=/tmp/filled bs=1M count={filled} 2> /dev/null")
        console.type(f"({LOOP}) > /dev/null 2>&1 & true")
        console.close()
        time.sleep(2)
        file, here = rig.storage.file(data.id), 0
        with Watch(file) as watch:
            time.sleep(5)
        print(
            f"guest: {filled} MiB of random memory; longest time between two numbers at rest {watch.longest * 1000:.0f} ms"
        )
        took: dict[str, list[float]] = {"naos": [], "virsh": []}
        still: dict[str, list[float]] = {"naos": [], "virsh": []}
        for number in range(rounds):
            for name in ("naos", "virsh") if number % 2 == 0 else ("virsh", "naos"):
                source, target = rig.blades[here], rig.blades[1 - here]
                write_xml(machine, source, target, folder)
                move: Callable[[], None] = (
                    (lambda here=here: drivers[here].migrate(machine, drivers[1 - here], limits=LIMITS))
                    if name == "naos"
                    else (lambda source=source, target=target: bare(machine, source, target, folder))
                )
                with Watch(file) as watch:
                    began = time.monotonic()
                    move()
                    took[name].append(time.monotonic() - began)
                still[name].append(watch.longest)
                here = 1 - here
                print(
                    f"{name:6} {took[name][-1]:6.2f} s in all, still for {still[name][-1] * 1000:5.0f} ms", flush=True
                )
        for what, found in (("total time", took), ("longest standstill", still)):
            own, other = (statistics.median(found[name]) for name in ("naos", "virsh"))
            print(f"{what}: median {own:.3f} s against {other:.3f} s, ratio {own / other:.2f}")
        drivers[here].power_off(machine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6, help="moves of each kind")
    parser.add_argument("--filled", type=int, default=96, help="MiB of the guest's memory that are not empty")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nm", dir="/var/tmp") as name:
        compare(Path(name), arguments.rounds, arguments.filled)


if __name__ == "__main__":
    main()
