"""What recovery may do and what it needs: pure functions of plain values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from naos.protection.recovery.errors import IntervalInvalid
from naos.units import size_text

LONGEST_INTERVAL = 24 * 3600
SHORTEST_INTERVAL = 3600
PROMISE = 4 * 3600
"""Seconds within which a failed-over volume's machines are promised to run."""
REPLICA_PROMISE = 15 * 60
"""The same for a replica of one machine."""
MOST_POINTS = 24
PRESSURE = 0.8
"""Of its interval a copy may take so much before it is said that the machine writes too fast."""


class State(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    FAILED_OVER = "failed_over"
    READY = "ready"


class Kind(StrEnum):
    TEST = "test"
    PLANNED = "planned"
    UNPLANNED = "unplanned"
    FAILBACK = "failback"


class RunState(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Outcome(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(StrEnum):
    NONE = "none"
    AGENT = "agent"
    LINE = "line"


def check_interval(seconds: int, *, shortest: int) -> None:
    """Raises IntervalInvalid. shortest: what the operator allows, in seconds."""
    if not shortest <= seconds <= LONGEST_INTERVAL:
        raise IntervalInvalid(math.ceil(seconds / 60), math.ceil(shortest / 60), LONGEST_INTERVAL // 60)


def next_due(previous: datetime, interval: int, now: datetime) -> datetime:
    """The rhythm is kept: a copy that took longer than its interval delays the next one, and is not made up for."""
    due = previous + timedelta(seconds=interval)
    return max(now, due)


def pressure(*, sent: int, seconds: float, interval: int) -> str:
    """What is to be said of a machine whose copies take (almost) as long as its interval; "" for none.

    sent: bytes of the last copy; seconds: how long it took.
    """
    if seconds <= PRESSURE * interval:
        return ""
    rate = sent / seconds if seconds else 0.0
    fitting = math.ceil(seconds / PRESSURE / 60)
    advice = (
        f"every {fitting} min would hold" if fitting * 60 <= LONGEST_INTERVAL else "no interval up to 24 h would hold"
    )
    return (
        f"it writes too fast for its interval: the last copy carried {size_text(sent)} at {size_text(int(rate))}/s and took "
        f"{seconds / 60:.1f} of {interval / 60:.0f} min; {advice}. The machine is never held back; its copy is older than wished for"
    )


def surplus(point_ids: Sequence[str], keep: int) -> list[str]:
    """Of complete points, oldest first, those to let go: the newest `keep` stay, one at least."""
    return list(point_ids[: -max(keep, 1)])


def worst_age(instant: datetime | None, now: datetime) -> float | None:
    """Seconds that would be lost if the source were lost now: the age of what the last complete point shows."""
    return None if instant is None else max((now - instant).total_seconds(), 0.0)


@dataclass(frozen=True)
class Demand:
    """A machine to place; memory in bytes."""

    name: str
    memory: int
    cpu: int


@dataclass(frozen=True)
class Room:
    """What is free on a blade. vcpus: None for no limit."""

    memory: int
    vcpus: int | None


def unplaced(demands: Iterable[Demand], rooms: Mapping[str, Room]) -> list[str]:
    """Names of machines that find no blade when the largest are placed first, each where most memory is left."""
    left = dict(rooms)
    found = []
    for demand in sorted(demands, key=lambda one: (-one.memory, one.name)):
        fitting = [
            name
            for name, room in left.items()
            if room.memory >= demand.memory and (room.vcpus is None or room.vcpus >= demand.cpu)
        ]
        if not fitting:
            found.append(demand.name)
            continue
        best = max(fitting, key=lambda name: (left[name].memory, name))
        room = left[best]
        left[best] = Room(room.memory - demand.memory, None if room.vcpus is None else room.vcpus - demand.cpu)
    return found


@dataclass(frozen=True)
class Turn:
    """A machine's place in the order of starts."""

    machine_id: str
    turn: int
    delay: int


def turns(members: Iterable[Turn]) -> list[list[Turn]]:
    """Groups that start one after the other; within one by delay."""
    found: dict[int, list[Turn]] = {}
    for member in sorted(members, key=lambda one: (one.turn, one.delay, one.machine_id)):
        found.setdefault(member.turn, []).append(member)
    return list(found.values())


def kept_promise(seconds: float, promise: int) -> str:
    """``in 2.4 s of the promised 4 h``"""
    return f"in {duration(seconds)} of the promised {duration(promise)}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``3 min 20 s``, ``4 h``"""
    if seconds < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if rest else ""]
    return " ".join(part for part in parts if part)
