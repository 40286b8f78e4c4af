"""Faults of a real lab's blades, and a guest that keeps a ledger: every record that it has acknowledged must be there, once.

The guest writes numbered records with their checksums, each with fsync, and says a record's number on its serial line once the disk
has it. What it said is read from the line's log on whichever blade it was; that is what the ledger is held against.
"""

import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from real_platform import URL, Real

from naos.cli import console, naming, waiting
from naos.cli.client import Api, Connection, opened
from naos.cli.failures import Failure
from naos.engines.hosts import processes
from naos.lab import record

COMPUTE = "/compute/v1/vcenters"
DOCTOR = "/platform/v1/doctor"
SERIAL = "var/log/libvirt/qemu/serial"
ANSWER = re.compile(r"naos-answer:(.*)$", re.MULTILINE)
ACKNOWLEDGED = re.compile(r"\back:(\d+);")
PATIENCE = 90.0
HELD = 10.0
"""Seconds that a fault lasts which must restart nothing: longer than it takes to find a blade dead, or a connection lost."""

# It starts with the guest and goes on after the last record that is there. /tmp does not outlive the guest.
WRITER = (
    "#!/bin/sh\\n"
    "touch /root/ledger; n=$(tail -n 1 /root/ledger); n=${n%% *}; n=${n:-0}\\n"
    "while :; do\\n"
    "[ -e /tmp/pause ] && { usleep 50000; continue; }\\n"
    "n=$((n+1)); s=$(echo $n | md5sum)\\n"
    'echo "$n ${s%% *}" | dd of=/root/ledger oflag=append conv=notrunc,fsync 2> /dev/null'
    ' && echo "ack:$n;" > /dev/ttyS0\\n'
    "usleep 40000\\n"
    "done\\n"
)
INSTALL = (
    f"printf '%b' '{WRITER}' > /root/writer; chmod +x /root/writer; touch /tmp/pause; "
    "grep -q writer /etc/inittab || echo ::respawn:/root/writer >> /etc/inittab; sync; kill -HUP 1"
)
REMOVE = "sed -i /writer/d /etc/inittab; kill -HUP 1; sleep 1; pkill -f /root/writer; rm -f /root/writer; sync"


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE, then: Callable[[], str] = str) -> Any:
    """Poll; what `condition` returned once it is true. A controller that is away for the moment is asked again. then: what is to be
    said about the state after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Failure):
            if found := condition():
                return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:.0f} s: {what} {then()}")


@dataclass
class Guest:
    """A machine with a ledger. told: the highest number that it has acknowledged; held: the first one that the ledger still has."""

    name: str
    id: str
    told: int = 0
    held: int = 1


@dataclass
class Bench:
    """A lab with a pool of two blades in AZ05, and an API that outlives controllers."""

    real: Real
    api: Api
    guests: dict[str, Guest] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------------------- looking

    def get(self, path: str, **filters: Any) -> Any:
        return self.api.get(path, **filters)

    def machine(self, guest: Guest) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"{COMPUTE}/virtual_machines/{guest.id}")
        return found

    def blade(self, guest: Guest) -> str:
        return str(self.machine(guest)["host"]["name"])

    def blades(self) -> dict[str, str]:
        """The pool's blades, and what each counts as."""
        return {row["name"]: row["condition"] for row in self.get(f"{COMPUTE}/availability/hosts")}

    def other(self, blade: str) -> str:
        return next(name for name in self.blades() if name != blade)

    def recoveries(self, guest: Guest) -> list[dict[str, Any]]:
        rows = self.get(f"{COMPUTE}/availability/recoveries")
        return [row for row in rows if row["virtualMachineId"] == guest.id]

    def processes(self, *guests: Guest) -> dict[int, tuple[str, str]]:
        """Every QEMU of the lab that has one of these machines: pid -> the machine's name and the blade."""
        found = {}
        for host in record.require(self.real.root).plan.hosts:
            for pid in self.real.program_pids(host.name, "qemu-system-x86_64") if host.kind == "blade" else ():
                words = processes.command_line(pid)
                for guest in guests:
                    if guest.id in words:
                        found[pid] = (guest.name, host.name)
        return found

    def is_whole(self) -> bool:
        """Every blade is healthy and connected, nothing is under way, and the doctor finds nothing."""
        if set(self.blades().values()) != {"healthy"}:
            return False
        hosts = {row["name"]: row["metrics"]["connected"] for row in self.get(f"{COMPUTE}/hosts")}
        return all(hosts[name] for name in self.blades()) and self.is_idle() and self.get(DOCTOR) == []

    def is_idle(self) -> bool:
        states = {waiting.state_of(each)[0] for each in self.get(waiting.ACTIVITIES)}
        return not states & {"waiting", "running"}

    def amiss(self) -> str:
        with contextlib.suppress(Failure):
            return f"{self.blades()} {self.get(DOCTOR)} {self.get(waiting.ACTIVITIES)[:3]}{self.real.log()}"
        return f"the controller does not answer{self.real.log()}"

    def settle(self) -> None:
        """Until all is well."""
        until(self.is_whole, "all is well", then=self.amiss)

    def protect(self, *, enabled: bool = True, frozen_after: int = 0, pool: str = "pool-AZ05") -> None:
        """High availability of the pool, on or off."""
        body = {"enabled": enabled, "frozenAfter": frozen_after}
        found = naming.find(self.api, naming.POOL, pool)["id"]
        waiting.follow(self.api, self.api.write("PATCH", f"{naming.POOL.path}/{found}/availability", body))

    # -------------------------------------------------------------------------------------------------------------- guests

    def ask(self, guest: Guest, command: str, seconds: float = 60.0) -> str:
        """Run a command at the guest's prompt; what it prints, on one line."""
        words = f'echo naos-"answer:"$({{ {command}; }} 2>&1 | tr "\\n" " ")'
        said = console.ask(self.api, guest.id, words, ANSWER, seconds)
        assert said is not None, f"{guest.name} did not answer {command!r}"
        return said.partition("naos-answer:")[2].strip()

    def join(self, name: str) -> Guest:
        """Give a running machine a ledger, or go on with the one that it has. Nothing is written yet."""
        guest = Guest(name, naming.find(self.api, naming.MACHINE, name)["id"])
        until(lambda: self.is_up(guest), f"{name} is up")
        guest.held = int(self.ask(guest, f"{INSTALL}; head -n 1 /root/ledger 2> /dev/null | cut -d ' ' -f 1") or 1)
        self.guests[name] = guest
        return guest

    def leave(self, guest: Guest) -> None:
        self.ask(guest, REMOVE)
        del self.guests[guest.name]

    def is_up(self, guest: Guest) -> bool:
        return "ready:" in self.api.text(f"{COMPUTE}/virtual_machines/{guest.id}/consoles/log")

    def boot(self, guest: Guest) -> str:
        """What is the same from a guest's start to its end, wherever it moves."""
        return self.ask(guest, "cat /proc/sys/kernel/random/boot_id")

    def pause(self, guest: Guest) -> None:
        self.ask(guest, "touch /tmp/pause")
        time.sleep(0.5)
        self.listen(guest)

    def go_on(self, guest: Guest) -> None:
        self.ask(guest, "rm -f /tmp/pause")

    def listen(self, guest: Guest) -> int:
        """The highest number that the guest has acknowledged so far, on any blade."""
        for path in self.real.root.glob(f"hosts/*/{SERIAL}/{guest.id}*.log"):
            with contextlib.suppress(FileNotFoundError):
                numbers = ACKNOWLEDGED.findall(path.read_text(errors="replace"))
                guest.told = max([guest.told, *map(int, numbers)])
        return guest.told

    def written_on(self, guest: Guest, more: int = 5) -> int:
        """Wait until the guest has acknowledged so many records more."""
        before = self.listen(guest)
        until(lambda: self.listen(guest) >= before + more, f"{guest.name} writes on after {before}")
        return guest.told

    def check(self, guest: Guest) -> int:
        """Every acknowledged record is in the ledger, once, and whole; how many there are. The guest stands still afterwards."""
        self.pause(guest)
        words = self.ask(guest, "cat /root/ledger; echo end", 120).split()
        assert words.pop() == "end"
        numbers, sums = [int(word) for word in words[::2]], words[1::2]
        assert numbers == list(range(guest.held, guest.held + len(numbers))), f"{guest.name}: {numbers}"
        assert sums == [hashlib.md5(f"{number}\n".encode()).hexdigest() for number in numbers]
        assert guest.held + len(numbers) > guest.told, f"{guest.name} lost {numbers[-1:]} to {guest.told}"
        if numbers:
            self.ask(guest, "tail -n 1 /root/ledger > /root/short && sync && mv /root/short /root/ledger && sync")
            guest.held = numbers[-1]
        return len(numbers)

    # -------------------------------------------------------------------------------------------------------------- faults

    def forbid(self, blade: str, *addresses: str) -> None:
        """Nothing goes from the blade to these addresses, and nothing comes from them."""
        lines = ["add table inet proof"]
        for hook, end in (("input", "saddr"), ("output", "daddr")):
            lines.append(f"add chain inet proof {hook} {{ type filter hook {hook} priority -300; }}")
            lines += [f"add rule inet proof {hook} ip {end} {address} drop" for address in addresses]
        self._nft(blade, lines)

    def allow(self, blade: str) -> None:
        self._nft(blade, ["add table inet proof", "delete table inet proof"])

    def _nft(self, blade: str, lines: list[str]) -> None:
        enter = ["nsenter", f"--net=/run/netns/naos-proof-{blade}", "nft", "-f", "-"]
        subprocess.run(enter, input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)

    def addresses(self) -> dict[str, str]:
        plan = record.require(self.real.root).plan
        return {host.name: str(host.address) for host in plan.hosts} | {"controller": str(plan.controller_address)}

    def signal(self, blade: str, number: signal.Signals, program: str | None = None) -> None:
        """To every process of a blade, or to those of one program."""
        for pid in self.real.program_pids(blade, program) if program else self.real.pids(blade):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(self, part: str) -> None:
        self.real.naos("lab", "start", part)


