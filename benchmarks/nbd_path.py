"""What a volume's path costs: 4 KiB at scattered offsets, and 1 MiB one after the other, through the array's NBD export, against the
same qcow2 image opened directly.

Every measure is `qemu-img bench` with the cache off; the reference and what is compared with it run in turn, and the median of
the rounds counts. A ratio of 1.00 is the speed of QEMU on the image itself; nothing between is the array's.

Beside each ratio stands the processor time that the daemon takes for an operation, which a busy machine disturbs less.

The steps below the whole path show where the difference arises: each adds one part to the one before it.

    python benchmarks/nbd_path.py [--rounds N] [--seconds S] [--only TEXT] [--loads TEXT] [--folder FOLDER]
"""

import argparse
import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from naos.engines.array import daemon as array_daemon
from naos.engines.array.driver import StorageDaemonArray
from naos.engines.errors import CommandFailed, Unreachable
from naos.engines.ports import Completed, LunSpec, Provisioning

MIB = 2**20
SIZE = 256 * MIB
BLOCK = 4096
STRIDE = 4096 * 7919  # a prime number of blocks: every block once, none next to the one before
ADDRESS, PORT = "127.0.0.1", 20809
TIME = re.compile(r"Run completed in ([0-9.]+) seconds")


class LocalHost:
    """This machine as an engines.ports.Host."""

    name = "this machine"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0, check: bool = True) -> Completed:
        try:
            done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(self.name, argv[0], str(error)) from error
        if check and done.returncode:
            raise CommandFailed(self.name, argv[0], done.stderr.decode())
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())

    def put(self, source: Path, target: str) -> None:
        self.run(["cp", str(source), target])

    def get(self, source: str, target: Path) -> None:
        self.run(["cp", source, str(target)])

    @contextlib.contextmanager
    def socket(self, path: str) -> Iterator[str]:
        yield path


@dataclass(frozen=True)
class Load:
    """One way to use a disk."""

    write: bool
    depth: int
    block: int = BLOCK
    stride: int = STRIDE

    def __str__(self) -> str:
        size = f"{self.block // MIB} MiB" if self.block >= MIB else f"{self.block // 1024} KiB"
        return f"{size} {'writes' if self.write else 'reads'}, depth {self.depth:2}"


LOADS = [Load(write, depth) for write in (False, True) for depth in (1, 16)]
LOADS += [Load(write, depth, MIB, MIB) for write in (False, True) for depth in (1, 16)]


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(load: Load, target: str, image_format: str, seconds: float) -> tuple[float, int]:
    """Operations a second, and how many there were in all."""

    def run(count: int) -> float:
        argv = [
            "qemu-img",
            "bench",
            "-f",
            image_format,
            "-t",
            "none",
            "-n",
            "-s",
            str(load.block),
            "-S",
            str(load.stride),
        ]
        argv += ["-d", str(load.depth), "-c", str(count), *(["-w"] if load.write else []), target]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        return float(TIME.search(done.stdout)[1])

    least = 1000 if load.block == BLOCK else 100
    count = least
    trial = max(run(count), 0.001)
    count = max(least, int(count / trial * seconds))
    return count / max(run(count), 0.001), least + count


@contextlib.contextmanager
def daemon(
    folder: Path,
    nodes: Sequence[dict[str, object]],
    *,
    unix: bool,
    objects: Sequence[dict[str, object]] = (),
    memory: Sequence[str] = (),
) -> Iterator[tuple[str, int]]:
    """A daemon of this chain of nodes, and these objects, with an export of the last one; yields its address and its process's id.
    memory: of its environment."""
    socket = folder / "bench.sock"
    where = {"type": "unix", "path": str(socket)} if unix else {"type": "inet", "host": ADDRESS, "port": str(PORT + 1)}
    last = nodes[-1]["node-name"]
    export = {"type": "nbd", "id": "x", "name": "x", "node-name": last, "writable": True}
    argv = ["qemu-storage-daemon", "--object", json.dumps({"qom-type": "throttle-group", "id": "limit"})]
    for made in objects:
        argv += ["--object", json.dumps(made)]
    for node in nodes:
        argv += ["--blockdev", json.dumps(node)]
    argv += ["--nbd-server", json.dumps({"addr": where}), "--export", json.dumps(export)]
    pid_file = folder / "bench.pid"
    environment = {**os.environ, **dict(word.split("=") for word in memory)}
    process = subprocess.Popen([*argv, "--pidfile", str(pid_file)], env=environment)
    try:
        while not pid_file.exists():
            if process.poll() is not None:
                raise SystemExit("the daemon did not start")
        yield f"nbd+unix:///x?socket={socket}" if unix else f"nbd://{ADDRESS}:{PORT + 1}/x", process.pid
    finally:
        process.terminate()
        process.wait()
        pid_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Step:
    title: str
    nodes: list[dict[str, object]]
    unix: bool = True
    objects: tuple[dict[str, object], ...] = ()
    memory: tuple[str, ...] = ()


