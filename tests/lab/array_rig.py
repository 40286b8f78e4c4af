"""A host for an array: network and mount namespaces of its own, in which real daemons, mounts and clients live."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from naos.engines.array import encryption
from naos.engines.array.driver import StorageDaemonArray
from naos.engines.errors import CommandFailed, Unreachable
from naos.engines.hosts import netns, processes
from naos.engines.ports import Completed, LunKey, LunSpec, NbdAddress

ADDRESS = "127.0.0.1"  # the namespace's own
PORT = 10809
MIB = 2**20
TOOLS = ("qemu-storage-daemon", "qemu-img", "qemu-io", "mkfs.xfs", "losetup", "flock", "fio")


def available() -> bool:
    """Whether an array can be made here."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in TOOLS)


class ArrayHost:
    """An engines.ports.Host. Its mounts end with `holder`, a process that only sleeps: so does a power cut end them."""

    def __init__(self, folder: Path) -> None:
        self.name = f"na{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self.calls: list[tuple[str, ...]] = []
        netns.add(self.name)
        self._inode = netns.inode(self.name)
        self._hold()

    def _hold(self) -> None:
        argv = ["ip", "netns", "exec", self.name, "sleep", "infinity"]
        self.holder = subprocess.Popen(argv, start_new_session=True)
        while processes.network_namespace(self.holder.pid) != self._inode or processes.program(self.holder.pid) == "ip":
            time.sleep(0.005)

    def _entered(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", "--", *argv]

    def run(self, argv: Sequence[str], *, stdin=b"", timeout=30.0, check=True) -> Completed:
        self.calls.append(tuple(argv))
        try:
            done = subprocess.run(self._entered(argv), input=stdin, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(self.name, argv[0], str(error)) from error
        if check and done.returncode:
            raise CommandFailed(self.name, " ".join(argv), done.stderr.decode().strip())
        return Completed(done.returncode, done.stdout.decode(), done.stderr.decode())

    def put(self, source: Path, target: str) -> None:
        part = f"{target}.part"
        with source.open("rb") as handle:
            argv = self._entered(["dd", "bs=1M", "conv=fsync", f"of={part}"])
            done = subprocess.run(argv, stdin=handle, capture_output=True, check=False)
        if done.returncode:
            self.run(["rm", "-f", part])
            raise CommandFailed(self.name, f"copying {source}", done.stderr.decode().strip())
        self.run(["mv", part, target])

    def get(self, source: str, target: Path) -> None:
        target.write_bytes(subprocess.run(self._entered(["cat", source]), capture_output=True, check=True).stdout)

    @contextlib.contextmanager
    def socket(self, path: str) -> Iterator[str]:
        yield path

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process inside that the caller waits for."""
        return subprocess.Popen(
            self._entered(argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )

    def daemons(self) -> dict[str, int]:
        """LUN id -> pid of its daemon."""
        found = {}
        for pid in processes.members([self._inode]):
            if processes.program(pid) == "qemu-storage-daemon":
                words = processes.command_line(pid).split()
                found[Path(words[words.index("--pidfile") + 1]).parent.name] = pid
        return found

    def kill_daemon(self, lun_id: str) -> None:
        process = processes.identify(self.daemons()[lun_id])
        assert process is not None
        assert processes.end_process(process, signal.SIGKILL, 20)

    def cut_power(self) -> None:
        """Every process ends at once, and what was mounted is mounted no more; then the power is back."""
        processes.kill_members(self.name, [self._inode])
        self.holder.wait()
        self._hold()

    def close(self) -> None:
        processes.kill_members(self.name, [self._inode])
        self.holder.wait()
        netns.delete(self.name)
        left = [entry for entry in Path("/sys/block").glob("loop*/loop/backing_file") if self._mine(entry)]
        assert not left, f"loop devices stayed: {left}"

    def _mine(self, entry: Path) -> bool:
        with contextlib.suppress(OSError):
            return entry.read_text().startswith(f"{self.folder}/")
        return False


class Rig:
    """An array on a host of its own, and the tools of its clients."""

    def __init__(self, folder: Path) -> None:
        self.host = ArrayHost(folder)
        self.array = StorageDaemonArray("array1", self.host, ADDRESS, "file", str(folder))
        self.folder = folder
        self._ports = iter(range(PORT, PORT + 100))
        self._keys: dict[str, LunKey] = {}

    def lun(self, *, capacity: int = 512 * MIB, iops: int | None = None, key: LunKey | None = None) -> LunSpec:
        """A served volume."""
        lun = replace(self.lun_spec(capacity=capacity, iops=iops), key=key)
        if key is not None:
            self._keys[lun.id] = key
        self.array.create_lun(lun)
        assert self.array.ensure_daemon(lun, [])
        return lun

    def lun_spec(self, *, capacity: int = 512 * MIB, iops: int | None = None) -> LunSpec:
        """A volume that is not there yet."""
        return LunSpec(str(uuid.uuid4()), capacity, iops, next(self._ports))

    def io(self, address: NbdAddress, *commands: str, check: bool = True) -> Completed:
        """qemu-io commands on an export."""
        return self.host.run(
            [
                "qemu-io",
                "-f",
                "raw",
                "-d",
                "unmap",
                *(word for line in commands for word in ("-c", line)),
                url(address),
            ],
            check=check,
        )

    def fill(self, address: NbdAddress, pattern: int, offset: int, length: int) -> None:
        self.io(address, f"write -P {pattern} {offset} {length}", "flush")

    def holds(self, address: NbdAddress, pattern: int, offset: int, length: int) -> bool:
        """Whether the range holds nothing but this byte."""
        done = self.io(address, f"read -P {pattern} {offset} {length}", check=False)
        return done.code == 0 and "verification failed" not in done.stdout

    def checksum(self, address: NbdAddress) -> str:
        """SHA-256 of a whole disk, as its clients read it."""
        copy = self.folder / f"{uuid.uuid4()}.raw"
        try:
            self.host.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", url(address), str(copy)], timeout=120)
            return self.host.run(["sha256sum", str(copy)], timeout=60).stdout.split()[0]
        finally:
            copy.unlink(missing_ok=True)

    def check_images(self) -> None:
        """End the daemons; every disk's image is whole then, whatever the tests have done to it. Clusters that nobody uses any more,
        as a killed daemon leaves them, are no harm."""
        for pid in self.host.daemons().values():
            daemon = processes.identify(pid)
            if daemon is not None and not processes.end_process(daemon, signal.SIGTERM, 20):
                assert processes.end_process(daemon, signal.SIGKILL, 20)
        for path in self.host.run(["find", str(self.folder), "-path", "*/files/disks/*.qcow2"]).stdout.split():
            key = self._keys.get(Path(path).parents[2].name)
            argv: list[str] = ["qemu-img", "check", "-q"]
            if key is None:
                described = {"driver": "qcow2", "file": {"driver": "file", "filename": path}, "backing": None}
                done = self.host.run([*argv, "json:" + json.dumps(described)], check=False, timeout=60)
            else:
                argv += ["--object", encryption.OBJECT, encryption.file_name(path)]
                piped = ("sh", "-c", 'cat | "$@"', "keyed", *argv)
                done = self.host.run(piped, stdin=encryption.encoded(key).encode(), check=False, timeout=60)
            assert done.code in (0, 3), f"{path}: {done.stdout}{done.stderr}"

    def close(self) -> None:
        try:
            self.check_images()
        finally:
            self.host.close()


def url(address: NbdAddress) -> str:
    return f"nbd://{address.host}:{address.port}/{address.name}"


def an_image(path: Path, size: int, *marks: tuple[int, int, int]) -> Path:
    """A whole qcow2 image; marks: pattern, offset, length."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
    lines = [word for mark in marks for word in ("-c", "write -P {} {} {}".format(*mark))]
    if lines:
        subprocess.run(["qemu-io", "-f", "qcow2", *lines, path], check=True, capture_output=True)
    return path
