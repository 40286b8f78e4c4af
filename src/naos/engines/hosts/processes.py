"""Processes, told apart for ever (pid and start time) and found by the network namespace they are in.

A pid alone may have been given to another program since; a process is only signalled through a handle of the kernel's
(pidfd) after it was looked at through that handle.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from naos.engines.errors import EngineError

_PROC = Path("/proc")
_DEAD = frozenset("ZXx")


@dataclass(frozen=True)
class Process:
    """start: clock ticks between the machine's start and the process's."""

    pid: int
    start: int


def boot_id() -> str:
    """The id of this run of the machine: pids, start times and namespaces of an earlier one mean nothing."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none, or only its remains (a zombie)."""
    fields = _status_fields(pid)
    return None if fields is None or fields[0] in _DEAD else Process(pid, int(fields[19]))


def alive(process: Process) -> bool:
    return identify(process.pid) == process


def stopped(pid: int) -> bool:
    """Whether SIGSTOP holds the process."""
    fields = _status_fields(pid)
    return fields is not None and fields[0] == "T"


def network_namespace(pid: int) -> int | None:
    """Inode of the process's network namespace, or None when it is gone."""
    try:
        return (_PROC / str(pid) / "ns/net").stat().st_ino
    except OSError:
        return None


def every_pid() -> Iterator[int]:
    for entry in os.scandir(_PROC):
        if entry.name.isdecimal():
            yield int(entry.name)


def members(namespaces: Collection[int]) -> list[int]:
    """Pids of every process in one of these network namespaces, but never the caller's own."""
    if not namespaces:
        return []
    _refuse_root(namespaces)
    return [pid for pid in every_pid() if pid != os.getpid() and network_namespace(pid) in namespaces]


def program(pid: int) -> str:
    """File name of the program that the process runs; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "exe").readlink().name
    except OSError:
        return ""


def command_line(pid: int) -> str:
    """The process's command as shown to people; empty when it is gone."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def end_process(process: Process, number: signal.Signals, timeout: float) -> bool:
    """Signal exactly this process and wait up to `timeout` seconds for its end. True when it has ended."""
    return _signal_and_wait([process.pid], lambda pid: identify(pid) == process, number, timeout)


def signal_process(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process. False when it is gone."""
    with _handles([process.pid], lambda pid: identify(pid) == process) as handles:
        for handle in handles:
            signal.pidfd_send_signal(handle, number)
        return bool(handles)


def ask_members(namespaces: Collection[int], spared: Collection[int], grace: float) -> None:
    """Ask (SIGTERM) every process of the namespaces but the `spared` pids to end; wait up to `grace` seconds."""
    chosen = [pid for pid in members(namespaces) if pid not in spared]
    _signal_and_wait(chosen, lambda pid: network_namespace(pid) in namespaces, signal.SIGTERM, grace)


def kill_members(where: str, namespaces: Collection[int], timeout: float = 20.0) -> None:
    """SIGKILL every process of the namespaces until there is none: what was started meanwhile is met in the next round.

    Raises EngineError when one is still there after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while chosen := members(namespaces):
        left = end - time.monotonic()
        if left <= 0:
            named = ", ".join(f"{pid} ({program(pid)})" for pid in chosen)
            raise EngineError(where, "ending its processes", f"after {timeout:g} s there is still {named}")
        _signal_and_wait(chosen, lambda pid: network_namespace(pid) in namespaces, signal.SIGKILL, left)


def _refuse_root(namespaces: Collection[int]) -> None:
    """The one mistake that would end every process of the machine."""
    if network_namespace(1) in namespaces:
        raise EngineError("this machine", "listing a namespace's processes", "it is the machine's own namespace")


def _status_fields(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on; the program's name before them may hold blanks and brackets."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@contextlib.contextmanager
def _handles(pids: Collection[int], wanted: Callable[[int], bool]) -> Iterator[list[int]]:
    """Handles of those processes that are still `wanted` once the handle is held."""
    handles: list[int] = []
    try:
        for pid in pids:
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            handles.append(handle)
            if not wanted(pid):
                os.close(handles.pop())
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _signal_and_wait(
    pids: Collection[int], wanted: Callable[[int], bool], number: signal.Signals, timeout: float
) -> bool:
    """Signal, then wait until all have ended: a handle turns readable only when the process has let go of its mounts."""
    end = time.monotonic() + timeout
    with _handles(pids, wanted) as handles:
        poll = select.poll()
        for handle in handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            poll.register(handle, select.POLLIN)
        waiting = set(handles)
        while waiting and (left := end - time.monotonic()) > 0:
            for handle, _event in poll.poll(left * 1000):
                poll.unregister(handle)
                waiting.discard(handle)
        return not waiting
