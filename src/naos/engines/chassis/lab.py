"""Power and cables of the lab's hosts. Switching off is what pulling the plug is: nothing in the host hears of it.

Every call brings the host to exactly what is asked for, from wherever a killed predecessor left it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from naos.engines.chassis import holder as holder_script
from naos.engines.chassis.libvirt_files import PORT, prepare
from naos.engines.errors import EngineError, Missing, Unreachable
from naos.engines.hosts import netns, processes
from naos.engines.hosts.files import locked
from naos.engines.hosts.loops import detach_loops
from naos.engines.hosts.namespace import Machine, holder, read_machine
from naos.engines.ports import BladePower

ON_TIMEOUT = 20.0  # seconds for the holder to stand
READY_TIMEOUT = 40.0  # seconds for libvirt to listen
STOP_GRACE = 20.0  # seconds that processes get to end by themselves
_POLL = 0.02
_LOG_TAIL = 600  # characters
_PRIVATE = ("var/log", "var/cache")
_PRIVATE_HYPERVISOR = (*_PRIVATE, "etc/libvirt", "var/lib/libvirt")
_LISTENING = "0A"  # as /proc/net/tcp writes the state


class LabChassis:
    """Power control of the lab's host in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder

    def power(self) -> BladePower:
        """Raises Missing when there is no such host."""
        return BladePower.ON if holder(self._folder, read_machine(self._folder)) else BladePower.OFF

    def on(self) -> None:
        """Returns when the host is on; its libvirt listens a moment later."""
        power_on(self._folder, read_machine(self._folder))

    def off(self) -> None:
        power_off(self._folder, read_machine(self._folder))

    def reset(self) -> None:
        """Off and on again; a blade that is off is switched on."""
        self.off()
        self.on()


# ---------------------------------------------------------------------------------------------------------------- power


def power_on(folder: Path, machine: Machine) -> None:
    """Namespace, cable, holder and services: what is there stays, what is missing is made."""
    with _alone(folder, machine):
        process = holder(folder, machine)
        if process is None:
            _clear(folder, machine)
        netns.add(machine.namespace)
        netns.attach(machine.cable, joined=not is_cut(folder))
        if process is None:
            _start(folder, machine)
        elif machine.hypervisor and not listens(process.pid, machine.cable.address, PORT):
            processes.signal_process(process, signal.SIGHUP)


def power_off(folder: Path, machine: Machine) -> None:
    """Cut the power: every process of the host is gone, and its loop devices, cable and namespace with them."""
    with _alone(folder, machine):
        _clear(folder, machine)


def shut_down(folder: Path, machine: Machine) -> None:
    """Ask the host's processes to end, wait `STOP_GRACE` seconds at most, then cut the power."""
    with _alone(folder, machine):
        process = holder(folder, machine)
        if process is not None:
            processes.ask_members(_namespaces(machine), {process.pid}, STOP_GRACE)
        _clear(folder, machine)


def wait_ready(folder: Path, machine: Machine, timeout: float = READY_TIMEOUT) -> None:
    """Return when libvirt of the host listens, at once for a host without. Raises Unreachable after `timeout` seconds."""
    end = time.monotonic() + timeout
    while machine.hypervisor:
        process = holder(folder, machine)
        if process is None:
            raise Unreachable(machine.name, "starting libvirt", "the host lost its power")
        if listens(process.pid, machine.cable.address, PORT):
            return
        if time.monotonic() > end:
            raise Unreachable(machine.name, "starting libvirt", f"not within {timeout:g} s; {_said(folder)}")
        time.sleep(_POLL)


# --------------------------------------------------------------------------------------------------------------- cables


def is_cut(folder: Path) -> bool:
    return (folder / "cut").exists()


def cut(folder: Path, machine: Machine) -> None:
    """Pull the host's cable; it stays pulled through power cycles until `join`."""
    with _alone(folder, machine):
        (folder / "cut").touch()
        _switch(machine, joined=False)


def join(folder: Path, machine: Machine) -> None:
    with _alone(folder, machine):
        (folder / "cut").unlink(missing_ok=True)
        _switch(machine, joined=True)


def _switch(machine: Machine, *, joined: bool) -> None:
    if machine.cable.port in netns.links(machine.cable.fabric):
        netns.switch(machine.cable, joined=joined)


# ------------------------------------------------------------------------------------------------------------- plumbing


def listens(pid: int, address: str, port: int) -> bool:
    """Whether something listens on IPv4 `address` and `port` in the network namespace of process `pid`."""
    raw = bytes(int(part) for part in address.split("."))
    wanted = f"{int.from_bytes(raw, sys.byteorder):08X}:{port:04X}"
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return False
    return any(fields[1] == wanted and fields[3] == _LISTENING for fields in map(str.split, lines))


def _start(folder: Path, machine: Machine) -> None:
    private = _PRIVATE_HYPERVISOR if machine.hypervisor else _PRIVATE
    for place in private:
        (folder / place).mkdir(parents=True, exist_ok=True)
    service = prepare(folder, machine) if machine.hypervisor else []
    instructions = json.dumps({"folder": str(folder), "private": private, "service": service})
    script = [sys.executable, "-I", "-S", str(Path(holder_script.__file__)), instructions]
    with (folder / "holder.log").open("ab") as log:
        started = subprocess.Popen(
            ["ip", "netns", "exec", machine.namespace, "unshare", "-m", "-u", "--propagation", "private", *script],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"},
        )
    end = time.monotonic() + ON_TIMEOUT
    while holder(folder, machine) is None:
        if started.poll() is not None:
            raise EngineError(machine.name, "switching on", _said(folder))
        if time.monotonic() > end:
            raise Unreachable(machine.name, "switching on", f"not within {ON_TIMEOUT:g} s; {_said(folder)}")
        time.sleep(_POLL)


@contextlib.contextmanager
def _alone(folder: Path, machine: Machine) -> Iterator[None]:
    """One at a time changes a host. Raises Missing when the lab is gone."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock"))
        except FileNotFoundError as error:
            raise Missing("this machine", f"lab host {machine.name}", f"{folder} is gone") from error
        yield


def _clear(folder: Path, machine: Machine) -> None:
    processes.kill_members(machine.name, _namespaces(machine))
    (folder / "holder.json").unlink(missing_ok=True)
    detach_loops(folder)
    netns.detach(machine.cable)
    netns.delete(machine.namespace)


def _namespaces(machine: Machine) -> set[int]:
    """Inodes of the network namespaces in which processes of the host are: the named one, and should somebody have
    removed its name, the one of the processes that have the host's mounts."""
    own = processes.network_namespace(1)
    found = {netns.inode(machine.namespace)}
    needle = f" {machine.mark} ".encode()
    for pid in processes.every_pid():
        with contextlib.suppress(OSError):
            if needle in Path(f"/proc/{pid}/mountinfo").read_bytes():
                found.add(processes.network_namespace(pid))
    return {inode for inode in found if inode is not None and inode != own}


def _said(folder: Path) -> str:
    """The end of the holder's log, which libvirtd writes to as well."""
    try:
        text = (folder / "holder.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "it said nothing"
    return text[-_LOG_TAIL:].strip() or "it said nothing"
