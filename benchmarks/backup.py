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

from naos.engines.errors import CommandFailed
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=512, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bu", dir=given.folder))
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, {given.size} MiB, {given.rounds} rounds")
    try:
        ours = engine(folder, given.size, given.rounds)
        theirs = None
        try:
            theirs = virtnbdbackup(folder, given.size, given.rounds)
        except CommandFailed as error:
            print(f"virtnbdbackup: not measured, {str(error).splitlines()[-1][-300:]}")
        if theirs:
            compare(ours, theirs, given.size)
        restic(folder, given.size, ours["kept"])
    finally:
        shutil.rmtree(folder)


Found = dict[str, float]


def show(who: str, found: Found, size: int) -> None:
    print(f"{who}: whole {size / found['whole']:.0f} MiB/s; "
          + ", ".join(f"{part} MiB changed {found[str(part)]:.2f} s" for part in PARTS))  # fmt: skip


def compare(ours: Found, theirs: Found, size: int) -> None:
    show("virtnbdbackup", theirs, size)
    print(f"the engine's speed over virtnbdbackup's: whole {theirs['whole'] / ours['whole']:.2f}, "
          + ", ".join(f"{part} MiB {theirs[str(part)] / ours[str(part)]:.2f}" for part in PARTS))  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ the engine


def engine(folder: Path, size: int, rounds: int) -> Found:
    for name in ("a", "v"):
        (folder / name).mkdir()
    bench = Bench(folder / "a", folder / "v")
    copying.luns.spec = bench.spec  # type: ignore[assignment]
    try:
        return measure(bench, size, rounds)
    finally:
        bench.rig.close()


def measure(bench: Bench, size: int, rounds: int) -> Found:
    lun = bench.lun(capacity=3 * size * MIB + 512 * MIB)
    disk, address = bench.disk(lun, size * MIB)
    points = bench.vault_folder / "points"

    def write(first: int, count: int) -> None:
        source = random_file(bench.rig.folder / "random", count)
        bench.rig.io(address, f"write -q -s {source} {first * MIB} {count * MIB}", "flush")
        source.unlink()

    for first in range(0, size, 64):
        write(first, min(64, size - first))
    seconds: dict[str, list[float]] = {"whole": [], **{str(part): [] for part in PARTS}}
    sent, kept, everything = [], [], 0.0
    for number in range(rounds):
        set_id = str(uuid.uuid4())
        seconds["whole"].append(timed(lambda: bench.take(set_id, lun, disk)))  # noqa: B023 - called at once
        for part in PARTS:
            if part:
                write((number * 97 + part) % (size - part), part)
            wire, stored = traffic(bench.rig.host), used(points)
            seconds[str(part)].append(timed(lambda: bench.take(set_id, lun, disk)))  # noqa: B023 - called at once
            if part >= 16:
                sent.append((traffic(bench.rig.host) - wire) / (part * MIB))
                kept.append((used(points) - stored) / (part * MIB))
        everything = used(points) / ((size + sum(PARTS)) * MIB)
        copying.forget(bench.world, copying.Where("vault", "v"), set_id, [copying.Part(lun.id, disk)])
    found = {name: statistics.median(values) for name, values in seconds.items()}
    show("the engine", found, size)
    print(f"bytes on the wire over bytes changed: {statistics.median(sent):.3f} (wanted: at most 1.05)")
    print(f"bytes kept over bytes changed: {statistics.median(kept):.3f} (wanted: at most 1.1); all points together: "
          f"{everything:.3f} of what was written")  # fmt: skip
    return {**found, "kept": everything}


# --------------------------------------------------------------------------------------------------------- virtnbdbackup


@contextmanager
def blade(folder: Path) -> Iterator[hypervisor_rig.Blade]:
    """A libvirtd of its own, in namespaces of its own."""
    name = f"bu{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
    made = hypervisor_rig.Blade("bench", folder / "blade", name, ADDRESS)
    made.folder.mkdir()
    try:
        made.start()
        try:
            connected = ["virsh", "-c", made.local_uri, "version"]
            hypervisor_rig.wait_for(lambda: made.run(connected, check=False).code == 0, "libvirtd answers")
            yield made
        finally:
            made.stop()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def virtnbdbackup(folder: Path, size: int, rounds: int) -> Found | None:
    missing = [tool for tool in ("virtnbdbackup", "virsh", "libvirtd") if shutil.which(tool) is None]
    if missing:
        print(f"virtnbdbackup: not measured, {missing[0]} is not installed (apt-get install virtnbdbackup)")
        return None
    seconds: dict[str, list[float]] = {"whole": [], **{str(part): [] for part in PARTS}}
    with blade(folder) as host:
        virsh = ["virsh", "-q", "-c", host.local_uri]
        for number in range(rounds):
            name, disk = f"m{number}", folder / f"m{number}.qcow2"
            source = random_file(folder / "random", size)
            subprocess.run(["qemu-img", "convert", "-q", "-O", "qcow2", str(source), str(disk)], check=True)
            source.unlink()
            (folder / "machine.xml").write_text(MACHINE.format(name=name, disk=disk), encoding="utf-8")
            host.run([*virsh, "define", str(folder / "machine.xml")])
            host.run([*virsh, "start", "--paused", name])
            target = folder / f"backup{number}"
            argv = ["virtnbdbackup", "-U", "qemu:///system", "-d", name, "-o", str(target), "-n"]
            whole = [*argv, "-l", "full"]
            seconds["whole"].append(timed(lambda: host.run(whole, timeout=600)))  # noqa: B023 - called at once
            for part in PARTS:
                if part:
                    piece = random_file(folder / "piece", part)
                    where = (number * 97 + part) % (size - part)
                    line = f"write -q -s {piece} {where}M {part}M"
                    host.run([*virsh, "qemu-monitor-command", name, "--hmp", f'qemu-io virtio0 "{line}"'], timeout=120)
                increment = [*argv, "-l", "inc"]
                seconds[str(part)].append(timed(lambda: host.run(increment, timeout=600)))  # noqa: B023 - called at once
            host.run([*virsh, "destroy", name])
            disk.unlink()
            shutil.rmtree(target)
    return {name: statistics.median(values) for name, values in seconds.items()}


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