@contextlib.contextmanager
def bench_of(real: Real) -> Iterator[Bench]:
    with opened(Connection(URL, real.root / "credentials")) as api:
        yield Bench(real, api)


# --------------------------------------------------------------------------------------------------------- the fault table


@dataclass(frozen=True)
class Fault:
    """strike and heal: on a blade. condition: what the blade counts as meanwhile, None: nothing is shown. lost: whether its machines
    start elsewhere. writes: whether its guests can write meanwhile. only_writers: a blade whose guests write nothing is none the
    worse for it. frozen_after: the pool's setting for it."""

    strike: Callable[[Bench, str], None]
    heal: Callable[[Bench, str], None]
    condition: str | None = None
    lost: bool = False
    writes: bool = True
    only_writers: bool = False
    frozen_after: int = 0


def _kill(bench: Bench, blade: str) -> None:
    bench.signal(blade, signal.SIGKILL)


def _start(bench: Bench, blade: str) -> None:
    bench.start(blade)


def _pull_cable(bench: Bench, blade: str) -> None:
    bench.real.naos("lab", "cut", blade)


def _put_cable(bench: Bench, blade: str) -> None:
    bench.real.naos("lab", "join", blade)
    bench.start(blade)


def _freeze(bench: Bench, blade: str) -> None:
    bench.signal(blade, signal.SIGSTOP)


