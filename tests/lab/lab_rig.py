"""A small lab on this machine, and what of the machine it could have changed."""

import contextlib
import json
import os
import subprocess
import time
import uuid
from pathlib import Path

from naos.engines.hosts import loops, netns, processes
from naos.engines.hosts.namespace import NamespaceHost, holder
from naos.lab import build, record, status
from naos.lab.plan import default_plan

RANGE = "10.214.0.0/16"
PORT = 18470
ARRAY, ONE, TWO, VAULT, WITNESS = "az05-array", "az05-blade1", "az05-blade2", "az06-vault", "az06-witness"


def wait_for(condition, what, seconds=20.0):
    """What the condition returns once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def said(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def trace(name):
    """What of this machine a lab of that name could have changed."""
    own = [
        {key: link.get(key) for key in ("ifname", "mtu", "master", "addr_info")}
        for link in json.loads(said("ip", "-j", "address"))
    ]
    for link in own:
        for address in link["addr_info"]:
            for key in ("valid_life_time", "preferred_life_time"):
                address.pop(key, None)
    return {
        "links": own,
        "routes": said("ip", "route", "show", "table", "all"),
        "filters": said("nft", "list", "ruleset"),
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "namespaces": [found for found in netns.names() if found.startswith(f"naos-{name}-")],
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"naos-{name}-" in line],
    }


class Lab:
    """A small lab of its own name in a root that is not there yet."""

    def __init__(self, folder):
        self.root = folder / "r"
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.plan = default_plan(zones=1, blades=2, name=self.name, network=RANGE)
        self.before = trace(self.name)

    def up(self):
        return build.up(self.root, self.plan, port=PORT)

    def folder(self, name):
        return self.root / "hosts" / name

    def host(self, name):
        return NamespaceHost(name, self.folder(name))

    def machine(self, name):
        return next(
            found for host, _, found in build.machines(self.root, record.require(self.root)) if host.name == name
        )

    def holder(self, name):
        return holder(self.folder(name), self.machine(name))

    def holders(self):
        return {host.name: self.holder(host.name) for host in self.plan.hosts}

    def pings(self, source, target, size=56):
        address = self.machine(target).cable.address
        argv = ["busybox", "ping", "-c", "1", "-W", "1", "-s", str(size), address]
        return self.host(source).run(argv, check=False).code == 0

    def part(self, name):
        return next(part for part in status.parts(self.root) if part.name == name)

    def healthy(self):
        return all(part.healthy for part in status.parts(self.root) if part.name != "controller")

    def members(self):
        inodes = {netns.inode(name) for name in self.plan.namespaces} - {None}
        return processes.members(inodes)

    def inside(self, *argv):
        """Run a command where the controller runs."""
        enter = ["nsenter", f"--net=/run/netns/{self.plan.controller}"]
        return subprocess.run([*enter, *argv], capture_output=True, text=True, timeout=60, check=False)

    def assert_gone(self, watched=()):
        assert not self.root.exists()
        assert trace(self.name) == self.before
        assert loops.loop_devices(self.root) == []
        assert [process for process in watched if processes.alive(process)] == []
        mark = str(self.root).encode()
        left = [pid for pid in processes.every_pid() if pid != os.getpid() and mark in _read(f"/proc/{pid}/mountinfo")]
        assert left == []


def _read(path):
    with contextlib.suppress(OSError):
        return Path(path).read_bytes()
    return b""


def identified(pids):
    return [process for pid in pids if (process := processes.identify(pid))]


def mounted_volume(lab):
    host, folder = lab.host(ARRAY), lab.folder(ARRAY) / "luns" / "x"
    host.run(["mkdir", "-p", f"{folder}/files"])
    host.run(["truncate", "-s", "400M", f"{folder}/volume"])
    host.run(["mkfs.xfs", "-q", f"{folder}/volume"])
    host.run(["mount", "-o", "loop", f"{folder}/volume", f"{folder}/files"])
    assert not os.path.ismount(f"{folder}/files")


@contextlib.contextmanager
def standing_lab(folder):
    """A lab that is there; at its end it has left nothing behind."""
    made = Lab(folder)
    try:
        made.up()
        yield made
        watched = identified(made.members())
        assert len(watched) >= 5 + 2  # holders and libvirts
    finally:
        build.down(made.root)
    made.assert_gone(watched)
    assert not build.down(made.root)
