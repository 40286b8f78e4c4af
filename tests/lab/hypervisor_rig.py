"""Two blades and a storage server on one machine, as small as the hypervisor driver's tests need.

A blade is a network namespace with a libvirtd of its own in a private mount and UTS namespace. All its processes are children
of its holder, which ends them when its standard input is closed: so does a test run that was killed. The storage server is a
qemu-storage-daemon in a third namespace, where the tests' own connections start, too.
"""

import codecs
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from naos.engines.errors import CommandFailed, Unreachable
from naos.engines.hypervisor.driver import LibvirtHypervisor
from naos.engines.ports import Completed, DomainDisk, NbdAddress

TOOLS = ("libvirtd", "qemu-system-x86_64", "qemu-storage-daemon", "qemu-img", "nsenter", "unshare", "ip")

# Positional parameters: the blade's folder, its host name, the holder's program. The mounts are the blade's alone.
ENTER = """
set -e
for place in run/libvirt var/lib/libvirt etc/libvirt var/log/libvirt var/cache/libvirt; do
    mkdir -p "$1/$place" "/$place"
    mount --bind "$1/$place" "/$place"
done
hostname "$2"
exec "$0" -c "$3" "$1"
"""

# Each line on its standard input starts libvirtd. Machines without a parent come to it (36: a subreaper), so that they
# are collected at once: libvirt waits for QEMU to be gone, and a zombie is not gone.
HOLDER = """
import ctypes, os, pathlib, signal, sys, threading
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
folder = sys.argv[1]
command = ["libvirtd", "--listen", "--config", f"{folder}/libvirtd.conf", "--pid-file", f"{folder}/libvirtd.pid"]

def collect():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            threading.Event().wait(0.05)

threading.Thread(target=collect, daemon=True).start()
for _line in sys.stdin:
    os.posix_spawnp(command[0], command, os.environ)
while children := pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
    for child in children:
        try:
            os.kill(int(child), signal.SIGKILL)
        except ProcessLookupError:
            pass
    threading.Event().wait(0.02)
"""


