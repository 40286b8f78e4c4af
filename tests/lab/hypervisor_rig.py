"""Two blades and a storage server on one machine, as small as the hypervisor driver's tests need.

A blade is a network namespace with its own libvirtd in a private mount and UTS namespace; the storage server is a
qemu-storage-daemon in a third namespace. libvirtd is reached over its unix socket, which every namespace can see.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from naos.engines.errors import CommandFailed, Unreachable
from naos.engines.ports import Completed

# Positional parameters: folder of the blade, host name. `exec` keeps libvirtd's pid that of the process started here.
BLADE_SCRIPT = """
set -e
for place in run/libvirt var/lib/libvirt etc/libvirt var/log/libvirt var/cache/libvirt; do
    mkdir -p "$1/$place" "/$place"
    mount --bind "$1/$place" "/$place"
done
hostname "$2"
exec libvirtd --listen --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid"
"""

# libvirt waits for QEMU to be gone in steps of 0.2 s, and a machine without a parent that collects it stays a zombie as
# long as this machine's init pleases (1-2 s). A subreaper collects at once; it ends when the last of its children has.
REAPER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
"""


def wait_for(condition, what: str, seconds: float = 20.0):
    """Poll until `condition` returns something true and return that; AssertionError with `what` after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Blade:
    """One blade; also the Host port of it."""

    name: str
    folder: Path
    namespace: str
    address: str
    reaper: subprocess.Popen = field(init=False)
    pid: int = 0

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    def enter(self) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "--"]

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0, check: bool = True
    ) -> Completed:
        try:
            done = subprocess.run(
                [*self.enter(), *argv], input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(self.name, argv[0], f"no end within {timeout} s") from None
        result = Completed(
            done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )
        if check and result.code:
            raise CommandFailed(self.name, " ".join(argv), result.stderr)
        return result

    def put(self, source: Path, target: str) -> None:
        self.run(["tee", target], stdin=source.read_bytes())

    def get(self, source: str, target: Path) -> None:
        shutil.copyfile(f"/proc/{self.pid}/root{source}", target)

    @contextmanager
    def socket(self, path: str) -> Iterator[str]:
        yield f"/proc/{self.pid}/root{path}"

    def start(self) -> None:
        (self.folder / "etc/libvirt").mkdir(parents=True, exist_ok=True)
        (self.folder / "libvirtd.conf").write_text(
            f'listen_tls = 0\nlisten_tcp = 1\nlisten_addr = "{self.address}"\nauth_tcp = "none"\n'
            f'auth_unix_rw = "none"\nhost_uuid = "{uuid.uuid4()}"\n'
        )
        (self.folder / "etc/libvirt/qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nnamespaces = []\ncgroup_controllers = []\n'
            f'dynamic_ownership = 0\nstdio_handler = "file"\n'
            f'migration_address = "{self.address}"\nmigration_host = "{self.address}"\n'
        )
        self.reaper = subprocess.Popen(
            [sys.executable, "-c", REAPER, "ip", "netns", "exec", self.namespace, "unshare", "-m", "-u", "--propagation", "private",
             "sh", "-c", BLADE_SCRIPT, "blade", str(self.folder), self.name],
            stdout=(self.folder / "libvirtd.log").open("ab"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for((self.folder / "run/libvirt/libvirt-sock").exists, f"libvirtd of {self.name} listens")
        self.pid = int((self.folder / "libvirtd.pid").read_text())

    def machine_pid(self, domain_id: str) -> int:
        return int((self.folder / f"run/libvirt/qemu/{domain_id}.pid").read_text())

    def stop(self) -> None:
        """End libvirtd, then the blade's machines by their pid files; the reaper ends with the last of them."""
        os.kill(self.pid, signal.SIGKILL)
        for file in (self.folder / "run/libvirt/qemu").glob("*.pid"):
            process = Path(f"/proc/{int(file.read_text())}")
            if process.exists() and file.stem in (process / "cmdline").read_text():
                os.kill(int(process.name), signal.SIGKILL)
        self.reaper.wait(timeout=10)


