"""What the copy engine costs: bytes on the wire over bytes changed, its speed against other tools', what guests' writes wait for.

1. A disk's increment: what crosses the network (counted by the kernel, both ways, TLS and all) over what was changed.
2. A whole disk, and an increment of half of it, against `qemu-img convert` (and `nbdcopy` where it is installed) of the same data
   between the same places, in turn; the engine's copy is encrypted, flushed and checksummed, theirs is not.
3. A client's flushed 4 KiB writes while a disk is copied, against the same without a copy: the 99th percentiles.

    python benchmarks/copy_engine.py [--size MIB] [--rounds N] [--folder FOLDER]

Needs root. Everything happens in a network namespace of its own.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from naos.protection import copying

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
from array_rig import MIB, ArrayHost, url
from test_points import VAULT, Bench

WRITER = """
import socket, struct, sys, time
address, port, name, size, count = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), int(sys.argv[4]), int(sys.argv[5])
line = socket.create_connection((address, port))
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def take(length):
    data = b""
    while len(data) < length:
        data += line.recv(length - len(data))
    return data
take(18)
line.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
take(10)
times, offset = [], 0
for number in range(count):
    offset = (offset + 7919 * 4096) % (size - 4096) // 4096 * 4096
    began = time.perf_counter()
    line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, number, offset, 4096) + bytes([number % 255 + 1]) * 4096)
    take(16)
    line.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 3, number, 0, 0))
    take(16)
    times.append(time.perf_counter() - began)
times.sort()
print(times[len(times) * 99 // 100], times[len(times) // 2])
"""


def traffic(host: ArrayHost) -> int:
    """Bytes that the namespace's loopback has carried."""
    lines = host.run(["cat", "/proc/net/dev"]).stdout.splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("lo:"))


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def fill(bench: Bench, address, first: int, count: int, step: int = 1) -> None:
    """Write pieces of 1 MiB that do not compress or repeat."""
    source = bench.rig.folder / "random"
    with source.open("wb") as file, Path("/dev/urandom").open("rb") as random:
        file.write(random.read(count * MIB))
    commands = [f"write -q -s {source} {(first + number * step) * MIB} {MIB}" for number in range(count)]
    bench.rig.io(address, *commands, "flush")
    source.unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    os.environ["PATH"] = (
        f"/usr/bin:{os.environ['PATH']}"  # hosts have the system's python3, not one that first looks for another
    )
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {given.size} MiB, {given.rounds} rounds")
    folder = Path(tempfile.mkdtemp(prefix="ce", dir=given.folder))
    (folder / "a").mkdir()
    (folder / "v").mkdir()
    bench = Bench(folder / "a", folder / "v")
    copying.luns.spec = bench.spec  # type: ignore[assignment]
    try:
        measure(bench, given.size, given.rounds)
    finally:
        bench.rig.close()
        shutil.rmtree(folder)


def measure(bench: Bench, size: int, rounds: int) -> None:
    lun = bench.lun(capacity=4 * size * MIB + 512 * MIB)
    disk, address = bench.disk(lun, size * MIB)
    fill(bench, address, 0, size)
    tools = {"qemu-img convert": lambda: convert(bench, lun, address, size)}
    if shutil.which("nbdcopy"):
        tools["nbdcopy"] = lambda: nbdcopy(bench, lun, address, size)
    seconds: dict[str, list[float]] = {name: [] for name in ("the engine, whole", "the engine, half", *tools)}
    wire = []
    for _ in range(rounds):
        set_id = str(uuid.uuid4())
        seconds["the engine, whole"].append(timed(lambda: bench.take(set_id, lun, disk)))  # noqa: B023 - called at once
        fill(bench, address, 0, size // 2, 2)
        before = traffic(bench.rig.host)
        seconds["the engine, half"].append(timed(lambda: bench.take(set_id, lun, disk)))  # noqa: B023 - called at once
        wire.append((traffic(bench.rig.host) - before) / (size // 2 * MIB))
        copying.forget(bench.world, VAULT, set_id, [copying.Part(lun.id, disk)])
        for name, run in tools.items():
            seconds[name].append(run())
    set_id = str(uuid.uuid4())
    bench.take(set_id, lun, disk)
    nothing = min(timed(lambda: bench.take(set_id, lun, disk)) for _ in range(3))
    print(f"bytes on the wire over bytes changed: {statistics.median(wire):.3f} (wanted: at most 1.05)")
    print(f"an increment of nothing: {nothing:.2f} s")
    whole = statistics.median(seconds["the engine, whole"])
    print(f"the engine, {size} MiB whole: {size / whole:.0f} MiB/s; half of it as an increment: "
          f"{size / 2 / statistics.median(seconds['the engine, half']):.0f} MiB/s")  # fmt: skip
    for name in tools:
        theirs = statistics.median(seconds[name])
        pairs = zip(seconds[name], seconds["the engine, whole"], strict=True)
        ratio = statistics.median(one / ours for one, ours in pairs)
        print(
            f"{name}: {size / theirs:.0f} MiB/s; the engine's throughput over it, in the median round: {ratio:.2f} (wanted: at least 0.9)"
        )
    latencies(bench, lun, disk, address, size)


def convert(bench: Bench, lun, address, size: int) -> float:
    target, there = bench.disk(lun, size * MIB)
    argv = ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", "-W", url(address), url(there)]
    found = timed(lambda: bench.rig.host.run(argv, timeout=600))
    bench.rig.array.delete_disk(lun.id, target)
    return found


def nbdcopy(bench: Bench, lun, address, size: int) -> float:
    target, there = bench.disk(lun, size * MIB)
    found = timed(lambda: bench.rig.host.run(["nbdcopy", "--flush", url(address), url(there)], timeout=600))
    bench.rig.array.delete_disk(lun.id, target)
    return found


def latencies(bench: Bench, lun, disk: str, address, size: int) -> None:
    def write(count: int) -> tuple[float, float]:
        words = (address.host, str(address.port), address.name, str(size * MIB), str(count))
        slow, usual = bench.rig.host.run(["python3", "-c", WRITER, *words], timeout=300).stdout.split()
        return float(slow), float(usual)

    write(500)
    alone, beside = [], []
    for _ in range(TURNS):
        alone.append(write(WRITES))
        order = bench.order(str(uuid.uuid4()), lun, disk, speed=SPEED, yielding=True)
        copying.prepare(bench.world, order)
        copying.begin(bench.world, order)
        beside.append(write(WRITES))
        if not copying.look(bench.world, order).running:
            print("the copy ended before the writes did: a larger --size says more")
        copying.cancel(bench.world, order)
        copying.forget(bench.world, VAULT, order.set_id, order.parts)
    p99, median = (statistics.median(found[at] for found in alone) for at in (0, 1))
    p99_beside, median_beside = (statistics.median(found[at] for found in beside) for at in (0, 1))
    ratios = [statistics.median(two[at] / one[at] for one, two in zip(alone, beside, strict=True)) for at in (0, 1)]
    print(f"flushed writes: median {median * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms; "
          f"while a disk is copied at {SPEED // MIB} MiB/s: {median_beside * 1e3:.2f} ms, {p99_beside * 1e3:.2f} ms; "
          f"in the median turn p99 ratio {ratios[0]:.2f}, median ratio {ratios[1]:.2f}")  # fmt: skip


SPEED, TURNS, WRITES = 32 * MIB, 7, 800


if __name__ == "__main__":
    main()