def available() -> bool:
    """Whether blades can be made here."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in TOOLS)


def wait_for(condition, what: str, seconds: float = 30.0):
    """Poll until `condition` returns something true and return that; AssertionError with `what` after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Blade:
    """One blade; also the Host port of it."""

    name: str
    folder: Path
    namespace: str
    address: str
    holder: subprocess.Popen = field(init=False)

    @property
    def uri(self) -> str:
        return f"qemu+tcp://{self.address}/system"

    @property
    def local_uri(self) -> str:
        """Over a unix socket: the blades' daemons cannot find each other by it."""
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0, check: bool = True) -> Completed:
        enter = ["nsenter", "-t", str(self.holder.pid), "-m", "-u", "-n", "--"]
        try:
            done = subprocess.run([*enter, *argv], input=stdin, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Unreachable(self.name, argv[0], f"no end within {timeout} s") from None
        said = (done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        if check and done.returncode:
            raise CommandFailed(self.name, " ".join(argv), said[1])
        return Completed(done.returncode, *said)

    def put(self, source: Path, target: str) -> None:
        self.run(["tee", target], stdin=source.read_bytes())

    def get(self, source: str, target: Path) -> None:
        shutil.copyfile(f"/proc/{self.holder.pid}/root{source}", target)

    @contextmanager
    def socket(self, path: str) -> Iterator[str]:
        yield f"/proc/{self.holder.pid}/root{path}"

    def start(self) -> None:
        (self.folder / "etc/libvirt").mkdir(parents=True)
        (self.folder / "libvirtd.conf").write_text(
            f'listen_tls = 0\nlisten_tcp = 1\nlisten_addr = "{self.address}"\nauth_tcp = "none"\n'
            f'auth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\n'
        )
        (self.folder / "etc/libvirt/qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n'
            f'dynamic_ownership = 0\nstdio_handler = "file"\n'
            f'migration_address = "{self.address}"\nmigration_host = "{self.address}"\n'
        )
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "-m", "-u", "--propagation", "private"]
        self.holder = subprocess.Popen(
            [*inside, "sh", "-c", ENTER, sys.executable, str(self.folder), self.name, HOLDER],
            stdin=subprocess.PIPE,
            stdout=(self.folder / "libvirtd.log").open("ab"),
            stderr=subprocess.STDOUT,
        )
        self.start_libvirtd()

    def start_libvirtd(self) -> None:
        self.holder.stdin.write(b"start\n")
        self.holder.stdin.flush()

    def answers(self) -> bool:
        """From the caller's own network namespace."""
        with suppress(OSError):
            socket.create_connection((self.address, 16509), 1.0).close()
            return True
        return False

    def kill_libvirtd(self) -> None:
        pid = int((self.folder / "libvirtd.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "libvirtd is gone")

    def kill_machine(self, domain_id: str) -> None:
        """The machine's QEMU dies."""
        os.kill(int((self.folder / f"run/libvirt/qemu/{domain_id}.pid").read_text()), signal.SIGKILL)

    def ports(self, bridge: str) -> list[str]:
        """Adapters of machines on a bridge."""
        return self.run(["ls", f"/sys/class/net/{bridge}/brif"]).stdout.split()

    def stop(self) -> None:
        self.holder.stdin.close()
        self.holder.wait(timeout=20)


@dataclass
class Storage:
    """A qemu-storage-daemon that exports disks over NBD, each under its id and an epoch."""

    namespace: str
    address: str
    folder: Path
    port: int = 10809
    exports: dict[str, tuple[str, str]] = field(default_factory=dict)  # disk id -> file format, name of its export
    process: subprocess.Popen = field(init=False)

    def start(self) -> None:
        """Start, or start again: what was exported is exported as it was."""
        (self.folder / "qmp").unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "qemu-storage-daemon",
             "--chardev", f"socket,id=m,path={self.folder}/qmp,server=on,wait=off", "--monitor", "chardev=m",
             "--nbd-server", f"addr.type=inet,addr.host={self.address},addr.port={self.port},max-connections=0"],
        )  # fmt: skip
        wait_for((self.folder / "qmp").exists, "the storage daemon listens")
        for disk_id, (kind, name) in self.exports.items():
            self._open(disk_id, kind)
            self._export(disk_id, name)

    def qmp(self, command: str, **arguments):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(20)
            wire.connect(str(self.folder / "qmp"))
            with wire.makefile("rw") as stream:
                stream.readline()
                for line in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                    stream.write(json.dumps(line) + "\n")
                    stream.flush()
                    answer = json.loads(stream.readline())
                    while "event" in answer:
                        answer = json.loads(stream.readline())
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            return answer["return"]

    def file(self, disk_id: str) -> Path:
        return self.folder / f"{disk_id}.disk"

    def create(self, unit: int, size: int, *, base: Path | None = None) -> DomainDisk:
        """A new exported disk: an overlay on `base` (qcow2), or an empty raw one of `size` bytes."""
        disk_id, kind = str(uuid.uuid4()), "qcow2" if base else "raw"
        backing = ["-F", "qcow2", "-b", str(base)] if base else []
        argv = ["qemu-img", "create", "-q", "-f", kind, *backing, str(self.file(disk_id)), str(size)]
        subprocess.run(argv, check=True)
        self._open(disk_id, kind)
        disk = DomainDisk(disk_id, unit, NbdAddress(self.address, self.port, f"{disk_id}.1"))
        self._export(disk_id, disk.source.name)
        self.exports[disk_id] = (kind, disk.source.name)
        return disk

    def grow(self, disk: DomainDisk, size: int) -> None:
        """As an array does it: the export is cut, the disk grown, and the export made anew under its name."""
        self._cut(disk.source.name)
        self.qmp("block_resize", **{"node-name": _node(disk.id), "size": size})
        self._export(disk.id, disk.source.name)

    def _open(self, disk_id: str, kind: str) -> None:
        below = {"driver": "file", "filename": str(self.file(disk_id)), "discard": "unmap"}
        self.qmp("blockdev-add", **{"driver": kind, "node-name": _node(disk_id), "file": below, "discard": "unmap"})

    def _export(self, disk_id: str, name: str) -> None:
        node = {"node-name": _node(disk_id), "name": name}
        self.qmp("block-export-add", **{"type": "nbd", "id": f"e{name}", "writable": True, **node})

    def _cut(self, name: str) -> None:
        self.qmp("block-export-del", id=f"e{name}", mode="hard")
        wait_for(lambda: all(item["id"] != f"e{name}" for item in self.qmp("query-block-exports")), "the export is cut")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Rig:
    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(3))
    blades: list[Blade] = field(default_factory=list)
    storage: Storage = field(init=False)
    namespaces: list[str] = field(default_factory=list)

    @property
    def center(self) -> Path:
        """The network namespace from which blades and storage are reached."""
        return Path(f"/run/netns/{self.namespaces[0]}")

    def namespace(self, name: str) -> str:
        full = f"hv{self.token}{name}"
        _ip("netns", "add", full)
        self.namespaces.append(full)
        _ip("-n", full, "link", "set", "lo", "up")
        return full

    def start(self) -> None:
        hub = self.namespace("hub")
        _ip("-n", hub, "link", "add", "fabric", "type", "bridge")
        _ip("-n", hub, "link", "set", "fabric", "up")
        _ip("-n", hub, "addr", "add", "10.199.0.1/24", "dev", "fabric")
        self.storage = Storage(hub, "10.199.0.1", self.folder)
        self.storage.start()
        for number in (1, 2):
            name = f"blade{number}"
            inside = self.namespace(name)
            _ip("-n", hub, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", inside)
            _ip("-n", hub, "link", "set", name, "master", "fabric", "up")
            _ip("-n", inside, "link", "set", "eth0", "up")
            _ip("-n", inside, "addr", "add", f"10.199.0.1{number}/24", "dev", "eth0")
            for bridge in ("vlan10", "vlan20"):
                _ip("-n", inside, "link", "add", bridge, "type", "bridge")
                _ip("-n", inside, "link", "set", bridge, "up")
            blade = Blade(name, self.folder / name, inside, f"10.199.0.1{number}")
            blade.folder.mkdir()
            self.blades.append(blade)
            blade.start()

    def stop(self) -> None:
        for blade in self.blades:
            blade.stop()
        if hasattr(self, "storage"):
            self.storage.kill()
        for name in reversed(self.namespaces):
            _ip("netns", "del", name)


def _node(disk_id: str) -> str:
    """QEMU's names for nodes begin with a letter and have 31 characters at most."""
    return f"d{disk_id[:30]}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Console:
    """A machine's serial line: its shell is asked, and what it says is read under a deadline."""

    def __init__(self, hypervisor: LibvirtHypervisor, domain_id: str) -> None:
        self.stream = hypervisor.serial(domain_id)
        self.ended = threading.Event()
        self._said = ""
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while data := self.stream.receive():
            with self._news:
                self._said += decoder.decode(data).replace("\r", "")
                self._news.notify_all()
        self.ended.set()

    def expect(self, pattern: str, seconds: float = 60.0) -> re.Match[str]:
        """Wait for the pattern; what was read up to its end is used up."""
        with self._news:
            found = self._news.wait_for(lambda: re.search(pattern, self._said), seconds)
            assert found, f"{pattern!r} did not come on the console, which said:\n{self._said}"
            self._said = self._said[found.end() :]
            return found

    def type(self, command: str) -> str:
        """Run a command in the guest's shell and return what it printed."""
        # The typed line is echoed; only what it prints has the mark in one piece.
        self.stream.send(f"echo BEG''IN; {command}; echo E''ND\n".encode())
        printed = self.expect(r"BEGIN\n((?s:.*?))END\n")[1]
        # The guest reports on the same line what comes and goes meanwhile: a processor, a disk.
        return re.sub(r"^naos-tiny .*\n", "", printed, flags=re.MULTILINE).strip()

    def close(self) -> None:
        self.stream.close()


class Events:
    """What a hypervisor reports from now on; over an own connection that `close` ends."""

    def __init__(self, hypervisor: LibvirtHypervisor) -> None:
        self._hypervisor = hypervisor
        self.heard: list[tuple[str, str]] = []
        events = hypervisor.events()
        hypervisor.domains()
        self._thread = threading.Thread(target=self._listen, args=(events,))
        self._thread.start()

    def _listen(self, events) -> None:
        for event in events:
            self.heard.append((event.domain_id, event.kind))

    def kinds(self, domain_id: str) -> list[str]:
        return [kind for heard, kind in self.heard if heard == domain_id]

    def wait(self, domain_id: str, kind: str) -> None:
        wait_for(lambda: kind in self.kinds(domain_id), f"{kind} is reported; heard {self.heard}")

    def close(self) -> None:
        """Its thread has ended."""
        self._hypervisor.close()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
