"""What a backup costs: bytes sent and kept over bytes changed, full and incremental runs, and the time that a run takes for nothing.

1. The copy of a disk to a vault: whole, then increments of nothing and of parts of it. Bytes on the wire (counted by the kernel, both
   ways, TLS and all) and bytes kept in the vault, each over the bytes changed.
2. virtnbdbackup, where it is installed, on a machine of a libvirtd of its own with the same data and the same changes. It reads the image
   through QEMU on the same host and writes a file; the engine's copies travel encrypted and are checksummed and flushed.
3. restic, where it is installed, on raw images of the same states: size on disk.

    python benchmarks/backup.py [--size MIB] [--rounds N] [--folder FOLDER]

Needs root. Everything happens in network namespaces of its own.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from naos.protection import copying

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lab"))
import hypervisor_rig
from array_rig import MIB, ArrayHost
from test_points import Bench

PARTS = (0, 1, 16, 64)
"""MiB changed between two runs."""
ADDRESS = "10.198.0.1"  # libvirt wants one that others could reach
MACHINE = """<domain type="qemu"><name>{name}</name><memory unit="MiB">64</memory><vcpu>1</vcpu>
<os><type arch="x86_64" machine="pc">hvm</type></os><devices>
<disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="{disk}"/><target dev="vda" bus="virtio"/></disk>
</devices></domain>"""


def timed(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def traffic(host: ArrayHost) -> int:
    """Bytes that the namespace's loopback has carried."""
    lines = host.run(["cat", "/proc/net/dev"]).stdout.splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("lo:"))