def _thaw(bench: Bench, blade: str) -> None:
    bench.signal(blade, signal.SIGCONT)
    bench.start(blade)


def _cut_management(bench: Bench, blade: str) -> None:
    bench.forbid(blade, bench.addresses()["controller"])


def _cut_storage(bench: Bench, blade: str) -> None:
    bench.forbid(blade, bench.addresses()["az05-array"])


def _allow(bench: Bench, blade: str) -> None:
    bench.allow(blade)


def _cut_for_good(bench: Bench, blade: str) -> None:
    """From everybody, and its chassis is not reached either: the guests on it run on, and nobody can end them."""
    bench.forbid(blade, "0.0.0.0/0")
    folder = bench.real.root / "hosts" / blade
    (folder / "host.json").rename(folder / "host.aside")


def _bring_back(bench: Bench, blade: str) -> None:
    folder = bench.real.root / "hosts" / blade
    (folder / "host.aside").rename(folder / "host.json")
    bench.allow(blade)


def _kill_libvirtd(bench: Bench, blade: str) -> None:
    bench.signal(blade, signal.SIGKILL, "libvirtd")


def _kill_controller(bench: Bench, _blade: str) -> None:
    bench.real.naos("lab", "kill", "controller")


def _start_controller(bench: Bench, _blade: str) -> None:
    bench.start("controller")


