"""The process that keeps a host of the lab: run inside its namespaces, by path, with nothing but the standard library.

It gives the host its name and its private folders, starts the host's services, and collects whatever process loses its
parent there (libvirt waits for QEMU to be collected). SIGHUP: start what is not running. It ends only by SIGKILL.
"""

import ctypes
import json
import os
import signal
import socket
import sys
import uuid
from pathlib import Path

MS_BIND = 4096
MS_NOSUID_NODEV = 6
PR_SET_CHILD_SUBREAPER = 36
AWAITED = {signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT}

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, options)]
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def furnish(folder: Path, machine: dict[str, object], private: list[str]) -> None:
    """Host name and private folders. /run is empty at every start, as after a machine's boot."""
    socket.sethostname(str(machine["name"]))
    for place in private:
        mount(str(folder / place), f"/{place}", None, MS_BIND)
    mount(f"naos-{machine['id']}", "/run", "tmpfs", MS_NOSUID_NODEV, "mode=755")
    Path("/run/lock").mkdir()
    Path("/run/naos-boot-id").write_text(f"{uuid.uuid4()}\n", encoding="ascii")  # the kernel's own is not this host's


def record(folder: Path) -> None:
    """Say that the host is on. Last, so that who reads it finds everything in place."""
    start = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    new = folder / "holder.json.new"
    new.write_text(json.dumps({"pid": os.getpid(), "start": start, "boot": boot}), encoding="utf-8")
    new.replace(folder / "holder.json")


def collect() -> set[int]:
    """Pids of the children that have ended."""
    ended: set[int] = set()
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.add(pid)


def main(folder: Path, private: list[str], service: list[str]) -> None:
    """service: command that runs as long as the host does; one that ended starts again at SIGHUP."""
    signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    furnish(folder, json.loads((folder / "host.json").read_text(encoding="utf-8")), private)
    record(folder)
    running = 0
    wanted = bool(service)
    while True:
        if wanted and not running:
            running = os.posix_spawnp(service[0], service, os.environ, setsid=True, setsigmask=[])
        wanted = False
        number = signal.sigwait(AWAITED)
        if running in collect():
            running = 0
        wanted = bool(service) and number == signal.SIGHUP


if __name__ == "__main__":
    instructions = json.loads(sys.argv[1])
    main(Path(instructions["folder"]), instructions["private"], instructions["service"])