def used(folder: Path) -> int:
    """Bytes that a folder takes on its medium."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def random_file(path: Path, megabytes: int) -> Path:
    """Data that do not compress or repeat."""
    with path.open("wb") as file, Path("/dev/urandom").open("rb") as random:
        for _ in range(megabytes):
            file.write(random.read(MIB))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    os.environ["PATH"] = (
        f"/usr/bin:{os.environ['PATH']}"  # hosts have the system's python3, not one that first looks for another
    )
    folder = Path(tempfile.mkdtemp(prefix="bu", dir=given.folder))
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {given.size} MiB, {given.rounds} rounds")
    try:
        with contextlib.ExitStack() as stack:
            runs = {"the engine": stack.enter_context(engine(folder, given.size))}
            if theirs := stack.enter_context(virtnbdbackup(folder, given.size)):
                runs["virtnbdbackup"] = theirs
            rounds = [{who: run(number) for who, run in runs.items()} for number in range(given.rounds)]
        found = {
            who: {name: statistics.median(one[who][name] for one in rounds) for name in rounds[0][who]} for who in runs
        }
        report(found, rounds, given.size)
        restic(folder, given.size, found["the engine"]["everything"])
    finally:
        shutil.rmtree(folder)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


Found = dict[str, float]
"""Seconds: `whole`, and by MiB changed."""
Round = Callable[[int], Found]


def report(found: dict[str, Found], rounds: list[dict[str, Found]], size: int) -> None:
    names = ["whole", *map(str, PARTS)]
    for who, seconds in found.items():
        print(f"{who}: whole {size / seconds['whole']:.0f} MiB/s; "
              + ", ".join(f"{part} MiB changed {seconds[str(part)]:.2f} s" for part in PARTS))  # fmt: skip
    ours = found["the engine"]
    if len(found) > 1:
        ratios = {
            name: statistics.median(one["virtnbdbackup"][name] / one["the engine"][name] for one in rounds)
            for name in names
        }
        print("the engine's speed over virtnbdbackup's, in the median round: "
              + ", ".join(f"{name if name == 'whole' else f'{name} MiB'} {ratio:.2f}" for name, ratio in ratios.items()))  # fmt: skip
    print(f"bytes on the wire over bytes changed: {ours['sent']:.3f} (wanted: at most 1.05)")
    print(f"bytes kept over bytes changed: {ours['kept']:.3f} (wanted: at most 1.1); all points together: "
          f"{ours['everything']:.3f} of what was written")  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the engine


@contextmanager
def engine(folder: Path, size: int) -> Iterator[Round]:
    for name in ("a", "v"):
        (folder / name).mkdir()
    bench = Bench(folder / "a", folder / "v")
    copying.luns.spec = bench.spec  # type: ignore[assignment]
    try:
        lun = bench.lun(capacity=3 * size * MIB + 512 * MIB)
        disk, address = bench.disk(lun, size * MIB)
        for first in range(0, size, 64):
            write(bench, address, first, min(64, size - first))
        yield lambda number: measure(bench, lun, disk, address, size, number)
    finally:
        bench.rig.close()


def write(bench: Bench, address, first: int, count: int) -> None:
    source = random_file(bench.rig.folder / "random", count)
    bench.rig.io(address, f"write -q -s {source} {first * MIB} {count * MIB}", "flush")
    source.unlink()


def measure(bench: Bench, lun, disk: str, address, size: int, number: int) -> Found:
    points = bench.vault_folder / "points"
    set_id = str(uuid.uuid4())
    found = {"whole": timed(lambda: bench.take(set_id, lun, disk))}
    sent, kept = [], []
    for part in PARTS:
        if part:
            write(bench, address, (number * 97 + part) % (size - part), part)
        wire, stored = traffic(bench.rig.host), used(points)
        found[str(part)] = timed(lambda: bench.take(set_id, lun, disk))
        if part >= 16:
            sent.append((traffic(bench.rig.host) - wire) / (part * MIB))
            kept.append((used(points) - stored) / (part * MIB))
    everything = used(points) / ((size + sum(PARTS)) * MIB)
    copying.forget(bench.world, copying.Where("vault", "v"), set_id, [copying.Part(lun.id, disk)])
    return {**found, "sent": statistics.median(sent), "kept": statistics.median(kept), "everything": everything}


# --------------------------------------------------------------------------------------------------------- virtnbdbackup


@contextmanager
def blade(folder: Path) -> Iterator[hypervisor_rig.Blade]:
    """A libvirtd of its own, in namespaces of its own."""
    name = f"bu{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
        made = hypervisor_rig.Blade("bench", folder / "blade", name, ADDRESS)
        made.folder.mkdir()
        try:
            made.start()
            connected = ["virsh", "-c", made.local_uri, "version"]
            hypervisor_rig.wait_for(lambda: made.run(connected, check=False).code == 0, "libvirtd answers")
            yield made
        finally:
            made.stop()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


@contextmanager
def virtnbdbackup(folder: Path, size: int) -> Iterator[Round | None]:
    missing = [tool for tool in ("virtnbdbackup", "virsh", "libvirtd") if shutil.which(tool) is None]
    if missing:
        print(f"virtnbdbackup: not measured, {missing[0]} is not installed (apt-get install virtnbdbackup)")
        yield None
        return
    with blade(folder) as host:
        yield lambda number: measure_theirs(host, folder, size, number)


def measure_theirs(host: hypervisor_rig.Blade, folder: Path, size: int, number: int) -> Found:
    virsh = ["virsh", "-q", "-c", host.local_uri]
    name, disk = f"m{number}", folder / f"m{number}.qcow2"
    source = random_file(folder / "random", size)
    subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(source), str(disk)], check=True)
    source.unlink()
    (folder / "machine.xml").write_text(MACHINE.format(name=name, disk=disk), encoding="utf-8")
    host.run([*virsh, "define", str(folder / "machine.xml")])
    host.run([*virsh, "start", "--paused", name])
    target = folder / f"backup{number}"
    argv = ["virtnbdbackup", "-U", "qemu:///system", "-d", name, "-o", str(target), "-n"]
    found = {"whole": timed(lambda: host.run([*argv, "-l", "full"], timeout=600))}
    for part in PARTS:
        if part:
            piece = random_file(folder / "piece", part)
            line = f"write -q -s {piece} {(number * 97 + part) % (size - part)}M {part}M"
            host.run([*virsh, "qemu-monitor-command", name, "--hmp", f'qemu-io virtio0 "{line}"'], timeout=120)
        found[str(part)] = timed(lambda: host.run([*argv, "-l", "inc"], timeout=600))
    host.run([*virsh, "destroy", name])
    disk.unlink()
    shutil.rmtree(target)
    return found


# ---------------------------------------------------------------------------------------------------------------- restic


def restic(folder: Path, size: int, ours: float) -> None:
    if shutil.which("restic") is None:
        print("restic: not measured, it is not installed (apt-get install restic)")
        return
    image, repository = random_file(folder / "disk.raw", size), folder / "repository"
    environment = {**os.environ, "RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": str(folder / "cache")}

    def run(*words: str) -> None:
        argv = ["restic", "--quiet", "-r", str(repository), *words]
        subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)

    run("init")
    whole = timed(lambda: run("backup", str(image)))
    last = 0.0
    for part in PARTS:
        if part:
            piece = random_file(folder / "piece", part)
            with image.open("r+b") as disk, piece.open("rb") as news:
                disk.seek((97 + part) % (size - part) * MIB)
                shutil.copyfileobj(news, disk)
        last = timed(lambda: run("backup", str(image)))
    theirs = used(repository) / ((size + sum(PARTS)) * MIB)
    print(f"restic: whole {size / whole:.0f} MiB/s, {PARTS[-1]} MiB changed {last:.2f} s; it keeps {theirs:.3f} of what was written; "
          f"the engine's size on disk over restic's: {ours / theirs:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