def _kill_daemon(bench: Bench, _blade: str) -> None:
    bench.signal("az05-array", signal.SIGKILL, "qemu-storage-daemon")


def _nothing(_bench: Bench, _blade: str) -> None:
    """It is healed by itself."""


FAULTS = {
    "killed": Fault(_kill, _start, "dead", lost=True),
    "cut off": Fault(_pull_cable, _put_cable, "dead", lost=True),
    "cut off, its chassis too": Fault(_cut_for_good, _bring_back, "dead", lost=True),
    "storage cut": Fault(_cut_storage, _allow, "storage_lost", lost=True, only_writers=True),
    "frozen, lost by choice": Fault(_freeze, _thaw, "frozen", lost=True, frozen_after=5),
    "frozen": Fault(_freeze, _thaw, "unmanaged", writes=False),
    "management cut": Fault(_cut_management, _allow, "unmanaged"),
    "libvirtd dead": Fault(_kill_libvirtd, _start, "unmanaged"),
    "controller dead": Fault(_kill_controller, _start_controller),
    "array's daemon dead": Fault(_kill_daemon, _nothing),
}


# ------------------------------------------------------------------------------------------------------------- the proof


def _idle(bench: Bench, guest: Guest, blade: str) -> None:
    del blade
    bench.pause(guest)


def _writing(bench: Bench, guest: Guest, blade: str) -> None:
    del blade
    bench.go_on(guest)
    bench.written_on(guest)


def _migrating(bench: Bench, guest: Guest, blade: str) -> None:
    """On its way: its second process stands."""
    _writing(bench, guest, blade)
    target = naming.find(bench.api, naming.BLADE, bench.other(blade))["id"]
    bench.api.write("POST", f"{COMPUTE}/virtual_machines/relocate", {"virtualMachines": [guest.id], "hostId": target})
    until(lambda: len(bench.processes(guest)) > 1 or bench.blade(guest) != blade, "it is on its way")


def _snapshotting(bench: Bench, guest: Guest, blade: str) -> None:
    _writing(bench, guest, blade)
    for name in ("one", "two"):
        bench.api.write("POST", naming.SNAPSHOT.path, {"virtualMachineId": guest.id, "name": name})


def _evacuating(bench: Bench, guest: Guest, blade: str) -> None:
    """Its blade is being emptied for maintenance: its second process stands."""
    _writing(bench, guest, blade)
    bench.api.write("POST", _maintenance(bench, blade), {})
    until(lambda: len(bench.processes(guest)) > 1 or bench.blade(guest) != blade, "it is on its way")


def _maintenance(bench: Bench, blade: str) -> str:
    return f"{naming.BLADE.path}/{naming.find(bench.api, naming.BLADE, blade)['id']}/maintenance"


WORKS = {
    "idle": _idle,
    "writing": _writing,
    "migrating": _migrating,
    "snapshotting": _snapshotting,
    "evacuating": _evacuating,
}
MOVING = ("migrating", "evacuating")


