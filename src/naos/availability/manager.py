"""The manager: from what is seen and what the tables say to what is done next. It holds only counters, and touches nothing.

The same manager runs over real racks, over the lab, and over simulated fleets with a virtual clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from naos.availability.detection import LOST, Condition, Seen, Sight, Verdict, Watch
from naos.availability.models import Priority
from naos.availability.rules import Pending, Place, Settings, next_starts

ISOLATING_SECONDS = 3.0
"""How long machines of lower priority wait for one that is being cut off; an array that does not answer must not hold up all."""
_AT_THE_ARRAY = (Seen.TRAFFIC, Seen.REACHABLE, Seen.UNUSED)


@dataclass(frozen=True)
class Member:
    """A machine of a cpool. reserved: the memory that is set aside for it on its blade."""

    id: str
    blade: str | None
    running: bool
    memory: int
    reserved: int = 0
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Pool:
    """A cpool with high availability. memory: enabled, in bytes. blade_memory: what each blade has. active: False once it was
    switched off; then nothing new is lost, and what was is brought to its end. closed: blades that take no machine, and why.
    resting: blades in maintenance, which nobody misses."""

    id: str
    blades: Sequence[str]
    memory: int
    blade_memory: int
    frozen_after: int = 0
    active: bool = True
    closed: Mapping[str, str] = field(default_factory=dict)
    resting: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Case:
    """An unfinished recovery. progress: isolating, waiting or starting; or resting, between two attempts."""

    id: str
    machine_id: str
    progress: str


@dataclass(frozen=True)
class Loss:
    """A machine that is to be isolated; cause: what its blade is, for one whose blade is lost."""

    machine_id: str
    blade: str
    cause: str


@dataclass
class Decisions:
    """What is to be done after a look. noted: blades that changed; rejoin: lost blades that answer again, to be cleaned."""

    noted: dict[str, Verdict] = field(default_factory=dict)
    isolate: list[Loss] = field(default_factory=list)
    start: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    rejoin: list[str] = field(default_factory=list)


class Manager:
    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._turns: dict[str, dict[str, float]] = {}
        self._looked: dict[str, float] = {}
        self._isolating: dict[str, dict[str, float]] = {}

    def condition(self, blade: str) -> Condition:
        watch = self._watches.get(blade)
        return watch.condition if watch is not None else Condition.HEALTHY

    def learn(self, blade: str, condition: Condition) -> None:
        """What the tables say of a blade that this manager has not watched yet."""
        self._watches.setdefault(blade, Watch(condition if condition in LOST else Condition.HEALTHY))

    def rejoined(self, blade: str) -> None:
        if blade in self._watches:
            self._watches[blade].rejoined()

    def look(
        self, now: float, pool: Pool, sights: Mapping[str, Sight], members: Sequence[Member], cases: Sequence[Case]
    ) -> Decisions:
        """One round over one cpool. now: monotonic seconds. cases: its unfinished recoveries."""
        decided = Decisions()
        for blade in pool.blades:
            self._judge(blade, pool, sights.get(blade), decided)
        at_work = {case.machine_id for case in cases}
        for member in members:
            condition = self.condition(member.blade or "")
            if member.running and condition in LOST and member.id not in at_work:
                decided.isolate.append(Loss(member.id, str(member.blade), condition))
        self._plan(now, pool, sights, members, cases, decided)
        return decided

    def _judge(self, blade: str, pool: Pool, sight: Sight | None, decided: Decisions) -> None:
        if blade in pool.resting and self.condition(blade) not in LOST:
            self._watches.pop(blade, None)  # what was counted before says nothing when it is back
            return
        if sight is None or not (pool.active or self.condition(blade) in LOST):
            return
        watch = self._watches.setdefault(blade, Watch())
        if sight.at == self._looked.get(blade):
            return
        self._looked[blade] = sight.at
        before = watch.condition
        verdict = watch.judge(sight, pool.frozen_after)
        if verdict.condition != before:
            decided.noted[blade] = verdict
        elif before in LOST and sight.answers and (before != Condition.STORAGE_LOST or sight.array in _AT_THE_ARRAY):
            decided.rejoin.append(blade)

    def _plan(
        self,
        now: float,
        pool: Pool,
        sights: Mapping[str, Sight],
        members: Sequence[Member],
        cases: Sequence[Case],
        decided: Decisions,
    ) -> None:
        known = {member.id: member for member in members}
        coming = self._coming(now, pool.id, cases)
        pending = [
            Pending(
                case.id,
                case.machine_id,
                known[case.machine_id].memory,
                known[case.machine_id].settings,
                case.progress == "starting",
                case.progress == "isolating",
            )
            for case in cases
            if (case.progress in ("waiting", "starting") or case.id in coming)
            and case.machine_id in known
            and known[case.machine_id].settings.priority != Priority.DISABLED
        ]
        turns = self._turns.setdefault(pool.id, {})
        for gone in set(turns) - {wish.id for wish in pending}:
            del turns[gone]
        if all(wish.coming for wish in pending):
            return
        reserved: dict[str, int] = {}
        for member in members:
            if member.blade is not None:
                reserved[member.blade] = reserved.get(member.blade, 0) + member.reserved
        places = [
            Place(
                blade,
                pool.blade_memory,
                reserved.get(blade, 0),
                barred=self._barred(blade, sights.get(blade)) or pool.closed.get(blade, ""),
            )
            for blade in pool.blades
        ]
        used = sum(member.reserved for member in members)
        found = next_starts(pending, places, enabled=pool.memory, used=used, now=now, turns=turns)
        decided.start, decided.waiting = found.start, found.waiting

    def _coming(self, now: float, pool_id: str, cases: Sequence[Case]) -> set[str]:
        """Cases that are being cut off, and have been for so short a time that those after them wait for their turn."""
        before = self._isolating.get(pool_id, {})
        since = {case.id: before.get(case.id, now) for case in cases if case.progress == "isolating"}
        self._isolating[pool_id] = since
        return {case_id for case_id, began in since.items() if now - began < ISOLATING_SECONDS}

    def _barred(self, blade: str, sight: Sight | None) -> str:
        condition = self.condition(blade)
        if condition != Condition.HEALTHY:
            return str(condition).replace("_", " ")
        return "" if sight is not None and sight.answers else "not seen yet"