@dataclass
class Storage:
    """A qemu-storage-daemon that exports raw files over NBD."""

    namespace: str
    address: str
    folder: Path
    port: int = 10809
    process: subprocess.Popen = field(init=False)

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, "qemu-storage-daemon",
             "--chardev", f"socket,id=m,path={self.folder}/qmp,server=on,wait=off", "--monitor", "chardev=m",
             "--nbd-server", f"addr.type=inet,addr.host={self.address},addr.port={self.port},max-connections=0"],
        )  # fmt: skip
        wait_for((self.folder / "qmp").exists, "the storage daemon listens")

    def qmp(self, command: str, **arguments):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(self.folder / "qmp"))
            stream = wire.makefile("rw")
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

    def export(self, name: str, size: int) -> None:
        """Export a raw file of `size` bytes under `name`; one that exists is cut off, grown and exported again."""
        file = self.folder / name
        if file.exists():
            self.qmp("block-export-del", id=name, mode="hard")
            wait_for(lambda: all(item["id"] != name for item in self.qmp("query-block-exports")), "export is cut")
            self.qmp("block_resize", **{"node-name": name, "size": size})
        else:
            with file.open("wb") as image:
                image.truncate(size)
            self.qmp("blockdev-add", **{"driver": "file", "node-name": name, "filename": str(file), "discard": "unmap"})
        self.qmp("block-export-add", **{"type": "nbd", "id": name, "node-name": name, "name": name, "writable": True})

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Rig:
    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(3))
    blades: list[Blade] = field(default_factory=list)
    storage: Storage = field(init=False)
    namespaces: list[str] = field(default_factory=list)

    def ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def namespace(self, name: str) -> str:
        full = f"hv{self.token}{name}"
        self.ip("netns", "add", full)
        self.namespaces.append(full)
        self.ip("-n", full, "link", "set", "lo", "up")
        return full

    def start(self) -> None:
        hub = self.namespace("hub")
        self.ip("-n", hub, "link", "add", "fabric", "type", "bridge")
        self.ip("-n", hub, "link", "set", "fabric", "up")
        self.ip("-n", hub, "addr", "add", "10.199.0.1/24", "dev", "fabric")
        self.storage = Storage(hub, "10.199.0.1", self.folder)
        self.storage.start()
        for number in (1, 2):
            name = f"blade{number}"
            inside = self.namespace(name)
            self.ip("-n", hub, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", inside)
            self.ip("-n", hub, "link", "set", name, "master", "fabric", "up")
            self.ip("-n", inside, "link", "set", "eth0", "up")
            self.ip("-n", inside, "addr", "add", f"10.199.0.1{number}/24", "dev", "eth0")
            for bridge in ("vlan10", "vlan20"):
                self.ip("-n", inside, "link", "add", bridge, "type", "bridge")
                self.ip("-n", inside, "link", "set", bridge, "up")
            blade = Blade(name, self.folder / name, inside, f"10.199.0.1{number}")
            blade.folder.mkdir()
            blade.start()
            self.blades.append(blade)

    def stop(self) -> None:
        for blade in self.blades:
            blade.stop()
        if hasattr(self, "storage"):
            self.storage.stop()
        for name in self.namespaces:
            subprocess.run(["ip", "netns", "del", name], check=False)


MODULES = """drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_modern_dev
    drivers/virtio/virtio_pci_legacy_dev drivers/virtio/virtio_pci drivers/block/virtio_blk net/core/failover
    drivers/net/net_failover drivers/net/virtio_net drivers/virtio/virtio_balloon drivers/char/virtio_console
    drivers/acpi/button drivers/input/evdev""".split()

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/$module.ko; done
mkdir -p /var/run /var/log /etc/acpi /dev/virtio-ports
printf 'event=button/power\\naction=/bin/poweroff -f\\n' > /etc/acpi/power
printf '#!/bin/sh\\npoweroff -f\\n' > /etc/acpi/PWRF; mkdir -p /etc/acpi; chmod +x /etc/acpi/PWRF
acpid
echo naos-probe-ok
exec setsid cttyhack sh
"""


def build_guest(folder: Path) -> tuple[Path, Path]:
    """A kernel out of Debian's cloud kernel package and a busybox initial RAM disk; returns both paths."""
    depends = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], check=True, capture_output=True, text=True
    ).stdout
    package = depends.split("Depends: ")[1].split()[0]
    subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True, capture_output=True)
    tree = folder / "tree"
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", next(folder.glob("*.deb"))], stdout=subprocess.PIPE
    ) as archive:
        tree.mkdir()
        subprocess.run(["tar", "-x", "-C", tree, "--wildcards", "./boot/vmlinuz-*", *(f"*/kernel/{name}.ko" for name in MODULES)],
            stdin=archive.stdout, check=True,
        )  # fmt: skip
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "lib", "mnt"):
        (root / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in MODULES:
        shutil.copy(next(tree.glob(f"lib/modules/*/kernel/{name}.ko")), root / "lib")
    (root / "modules").write_text(" ".join(Path(name).name for name in MODULES))
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    image = folder / "initrd"
    with image.open("wb") as out:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out, check=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    return next(tree.glob("boot/vmlinuz-*")), image