def prove(bench: Bench, guest: Guest, fault: Fault, work: str) -> None:
    """Strike the guest's blade while it works, see what becomes of it, heal, and count."""
    if fault.only_writers and work == "idle":
        fault = replace(fault, condition="healthy", lost=False)
    bench.protect(frozen_after=fault.frozen_after)
    if not _runs(bench, guest):  # as a proof that failed may have left it
        bench.real.naos("vm", "start", guest.name)
    bench.settle()
    blade, before = bench.blade(guest), bench.boot(guest)
    known = {row["id"] for row in bench.recoveries(guest)}
    until(lambda: bench.is_whole() and seen(bench) >= 2, "both blades were seen by the array")
    WORKS[work](bench, guest, blade)
    bench.listen(guest)
    fault.strike(bench, blade)
    try:
        if fault.lost:
            _see_it_restart(bench, guest, fault, blade, work, known)
        else:
            _see_it_stay(bench, guest, fault, blade, work)
        bench.listen(guest)
    finally:  # or the next proof begins with a broken rack
        fault.heal(bench, blade)
    bench.settle()
    left = bench.processes(guest)
    assert list(left.values()) == [(guest.name, bench.blade(guest))], f"{guest.name} runs as {left}"
    assert bench.machine(guest)["powerState"] == "running"
    if not fault.lost:
        new = [row for row in bench.recoveries(guest) if row["id"] not in known]
        assert {(row["progress"], row["reason"]) for row in new} <= {("abandoned", "it runs after all")}, (
            new
        )  # it had moved
        assert bench.boot(guest) == before, "it was started again"
    bench.go_on(guest)
    bench.written_on(guest)
    bench.check(guest)
    if work == "evacuating" and naming.find(bench.api, naming.BLADE, blade)["maintenance"]:
        waiting.follow(bench.api, bench.api.write("DELETE", _maintenance(bench, blade)))
    for snapshot in bench.get(naming.SNAPSHOT.path, virtualMachineId=guest.id):
        waiting.follow(bench.api, bench.api.write("DELETE", f"{naming.SNAPSHOT.path}/{snapshot['id']}"))


def _runs(bench: Bench, guest: Guest) -> bool:
    return bool(bench.machine(guest)["powerState"] == "running")


def seen(bench: Bench) -> int:
    """How many blades the array has seen: that it saw one is what makes its silence tell something. The tables remember it."""
    with contextlib.closing(sqlite3.connect(f"file:{bench.real.root}/controller/naos.db?mode=ro", uri=True)) as tables:
        return int(tables.execute("SELECT count(*) FROM blade_conditions WHERE seen").fetchone()[0])


def _see_it_restart(bench: Bench, guest: Guest, fault: Fault, blade: str, work: str, known: set[str]) -> None:
    other = bench.other(blade)
    if work != "evacuating":  # a blade that was empty in time is missed by nobody
        until(
            lambda: bench.blades()[blade] == fault.condition, f"{blade} counts as {fault.condition}", then=bench.amiss
        )
    until(lambda: bench.blade(guest) == other and _runs(bench, guest), f"{guest.name} runs elsewhere", then=bench.amiss)
    if work in MOVING:  # where it arrived in time, its line there begins with what it writes next
        bench.written_on(guest)
    else:
        until(lambda: bench.is_up(guest), f"{guest.name} is up elsewhere", then=bench.amiss)
    rows = [row for row in bench.recoveries(guest) if row["id"] not in known]
    if work in MOVING:  # it may have arrived in time
        assert len(rows) <= 1, rows
    else:
        assert [(row["progress"], row["cause"]) for row in rows] == [("recovered", fault.condition)], rows
    bench.listen(guest)


def _see_it_stay(bench: Bench, guest: Guest, fault: Fault, blade: str, work: str) -> None:
    there = set(bench.processes(guest)) if fault.condition is not None else set()
    begun = time.monotonic()
    if fault.condition is not None:
        until(
            lambda: bench.blades()[blade] == fault.condition, f"{blade} counts as {fault.condition}", then=bench.amiss
        )
    if fault.writes and work == "writing":
        bench.written_on(guest)
    time.sleep(max(HELD - (time.monotonic() - begun), 0.0))
    if there and work in ("idle", "writing"):
        assert set(bench.processes(guest)) == there, "its process is another one"
        assert bench.blades()[blade] == fault.condition
