"""A fleet without machines under a virtual clock: the real manager decides, and the fleet does what it says.

A scenario is a folder: `scenario.toml` (what there is, and what happens when) and `expected.log` (what comes of it). Times are
virtual seconds. A machine's disk takes writes under the newest epoch only, as an array's does, and after every step it is
checked that never two guests of one machine can write.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naos.availability.detection import LOST, Condition, Seen, Sight
from naos.availability.hung import Patience
from naos.availability.manager import Case, Loss, Manager, Member, Pool
from naos.availability.models import Priority
from naos.availability.rules import Settings
from naos.engines.ports import BladePower

STEP, LOOK = 0.25, 0.5
ISOLATE_SECONDS, OFF_SECONDS, START_SECONDS, LEASE_SECONDS = 0.1, 0.4, 0.5, 5.0
GIB = 2**30
FATAL = ("kill", "cut", "cut-storage", "freeze", "crash", "stall")


@dataclass
class Blade:
    """What is true of it, whoever knows."""

    name: str
    powered: bool = True
    managed: bool = True
    stored: bool = True
    frozen: bool = False
    daemon: bool = True
    chassis: bool = True
    stalled_until: float = 0.0

    def answers(self, now: float) -> bool:
        return self.powered and self.managed and self.daemon and not self.frozen and now >= self.stalled_until

    def storage(self, now: float) -> bool:
        return self.powered and self.stored and now >= self.stalled_until


@dataclass
class Machine:
    """As the tables have it (blade, running, reserved), and `guests`: blade -> epoch of the disk that each has open."""

    name: str
    memory: int
    settings: Settings
    writes: bool
    blade: str
    running: bool = True
    reserved: int = 0
    wanted: bool = True
    epoch: int = 1
    guests: dict[str, int] = field(default_factory=dict)
    hangs: bool = False


@dataclass
class Recovery:
    machine: str
    blade: str
    cause: str
    progress: str = "isolating"
    reason: str = ""
    due: float = 0.0
    target: str = ""


class Fleet:
    def __init__(self, described: dict[str, Any]) -> None:
        memory = described.get("blade_memory", 64)
        names = [f"b{number}" for number in range(1, described["blades"] + 1)]
        self.blades = {name: Blade(name) for name in names}
        enabled = described.get("memory", memory * len(names)) * GIB
        self.pool = Pool("pool", names, enabled, memory * GIB, described.get("frozen_after", 0))
        self.machines = {row["name"]: self._machine(row) for row in _machines(described)}
        self.faults = [(float(fault.split()[0]), fault.split()[1:]) for fault in described["faults"]]
        self.end = float(described.get("end", max(at for at, _ in self.faults) + 40))
        self.now, self.log, self.started = 0.0, list[str](), dict[str, float]()
        self.manager, self.patience = Manager(), Patience()
        self.array, self.leaderless_until, self.asleep_until = True, 0.0, 0.0
        self.seen: set[str] = set()
        self.recoveries: list[Recovery] = []
        self.cleaning: dict[str, float] = {}
        self.shaken: set[str] = set()
        self.sights: dict[str, Sight] = {}
        self.crashes: dict[str, list[int]] = {}
        self.restarts = 0

    @staticmethod
    def _machine(row: dict[str, Any]) -> Machine:
        names = ("priority", "best_effort", "start_order", "start_delay", "restart_limit", "hung_after")
        settings = Settings(**{name: row[name] for name in names if name in row})
        size = row.get("memory", 8) * GIB
        made = Machine(row["name"], size, settings, row.get("writes", True), row["blade"], reserved=size)
        if row.get("running", True):
            made.guests[made.blade] = made.epoch
        else:
            made.running, made.reserved, made.wanted = False, 0, False
        return made

    # ---------------------------------------------------------------------------------------------------------- the run

    def run(self) -> list[str]:
        while self.now <= self.end:
            for at, words in self.faults:
                if at == self.now:
                    self._say(" ".join(words))
                    getattr(self, f"do_{words[0].replace('-', '_')}")(*words[1:])
            self._live()
            if self.now >= max(self.leaderless_until, self.asleep_until):
                self._round()
            self._check()
            self.now += STEP
        return self.log

    def _say(self, words: str) -> None:
        self.log.append(f"{self.now:7.2f} {words}")

    def _check(self) -> None:
        """Never twice: at most one guest of a machine can write to its disk."""
        for machine in self.machines.values():
            writers = [blade for blade, epoch in machine.guests.items() if epoch == machine.epoch]
            assert len(writers) <= 1, f"{self.now}: {machine.name} writes on {writers}"
            if machine.guests and not machine.wanted:
                assert not writers or machine.running, f"{self.now}: {machine.name} was to be off"

    def _live(self) -> None:
        """Activities end after their time, whoever leads: any controller goes on with them."""
        for recovery in [each for each in self.recoveries if each.due and each.due <= self.now]:
            machine = self.machines[recovery.machine]
            recovery.due = 0.0
            if recovery.progress == "isolating":
                self._isolated(recovery, machine)
            elif recovery.progress == "starting":
                self._start(recovery, machine)
        for blade in [name for name, due in self.cleaning.items() if due <= self.now]:
            del self.cleaning[blade]
            for machine in self.machines.values():
                if machine.blade != blade or not machine.running:
                    machine.guests.pop(blade, None)
            self.manager.rejoined(blade)
            self._say(f"  {blade} cleaned")

    def _isolated(self, recovery: Recovery, machine: Machine) -> None:
        if not self.array:
            recovery.due = self.now + 1.0
            return
        machine.epoch += 1
        if recovery.cause in (Condition.DEAD, Condition.FROZEN):
            self._switch_off(recovery.blade)
        else:
            machine.guests.pop(recovery.blade, None)
        machine.running, machine.reserved = False, 0
        disabled = machine.settings.priority == Priority.DISABLED
        recovery.progress = "waiting" if machine.wanted and not disabled else "abandoned"
        self._say(f"  {machine.name} isolated" + ("" if recovery.progress == "waiting" else ", not to be started"))

    def _switch_off(self, blade: str) -> None:
        held = self.blades[blade]
        if held.chassis and held.powered:
            self._say(f"  {blade} switched off")
            self._lose_power(blade)

    def _lose_power(self, blade: str) -> None:
        self.blades[blade].powered = False
        for machine in self.machines.values():
            machine.guests.pop(blade, None)

    def _start(self, recovery: Recovery, machine: Machine) -> None:
        target = self.blades[recovery.target]
        if not (target.answers(self.now) and target.storage(self.now) and self.array):
            machine.reserved, recovery.progress = 0, "waiting"
            return
        machine.epoch += 1
        machine.guests[recovery.target] = machine.epoch
        machine.blade, machine.running = recovery.target, True
        recovery.progress = "recovered"
        self.restarts += 1
        self.started[machine.name] = self.now
        self._say(f"  {machine.name} started on {recovery.target}")

    # ------------------------------------------------------------------------------------------------------- the manager

    def _sight(self, blade: Blade) -> Sight:
        answers = blade.answers(self.now)
        mine = [machine for machine in self.machines.values() if blade.name in machine.guests]
        if not self.array:
            array = Seen.UNKNOWN
        elif blade.storage(self.now):
            self.seen.add(blade.name)
            busy = any(each.writes and each.guests[blade.name] == each.epoch for each in mine) and not blade.frozen
            array = Seen.TRAFFIC if busy else Seen.REACHABLE
        else:
            array = Seen.SILENT if blade.name in self.seen else Seen.UNPROVEN
        power = (BladePower.ON if blade.powered else BladePower.OFF) if blade.chassis else None
        others = any(each.storage(self.now) for each in self.blades.values() if each is not blade)
        stuck = answers and self.array and others and not blade.stored and any(each.writes for each in mine)
        return Sight(self.now, answers, array, power, stuck=stuck)

    def _round(self) -> None:
        if self.now % LOOK == 0:
            self.sights = {name: self._sight(blade) for name, blade in self.blades.items()}
        members = [
            Member(each.name, each.blade, each.running, each.memory, each.reserved, each.settings)
            for each in self.machines.values()
        ]
        open_ones = [each for each in self.recoveries if each.progress in ("isolating", "waiting", "starting")]
        cases = [Case(each.machine, each.machine, each.progress) for each in open_ones]
        decided = self.manager.look(self.now, self.pool, self.sights, members, cases)
        for name, verdict in decided.noted.items():
            self._say(f"  {name} {verdict.condition}")
            if verdict.condition != Condition.HEALTHY:
                self.shaken.add(name)
        for loss in decided.isolate:
            self._lose(loss, OFF_SECONDS)
        for recovery in open_ones:
            if recovery.machine in decided.start:
                recovery.progress, recovery.due = "starting", self.now + START_SECONDS
                recovery.target = decided.start[recovery.machine]
                self.machines[recovery.machine].reserved = self.machines[recovery.machine].memory
                self.machines[recovery.machine].blade = recovery.target
            reason = decided.waiting.get(recovery.machine)
            if reason and reason != recovery.reason:
                recovery.reason = reason
                self._say(f"  {recovery.machine} waits: {reason}")
        for name in decided.rejoin:
            at_work = any(each.blade == name and each.progress == "isolating" for each in self.recoveries)
            if name not in self.cleaning and not at_work:
                self.cleaning[name] = self.now + STEP
        self._notice()

    def _lose(self, loss: Loss, seconds: float) -> None:
        self.recoveries.append(
            Recovery(loss.machine_id, loss.blade, loss.cause, due=self.now + ISOLATE_SECONDS + seconds)
        )

    def _notice(self) -> None:
        """What looking at an answering blade shows: guests that are gone, and guests that hang."""
        at_work = {each.machine for each in self.recoveries if each.progress in ("isolating", "waiting", "starting")}
        for machine in self.machines.values():
            blade = self.blades[machine.blade]
            if not machine.running or not blade.answers(self.now) or self.manager.condition(blade.name) in LOST:
                continue
            if machine.blade not in machine.guests and machine.name not in at_work:
                self._gone(machine)
            elif machine.settings.hung_after and self.now % 2 == 0:
                answer = not machine.hangs
                if self.patience.take(machine.name, self.now, answers=answer, limit=machine.settings.hung_after):
                    machine.hangs = False
                    self._say(f"  {machine.name} reset")
        for name in list(self.shaken):
            if self.manager.condition(name) == Condition.HEALTHY:
                self.shaken.discard(name)

    def _gone(self, machine: Machine) -> None:
        crashed = machine.epoch in self.crashes.get(machine.name, ())
        times = sum(each.machine == machine.name for each in self.recoveries)
        known = crashed or machine.blade in self.shaken
        if known and machine.settings.priority != Priority.DISABLED and times < machine.settings.restart_limit:
            self._lose(Loss(machine.name, machine.blade, "crashed" if crashed else "missing"), 0.0)
            return
        machine.running, machine.reserved, machine.epoch = False, 0, machine.epoch + 1
        self._say(f"  {machine.name} noted as stopped")

    # -------------------------------------------------------------------------------------------------------- what happens

    def do_kill(self, blade: str) -> None:
        """It loses its power."""
        self._lose_power(blade)

    def do_power_on(self, blade: str) -> None:
        self.blades[blade].powered = True
        self.blades[blade].frozen = False

    def do_cut_management(self, blade: str) -> None:
        self.blades[blade].managed = False

    def do_cut_storage(self, blade: str) -> None:
        self.blades[blade].stored = False

    def do_cut(self, blade: str) -> None:
        self.do_cut_management(blade)
        self.do_cut_storage(blade)

    def do_join(self, blade: str) -> None:
        self.blades[blade].managed = self.blades[blade].stored = True

    def do_freeze(self, blade: str) -> None:
        """Its kernel answers, and nothing else does."""
        self.blades[blade].frozen = True

    def do_thaw(self, blade: str) -> None:
        self.blades[blade].frozen = False

    def do_kill_libvirtd(self, blade: str) -> None:
        self.blades[blade].daemon = False

    def do_start_libvirtd(self, blade: str) -> None:
        self.blades[blade].daemon = True

    def do_lose_chassis(self, blade: str) -> None:
        self.blades[blade].chassis = False

    def do_stall(self, blade: str, seconds: str) -> None:
        self.blades[blade].stalled_until = self.now + float(seconds)

    def do_array_down(self) -> None:
        self.array = False

    def do_array_up(self) -> None:
        self.array = True

    def do_kill_controller(self) -> None:
        """Another one leads after the lease: it knows what the tables hold, and has counted nothing."""
        lost = {name: self.manager.condition(name) for name in self.blades}
        self.manager, self.patience = Manager(), Patience()
        for name, condition in lost.items():
            self.manager.learn(name, condition)
        self.leaderless_until = self.now + LEASE_SECONDS

    def do_sleep_controller(self, seconds: str) -> None:
        self.asleep_until = self.now + float(seconds)

    def do_clock(self, _seconds: str) -> None:
        """The wall clock steps; nobody asks it."""

    def do_crash(self, machine: str) -> None:
        held = self.machines[machine]
        held.guests.pop(held.blade, None)
        self.crashes.setdefault(machine, []).append(held.epoch)

    def do_shut_down(self, machine: str) -> None:
        """The guest does, by itself."""
        held = self.machines[machine]
        held.guests.pop(held.blade, None)

    def do_hang(self, machine: str) -> None:
        self.machines[machine].hangs = True

    def do_stop(self, machine: str) -> None:
        """Somebody wants it to be off."""
        held = self.machines[machine]
        held.wanted = False
        for recovery in self.recoveries:
            if recovery.machine == machine and recovery.progress in ("waiting", "starting"):
                recovery.progress, recovery.due, held.reserved = "abandoned", 0.0, 0
        if held.running and self.blades[held.blade].answers(self.now):
            held.guests.pop(held.blade, None)
            held.running, held.reserved, held.epoch = False, 0, held.epoch + 1


def _machines(described: dict[str, Any]) -> list[dict[str, Any]]:
    """The machines of a scenario: each by itself, or `fill` of them spread over the blades."""
    rows = list(described.get("machines", []))
    for number in range(described.get("fill", 0)):
        blade = f"b{number % described['blades'] + 1}"
        rows.append({"name": f"vm{number + 1}", "blade": blade, **described.get("each", {})})
    return rows


def read(folder: Path) -> Fleet:
    return Fleet(tomllib.loads((folder / "scenario.toml").read_text(encoding="utf-8")))


def recovery_seconds(fleet: Fleet) -> float | None:
    """From the first fault that can lose machines to the last one that was started again; None when none was."""
    first = next((at for at, words in fleet.faults if words[0] in FATAL), 0.0)
    return max(fleet.started.values()) - first if fleet.started else None