def steps(image: Path, raw: Path, wide: Path) -> Iterator[Step]:
    """What is added to the step before, and then what else was tried with the whole chain. wide: an image with clusters of 2 MiB."""

    def file(path: Path, aio: str = "native", *, direct: bool = True) -> dict[str, object]:
        return {"driver": "file", "node-name": "f", "filename": str(path), "aio": aio, "cache": {"direct": direct}}

    qcow2: dict[str, object] = {"driver": "qcow2", "node-name": "q", "file": "f", "cache": {"direct": True}}
    throttle: dict[str, object] = {"driver": "throttle", "node-name": "t", "file": "q", "throttle-group": "limit"}
    yield Step("a raw file, unix socket", [file(raw)])
    yield Step("+ qcow2", [file(image), qcow2])
    yield Step("+ throttle group", [file(image), qcow2, throttle])
    yield Step("+ TCP as QEMU sets it up", [file(image), qcow2, throttle], unix=False)
    yield Step("whole chain, aio=io_uring", [file(image, "io_uring"), qcow2, throttle])
    yield Step("whole chain, aio=threads", [file(image, "threads"), qcow2, throttle])
    buffered = qcow2 | {"cache": {"direct": False}}
    yield Step("whole chain, host's page cache", [file(image, "threads", direct=False), buffered, throttle])
    yield Step("whole chain, clusters of 2 MiB", [file(wide), qcow2, throttle])
    batch = ({"qom-type": "main-loop", "id": "loop", "aio-max-batch": 1},)
    yield Step("whole chain, aio-max-batch=1", [file(image), qcow2, throttle], objects=batch)
    yield Step("whole chain, memory kept", [file(image), qcow2, throttle], memory=array_daemon.MEMORY)


def compare(
    title: str,
    loads: Sequence[Load],
    target: tuple[str, int],
    reference: tuple[str, str],
    arguments: argparse.Namespace,
) -> None:
    address, pid = target
    for load in loads:
        ours, theirs, spent, operations = [], [], 0.0, 0
        for _ in range(arguments.rounds):
            theirs.append(rate(load, *reference, arguments.seconds)[0])
            before = processor_seconds(pid)
            found, count = rate(load, address, "raw", arguments.seconds)
            ours.append(found)
            spent, operations = spent + processor_seconds(pid) - before, operations + count
        here, there = statistics.median(ours), statistics.median(theirs)
        print(
            f"{title:36} {load}: {here:8,.0f} /s against {there:8,.0f} /s directly, ratio {here / there:.2f}; {spent / operations * 1e6:5.0f} µs",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", default="", help="of the steps, those with this text in their title")
    parser.add_argument("--loads", default="", help="of the loads, those with this text in their name")
    parser.add_argument("--folder", type=Path, default=None, help="where the volume lies (default: a temporary folder)")
    arguments = parser.parse_args()
    loads = [load for load in LOADS if arguments.loads in str(load)]
    with tempfile.TemporaryDirectory(prefix="nb", dir=arguments.folder) as name:
        folder = Path(name)
        array = StorageDaemonArray("benchmark", LocalHost(), ADDRESS, "file", name)
        lun = LunSpec(str(uuid.uuid4()), 2048 * MIB, None, PORT)
        disk_id = str(uuid.uuid4())
        array.create_lun(lun)
        try:
            array.ensure_daemon(lun, [])
            array.create_disk(lun, disk_id, SIZE, Provisioning.DYNAMIC)
            address = array.export_disk(lun, disk_id, 1)
            url = f"nbd://{address.host}:{address.port}/{address.name}"
            subprocess.run(["qemu-io", "-f", "raw", "-c", f"write -P 1 0 {SIZE}", url], check=True, capture_output=True)
            files = folder / lun.id / "files"
            exported = files / "disks" / f"{disk_id}.qcow2"
            reference = files / "reference.qcow2"
            array.fence_disk(lun.id, disk_id)
            subprocess.run(["cp", "--reflink=never", exported, reference], check=True)
            array.export_disk(lun, disk_id, 1)
            pid = int((folder / lun.id / "pid").read_text(encoding="ascii"))
            compare("the array's export", loads, (url, pid), (str(reference), "qcow2"), arguments)
            raw = files / "raw"
            subprocess.run(
                ["dd", "if=/dev/urandom", f"of={raw}", "bs=1M", f"count={SIZE // MIB}"], check=True, capture_output=True
            )
            other = files / "other.qcow2"
            subprocess.run(["cp", "--reflink=never", reference, other], check=True)
            wide = files / "wide.qcow2"
            argv = ["qemu-img", "convert", "-O", "qcow2", "-o", "cluster_size=2M", str(reference), str(wide)]
            subprocess.run(argv, check=True)
            for step in steps(other, raw, wide):
                if arguments.only in step.title:
                    options = {"unix": step.unix, "objects": step.objects, "memory": step.memory}
                    with daemon(folder, step.nodes, **options) as target:
                        compare(step.title, loads, target, (str(reference), "qcow2"), arguments)
        finally:
            array.delete_disk(lun.id, disk_id)
            array.delete_lun(lun.id)


if __name__ == "__main__":
    main()
